// SPDX-License-Identifier: Apache-2.0
#include "interop/element_type.hpp"

#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.hpp"
#include "base/finite_bits.hpp"

namespace elastic {
namespace {

struct Row {
  ElementType type;
  const char* name;
  std::size_t size;
};
constexpr std::array<Row, 13> element_types = {{{ElementType::f64, "F64", 8},
                                                {ElementType::i64, "I64", 8},
                                                {ElementType::u64, "U64", 8},
                                                {ElementType::f32, "F32", 4},
                                                {ElementType::i32, "I32", 4},
                                                {ElementType::u32, "U32", 4},
                                                {ElementType::bf16, "BF16", 2},
                                                {ElementType::f16, "F16", 2},
                                                {ElementType::i16, "I16", 2},
                                                {ElementType::u16, "U16", 2},
                                                {ElementType::i8, "I8", 1},
                                                {ElementType::u8, "U8", 1},
                                                {ElementType::boolean, "BOOL", 1}}};
const Row& row_of(ElementType type) { return element_types[static_cast<std::size_t>(type)]; }

double number(ElementType type, const char* at) {
  const auto bits16 = [&] {
    std::uint16_t bits;
    std::memcpy(&bits, at, 2);
    return bits;
  };
  float single;
  double wide;
  switch (type) {
    case ElementType::bf16:
      return float_from_bfloat16(bits16());
    case ElementType::f16:
      return float_from_half(bits16());
    case ElementType::f32:
      std::memcpy(&single, at, 4);
      return single;
    case ElementType::f64:
      std::memcpy(&wide, at, 8);
      return wide;
    default:
      throw_contract(fmt::format("{} is not a real type", name_of(type)));
  }
}

void put_number(ElementType type, double x, char* at) {
  const auto single = static_cast<float>(x);
  const auto put = [at](auto value) { std::memcpy(at, &value, sizeof value); };
  switch (type) {
    case ElementType::bf16:
      return put(bfloat16_bits(single));
    case ElementType::f16:
      return put(half_bits(single));
    case ElementType::f32:
      return put(single);
    case ElementType::f64:
      return put(x);
    default:
      throw_contract(fmt::format("{} is not a real type", name_of(type)));
  }
}

}  // namespace

const char* name_of(ElementType type) { return row_of(type).name; }
std::size_t size_of(ElementType type) { return row_of(type).size; }

std::optional<ElementType> element_type_of(std::string_view name) {
  for (const auto& row : element_types)
    if (name == row.name) return row.type;
  return std::nullopt;
}

bool is_real(ElementType type) {
  return type == ElementType::bf16 || type == ElementType::f16 || type == ElementType::f32 ||
         type == ElementType::f64;
}

StorageType storage_type_of(ElementType type) {
  ELASTIC_REQUIRE(is_real(type), "{} holds no weights", name_of(type));
  if (type == ElementType::bf16) return StorageType::bfloat16;
  return type == ElementType::f64 ? StorageType::float64 : StorageType::float32;
}

ElementType element_type_of(StorageType type) {
  ELASTIC_REQUIRE(type != StorageType::int64, "{} holds no weights", name_of(type));
  if (type == StorageType::bfloat16) return ElementType::bf16;
  return type == StorageType::float64 ? ElementType::f64 : ElementType::f32;
}

float float_from_half(std::uint16_t bits) {
  const std::uint32_t sign = (bits & 0x8000u) << 16, fraction = bits & 0x3ffu;
  const std::uint32_t exponent = (bits >> 10) & 0x1fu;
  if (exponent == 0) {  // zero or subnormal: fraction * 2^-24
    const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
  }
  const std::uint32_t wide = exponent == 31 ? 255 : exponent + 112;
  return std::bit_cast<float>(sign | (wide << 23) | (fraction << 13));
}

std::uint16_t half_bits(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000u);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u)  // a NaN keeps the top of its payload
    return static_cast<std::uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
  if (magnitude >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7c00u);
  if (magnitude < 0x38800000u) {  // subnormal: adding 0.5 rounds to multiples of 2^-24
    const float rounded = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(rounded) - 0x3f000000u));
  }
  const std::uint32_t odd = (magnitude >> 13) & 1u;
  return static_cast<std::uint16_t>(sign | ((magnitude - 0x38000000u + 0xfffu + odd) >> 13));
}

std::optional<std::size_t> first_not_finite(ElementType type, const void* data, std::size_t count) {
  switch (type) {
    case ElementType::bf16:
      return first_with_exponent<std::uint16_t>(0x7f80, data, count);
    case ElementType::f16:
      return first_with_exponent<std::uint16_t>(0x7c00, data, count);
    case ElementType::f32:
      return first_with_exponent<std::uint32_t>(0x7f800000, data, count);
    default:
      break;
  }
  for (std::size_t i = 0; i < count; ++i)
    if (!std::isfinite(
            static_cast<float>(number(type, static_cast<const char*>(data) + i * size_of(type)))))
      return i;
  return std::nullopt;
}

double largest_of(ElementType type) {
  if (type == ElementType::f16) return 65504;
  if (type == ElementType::bf16) return 0x1.fep127;
  return static_cast<double>(std::numeric_limits<float>::max());
}

void convert_elements(ElementType from_type, const void* from, std::size_t count,
                      ElementType to_type, void* to) {
  const std::size_t from_size = size_of(from_type), to_size = size_of(to_type);
  if (from_type == to_type) {
    std::memcpy(to, from, count * from_size);
    return;
  }
  const char* source = static_cast<const char*>(from);
  char* target = static_cast<char*>(to);
  if (from_type == ElementType::f32 && to_type == ElementType::bf16) {  // what most exports do
    for (std::size_t i = 0; i < count; ++i) {
      float x;
      std::memcpy(&x, source + 4 * i, 4);
      const std::uint16_t bits = bfloat16_bits(x);
      std::memcpy(target + 2 * i, &bits, 2);
    }
    return;
  }
  for (std::size_t i = 0; i < count; ++i)
    put_number(to_type, number(from_type, source + i * from_size), target + i * to_size);
}

}  // namespace elastic
