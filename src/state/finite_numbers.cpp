// SPDX-License-Identifier: Apache-2.0
#include "state/finite_numbers.hpp"

#include "base/error.hpp"
#include "base/finite_bits.hpp"

namespace elastic {

namespace {

template <class Number, class Bits>
std::optional<NotFinite> search(const char* data, std::size_t bytes, Bits exponent) {
  const auto place = first_with_exponent(exponent, data, bytes / sizeof(Bits));
  if (place)
    return NotFinite{static_cast<index_t>(*place),
                     static_cast<double>(reinterpret_cast<const Number*>(data)[*place])};
  return std::nullopt;
}

}  // namespace

std::optional<NotFinite> first_not_finite(StorageType type, const char* data, std::size_t bytes) {
  switch (type) {
    case StorageType::float32:
      return search<float, std::uint32_t>(data, bytes, 0x7f800000u);
    case StorageType::float64:
      return search<double, std::uint64_t>(data, bytes, 0x7ff0000000000000u);
    case StorageType::bfloat16:
      return search<bfloat16, std::uint16_t>(data, bytes, 0x7f80u);
    case StorageType::int64:
      break;
  }
  return std::nullopt;
}

void require_finite(const std::string& what, const StateTensor& tensor, index_t first_row,
                    const char* rows, std::size_t bytes) {
  const auto wrong = first_not_finite(tensor.type, rows, bytes);
  if (!wrong) return;
  const index_t columns = tensor.extents.columns;
  const std::string column = fmt::format("{}", wrong->index % columns),
                    row = fmt::format("{}", first_row + wrong->index / columns);
  throw NumericsError(
      fmt::format("{}: {} holds {} at [{}], expected finite numbers; the file is not written", what,
                  tensor.name, wrong->value, tensor.extents.rank == 1 ? row : row + ", " + column));
}

}  // namespace elastic
