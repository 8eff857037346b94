// SPDX-License-Identifier: Apache-2.0
#include "interop/hf_import.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "arch/layer_kind.hpp"
#include "interop/rearrange.hpp"
#include "interop/strict_json.hpp"

namespace elastic {
namespace {

constexpr const char* head_name = "lm_head.weight";

/// Compares names and shapes of the file with those that the config implies.
void check_tensors(const HfFolder& folder) {
  const std::string place = folder.weights.folder().string();
  std::map<std::string, const HfTensor*> expected;
  for (const auto& tensor : folder.tensors) expected[tensor.name] = &tensor;
  for (const auto& [name, tensor] : expected) {
    const auto& entry = *folder.weights.at(name).entry;
    if (!is_real(entry.type) || entry.shape != tensor->shape)
      throw InputError(fmt::format("{}: tensor '{}' is {}, expected BF16, F16, F32 or F64 [{}]",
                                   place, name, describe(entry.type, entry.shape),
                                   fmt::join(tensor->shape, ", ")));
  }
  for (const auto& [name, tensor] : folder.weights.tensors())
    if (!expected.contains(name) && !(folder.config.tied && name == head_name))
      throw InputError(fmt::format(
          "{}: tensor '{}' is no part of the model that config.json describes", place, name));
}

/// Whether two tensors have the same type, shape and bytes.
bool are_equal(const HfWeights::Tensor& a, const HfWeights::Tensor& b) {
  if (a.entry->type != b.entry->type || a.entry->shape != b.entry->shape) return false;
  constexpr std::size_t step = std::size_t(8) << 20;
  std::vector<char> of_a(step), of_b(step);
  for (std::size_t done = 0; done < a.entry->bytes(); done += step) {
    const std::size_t count = std::min(step, a.entry->bytes() - done);
    a.file->read(*a.entry, done, count, of_a.data());
    b.file->read(*b.entry, done, count, of_b.data());
    if (!std::equal(of_a.begin(), of_a.begin() + std::ptrdiff_t(count), of_b.begin())) return false;
  }
  return true;
}

/// Where the config says that the head is the embeddings and there is another head, programs use
/// the head.
void use_own_head(HfFolder& folder, const std::string& config_file) {
  if (!folder.config.tied || !folder.weights.tensors().contains(head_name)) return;
  const auto& embeddings = folder.weights.at(folder.origin.prefix + "embeddings.weight");
  if (are_equal(embeddings, folder.weights.at(head_name))) return;
  folder.config.tied = false;
  folder.config.warnings.push_back(
      fmt::format("{}: tie_word_embeddings is true, but there is a tensor {} that differs from the "
                  "embeddings: it is used, and the two are not tied",
                  config_file, head_name));
}

bool holds_rates(const ModelShape& shape, const HfTensor& tensor) {
  const auto& part = tensor.parts.front();
  if (part.layer < 0) return false;
  const auto infos = layer_tensors(shape, part.layer);
  return std::any_of(infos.begin(), infos.end(), [&](const ParameterInfo& info) {
    return info.name == part.ours && info.initial == InitialLaw::decay_rate;
  });
}

/// Throws InputError unless every rate A = -exp(A_log) of the scan is a finite number of Real.
void check_rates(const HfFolder& folder) {
  const double largest = std::log(static_cast<double>(std::numeric_limits<Real>::max()));
  for (const auto& tensor : folder.tensors) {
    if (!holds_rates(folder.config.shape, tensor)) continue;
    const auto& source = folder.weights.at(tensor.name);
    const auto count = static_cast<std::size_t>(tensor.rows());
    std::vector<char> bytes(count * size_of(source.entry->type));
    source.file->read(*source.entry, 0, bytes.size(), bytes.data());
    std::vector<double> values(count);
    convert_elements(source.entry->type, bytes.data(), count, ElementType::f64, values.data());
    for (std::size_t h = 0; h < count; ++h)
      if (!std::isfinite(values[h]) || values[h] > largest)
        throw InputError(
            fmt::format("{}: tensor '{}': element {} is {}, expected finite numbers <= {:.2f}: the "
                        "rate of the scan, their exp, must be a finite {}-bit number",
                        folder.weights.folder().string(), tensor.name, h, values[h], largest,
                        8 * sizeof(Real)));
  }
}

/// The attribute `axes` as training writes it.
std::string axis_names(const HfPart& part) {
  return part.vector ? dim_name(part.row_dim)
                     : fmt::format("{} {}", dim_name(part.row_dim), dim_name(part.column_dim));
}

/// Throws InputError if one of `count` elements that were read from `first` on is not finite.
void require_finite(const HfWeights::Tensor& source, const HfTensor& tensor, std::size_t first,
                    const char* data, std::size_t count) {
  const ElementType type = source.entry->type;
  const auto bad = first_not_finite(type, data, count);
  if (!bad) return;
  double value = 0;
  convert_elements(type, data + *bad * size_of(type), 1, ElementType::f64, &value);
  throw InputError(fmt::format(
      "{}: tensor '{}': element {} is {}, expected finite numbers of size {} "
      "at most",
      source.file->path().string(), tensor.name, first + *bad, value, largest_of(type)));
}

/// Reads the rows of one part of `source` and puts them where our order has them.
void import_part(const ModelShape& shape, const HfWeights::Tensor& source, const HfTensor& tensor,
                 const HfPart& part, CheckpointWriter& writer) {
  const ElementType type = source.entry->type;
  const StorageType stored = storage_type_of(type);
  const std::size_t element = size_of(type), stored_element = size_of(stored),
                    row_bytes = static_cast<std::size_t>(part.columns) * element;
  Rearrangement places{.rows = inverse_order(hf_order(shape, part.row_dim, part.layer)),
                       .columns = inverse_order(hf_order(shape, part.column_dim, part.layer)),
                       .source_columns = part.columns,
                       .target_columns = part.columns};
  if (places.rows.empty()) {
    places.rows.resize(static_cast<std::size_t>(part.rows));
    std::iota(places.rows.begin(), places.rows.end(), index_t{0});
  }
  const index_t step = rows_at_a_time(row_bytes);
  std::vector<char> chunk(static_cast<std::size_t>(std::min(step, part.rows)) * row_bytes), wide;
  // No initialisation: the pages of a large tensor should be touched once.
  const auto values = std::make_unique_for_overwrite<std::uint64_t[]>(
      (static_cast<std::size_t>(part.rows * part.columns) * stored_element + 7) / 8);
  for (index_t row = 0; row < part.rows; row += step) {
    const index_t count = std::min(step, part.rows - row);
    const auto elements = static_cast<std::size_t>(count * part.columns);
    source.file->read(*source.entry, static_cast<std::size_t>(part.first_row + row) * row_bytes,
                      elements * element, chunk.data());
    require_finite(source, tensor, static_cast<std::size_t>((part.first_row + row) * part.columns),
                   chunk.data(), elements);
    const char* from = chunk.data();
    if (type == ElementType::f16) {
      wide.resize(elements * stored_element);
      convert_elements(type, chunk.data(), elements, ElementType::f32, wide.data());
      from = wide.data();
    }
    rearrange_rows(places, row, count, stored_element, from, values.get());
  }
  const Extents extents =
      part.vector ? Extents::vector(part.rows) : Extents::matrix(part.rows, part.columns);
  const auto write = [&](const auto* data) {
    writer.write("model/" + part.ours, extents, data, stored, {{"axes", axis_names(part)}});
  };
  if (stored == StorageType::bfloat16)
    write(reinterpret_cast<const std::uint16_t*>(values.get()));
  else if (stored == StorageType::float32)
    write(reinterpret_cast<const float*>(values.get()));
  else
    write(reinterpret_cast<const double*>(values.get()));
}

}  // namespace

HfFolder open_hf_folder(const std::filesystem::path& path) {
  const auto config_path = path / "config.json";
  if (!std::filesystem::is_directory(path) || !std::filesystem::exists(config_path))
    throw InputError(fmt::format("{}: is not a folder with config.json", path.string()));
  const std::string text = read_json_text(config_path);
  HfFolder folder{.weights = HfWeights(path),
                  .config = read_hf_config(text, config_path.string()),
                  .origin = {},
                  .tensors = {}};
  folder.origin.config = text;
  if (folder.weights.tensors().contains("model.embeddings.weight")) folder.origin.prefix = "model.";
  use_own_head(folder, config_path.string());
  folder.origin.tied = folder.config.tied;
  folder.tensors = hf_tensors(folder.config.shape, folder.origin.prefix, folder.config.tied);
  check_tensors(folder);
  check_rates(folder);
  const std::string warning = check_time_steps(folder, config_path.string());
  if (!warning.empty()) folder.config.warnings.push_back(warning);
  for (const auto& tensor : folder.tensors)
    folder.origin.types[tensor.name] = folder.weights.at(tensor.name).entry->type;
  return folder;
}

void import_weights(const HfFolder& folder, CheckpointWriter& writer) {
  for (const auto& tensor : folder.tensors)
    for (const auto& part : tensor.parts)
      import_part(folder.config.shape, folder.weights.at(tensor.name), tensor, part, writer);
  if (!folder.config.tied) return;
  HfPart head = folder.tensors.front().parts.front();
  const auto& embeddings = folder.weights.at(folder.tensors.front().name);
  head.ours = "output_layer";
  import_part(folder.config.shape, embeddings, folder.tensors.front(), head, writer);
}

}  // namespace elastic
