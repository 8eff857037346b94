// SPDX-License-Identifier: Apache-2.0
#include "interop/hf_export.hpp"

#include <algorithm>
#include <cmath>

#include "interop/hf_config.hpp"
#include "interop/hf_mapping.hpp"
#include "interop/rearrange.hpp"
#include "io/durable_file.hpp"

namespace elastic {
namespace {

/// Rows [rows) of a tensor, as they are stored.
void read_stored_rows(const CheckpointReader& reader, const TensorInfo& tensor, Range rows,
                      void* out) {
  const Range columns(0, tensor.extents.columns);
  switch (tensor.type) {
    case StorageType::bfloat16:
      return reader.read_block(tensor.name, rows, columns, static_cast<std::uint16_t*>(out));
    case StorageType::float32:
      return reader.read_block(tensor.name, rows, columns, static_cast<float*>(out));
    case StorageType::float64:
      return reader.read_block(tensor.name, rows, columns, static_cast<double*>(out));
    case StorageType::int64:
      break;
  }
  throw InputError(
      fmt::format("{}: {} holds int64, expected weights", reader.path().string(), tensor.name));
}

class Exporter {
 public:
  Exporter(const CheckpointReader& reader, const ExportRequest& request)
      : m_reader(reader),
        m_request(request),
        m_shape(sliced_shape(request.parent, request.spec)),
        m_undo_ranking(!request.ranking.hidden.empty() &&
                       request.spec.same_widths(full_spec(request.parent))) {
    for (std::size_t l = 0; l < request.spec.layers.size(); ++l)
      if (request.spec.layers[l].keep) m_kept.push_back(static_cast<index_t>(l));
    for (const auto& tensor : hf_tensors(request.parent, request.origin.prefix, false))
      for (const auto& part : tensor.parts) {
        m_parent_parts.emplace(part.ours, part);
        m_parent_names.emplace(part.ours, tensor.name);
      }
    if (m_undo_ranking) check_ranking();
  }

  ExportSummary write(const std::filesystem::path& folder) const {
    const bool tied = m_request.origin.tied && embeddings_are_equal();
    const auto tensors = hf_tensors(m_shape, m_request.origin.prefix, tied);
    std::vector<SafetensorsTensor> plan;
    ExportSummary summary{.tensors = tensors.size(), .bytes = 0, .tied = tied};
    for (const auto& tensor : tensors) {
      plan.push_back({tensor.name, type_of(tensor), tensor.shape});
      summary.bytes += plan.back().bytes();
    }
    HfWeightsWriter writer(folder, plan, m_request.max_shard_bytes);
    for (std::size_t i = 0; i < tensors.size(); ++i) export_tensor(tensors[i], plan[i], writer);
    writer.commit();
    write_file_durably(folder / "config.json",
                       write_hf_config(m_request.origin.config, {m_shape, tied},
                                       m_request.type.value_or(plan.front().type)));
    return summary;
  }

 private:
  /// The part of the parent's tensors that becomes this part of the submodel.
  const HfPart& parent_of(const HfPart& part) const {
    if (part.layer < 0) return m_parent_parts.at(part.ours);
    const auto parent_layer = m_kept.at(static_cast<std::size_t>(part.layer));
    const auto own = fmt::format("layers.{}.", part.layer);
    return m_parent_parts.at(fmt::format("layers.{}.", parent_layer) +
                             part.ours.substr(own.size()));
  }
  const TensorInfo& stored(const HfPart& parent) const {
    const TensorInfo& info = m_reader.info("model/" + parent.ours);
    const Extents expected =
        parent.vector ? Extents::vector(parent.rows) : Extents::matrix(parent.rows, parent.columns);
    if (info.extents != expected)
      throw InputError(fmt::format("{}: {} is {}, expected {}", m_reader.path().string(), info.name,
                                   to_string(info.extents), to_string(expected)));
    return info;
  }
  ElementType type_of(const HfTensor& tensor) const {
    if (m_request.type) return *m_request.type;
    const HfPart& parent = parent_of(tensor.parts.front());
    const auto imported = m_request.origin.types.find(m_parent_names.at(parent.ours));
    if (imported != m_request.origin.types.end()) return imported->second;
    const StorageType type = stored(parent).type;
    return type == StorageType::int64 ? ElementType::f32 : element_type_of(type);
  }
  bool embeddings_are_equal() const {
    const auto &in = stored(m_parent_parts.at("word_embeddings")),
               &out = stored(m_parent_parts.at("output_layer"));
    return in.type == out.type && in.checksum == out.checksum;
  }
  void check_ranking() const {
    const auto is_permutation = [](std::vector<index_t> order, index_t count) {
      std::sort(order.begin(), order.end());
      for (std::size_t i = 0; i < order.size(); ++i)
        if (order[i] != static_cast<index_t>(i)) return false;
      return static_cast<index_t>(order.size()) == count;
    };
    const Ranking& ranking = m_request.ranking;
    const ModelShape& shape = m_request.parent;
    bool valid = is_permutation(ranking.hidden, shape.hidden_size) &&
                 static_cast<index_t>(ranking.units.size()) == shape.num_layers() &&
                 ranking.channels.size() == ranking.units.size();
    for (index_t l = 0; valid && l < shape.num_layers(); ++l) {
      const auto& layer = shape.layers[l];
      valid = is_permutation(ranking.units[l], layer.width) &&
              is_permutation(ranking.channels[l], ranks_channels(layer) ? layer.head_channels : 0);
    }
    if (!valid)
      throw InputError(fmt::format("{}: its ranking is not one of the model that it holds",
                                   m_reader.path().string()));
  }

  /// Where the parent's indices along a dimension go in the exported tensor.
  std::vector<index_t> targets(Dim dim, index_t parent_layer, index_t own_layer,
                               index_t extent) const {
    const auto theirs = hf_order(m_shape, dim, own_layer);
    const auto kept = kept_indices(m_request.parent, m_request.spec, dim, parent_layer, extent);
    std::vector<index_t> original;  // of each kept index, before the ranking
    if (m_undo_ranking)
      original = permutation(m_request.parent, m_request.ranking, dim, parent_layer, extent);
    std::vector<index_t> target(static_cast<std::size_t>(extent), -1);
    for (std::size_t k = 0; k < kept.size(); ++k) {
      const auto own = m_undo_ranking ? original[k] : static_cast<index_t>(k);
      target[static_cast<std::size_t>(kept[k])] =
          theirs.empty() ? own : theirs[static_cast<std::size_t>(own)];
    }
    return target;
  }
  Rearrangement places(const HfPart& part, const HfPart& parent) const {
    Rearrangement result{
        .rows = targets(parent.row_dim, parent.layer, part.layer, parent.rows),
        .columns = targets(parent.column_dim, parent.layer, part.layer, parent.columns),
        .source_columns = parent.columns,
        .target_columns = part.columns};
    bool is_prefix = true;
    for (index_t c = 0; c < part.columns; ++c) is_prefix = is_prefix && result.columns[c] == c;
    if (is_prefix) result.columns.clear();
    return result;
  }

  void export_tensor(const HfTensor& tensor, const SafetensorsTensor& planned,
                     HfWeightsWriter& writer) const {
    const auto bytes = std::make_unique_for_overwrite<char[]>(planned.bytes());
    const auto row_bytes = static_cast<std::size_t>(tensor.columns()) * size_of(planned.type);
    for (const auto& part : tensor.parts)
      export_part(part, planned.type,
                  bytes.get() + static_cast<std::size_t>(part.first_row) * row_bytes);
    writer.write(tensor.name, bytes.get());
  }
  /// Throws NumericsError if an element is not finite, InputError if its type cannot hold it.
  void require_in_range(const TensorInfo& info, index_t first, const char* stored, ElementType type,
                        const char* converted, std::size_t count) const {
    const auto bad = first_not_finite(type, converted, count);
    if (!bad) return;
    const ElementType from = element_type_of(info.type);
    double value = 0;
    convert_elements(from, stored + *bad * size_of(from), 1, ElementType::f64, &value);
    const std::string place = fmt::format("{}: {}: element {} is {}", m_reader.path().string(),
                                          info.name, first + static_cast<index_t>(*bad), value);
    if (!std::isfinite(value)) throw NumericsError(place + ", expected finite numbers");
    throw InputError(fmt::format("{}, beyond the largest {} of {}; choose another --dtype", place,
                                 name_of(type), largest_of(type)));
  }
  /// Reads the parent's whole tensor in order, every block with its hash, and puts what is kept
  /// into its place.
  void export_part(const HfPart& part, ElementType type, char* out) const {
    const HfPart& parent = parent_of(part);
    const TensorInfo& info = stored(parent);
    const Rearrangement rearrangement = places(part, parent);
    const auto row_elements = static_cast<std::size_t>(parent.columns);
    const index_t step = rows_at_a_time(row_elements * size_of(info.type));
    std::vector<char> chunk, converted;
    for (index_t row = 0; row < parent.rows; row += step) {
      const index_t count = std::min(step, parent.rows - row);
      const auto elements = static_cast<std::size_t>(count) * row_elements;
      chunk.resize(elements * size_of(info.type));
      converted.resize(elements * size_of(type));
      read_stored_rows(m_reader, info, Range(row, row + count), chunk.data());
      convert_elements(element_type_of(info.type), chunk.data(), elements, type, converted.data());
      require_in_range(info, row * parent.columns, chunk.data(), type, converted.data(), elements);
      rearrange_rows(rearrangement, row, count, size_of(type), converted.data(), out);
    }
  }

  const CheckpointReader& m_reader;
  const ExportRequest& m_request;
  ModelShape m_shape;  // of what is written
  bool m_undo_ranking;
  std::vector<index_t> m_kept;  // layers
  std::map<std::string, HfPart> m_parent_parts;
  std::map<std::string, std::string> m_parent_names;  // of their tensors
};

}  // namespace

ExportSummary export_hf(const CheckpointReader& reader, const ExportRequest& request,
                        const std::filesystem::path& folder) {
  const std::string unequal = heterogeneity(sliced_shape(request.parent, request.spec));
  if (!unequal.empty() && !request.heterogeneous)
    throw InputError(fmt::format(
        "{}: submodel '{}': {}. config.json of stock nemotron_h has one width for all layers of a "
        "kind. Write block_configs with --heterogeneous (stock loaders refuse them), or train with "
        "an empty <elastic>/per_layer, which keeps the layers of a kind equal",
        reader.path().string(), request.spec.name, unequal));
  return Exporter(reader, request).write(folder);
}

}  // namespace elastic
