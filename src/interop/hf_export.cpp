// SPDX-License-Identifier: Apache-2.0
#include "interop/hf_export.hpp"

#include <algorithm>
#include <cmath>

#include "elastic/cost_model.hpp"
#include "interop/hf_config.hpp"
#include "interop/hf_mapping.hpp"
#include "interop/rearrange.hpp"
#include "interop/strict_json.hpp"
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

/// The next element type that can hold a number, as the command line calls it.
const char* dtype_holding(double value) {
  if (std::abs(value) <= largest_of(ElementType::bf16)) return "bf16";
  return std::abs(value) <= largest_of(ElementType::f32) ? "fp32" : "original";
}

/// Writes the widths of layers that differ as a list.
void list_widths(const ModelShape& shape, OrderedJson& config) {
  for (const auto* kind : layer_kinds()) {
    if (!lists_widths(*kind) || !first_of_kind(shape, *kind)) continue;
    OrderedJson widths = OrderedJson::array();
    for (const auto& layer : shape.layers)
      if (layer.kind == kind->kind) widths.push_back(layer.width);
    config[kind->hf.width.names.front()] = widths;
  }
}

/// config.json of what is written.
std::string config_text(const ExportRequest& request, const ModelShape& shape, bool tied,
                        ElementType type) {
  const bool listed = request.form == WidthForm::per_layer;
  const ModelShape equal = listed ? padded_shape(shape, WidthForm::padded) : shape;
  OrderedJson json =
      parse_json(write_hf_config(request.origin.config, {equal, tied}, type, request.time_steps),
                 "config.json");
  if (equal != shape) list_widths(shape, json);
  if (request.vocabulary) put_special_ids(*request.vocabulary, json);
  return dump_json(json);
}

/// Rows of a stored tensor before and after their conversion.
struct Conversion {
  const TensorInfo& info;
  const Rearrangement& places;
  index_t first_row;
  std::size_t elements;
  const char* stored;
  ElementType type;
  const char* converted;

  static double value_of(ElementType type, const char* at) {
    double value = 0;
    convert_elements(type, at, 1, ElementType::f64, &value);
    return value;
  }
  double stored_value(std::size_t i) const {
    const ElementType from = element_type_of(info.type);
    return value_of(from, stored + i * size_of(from));
  }
  bool vanished(std::size_t i) const {
    return value_of(type, converted + i * size_of(type)) == 0 && stored_value(i) != 0;
  }
  bool is_written(std::size_t i) const {
    const auto row = first_row + static_cast<index_t>(i) / places.source_columns,
               column = static_cast<index_t>(i) % places.source_columns;
    if (places.rows[row] < 0) return false;
    return places.columns.empty() ? column < places.target_columns : places.columns[column] >= 0;
  }
};

class Exporter {
 public:
  Exporter(const CheckpointReader& reader, const ExportRequest& request)
      : m_reader(reader),
        m_request(request),
        m_shape(sliced_shape(request.parent, request.spec)),
        m_padded(exported_shape(request)),
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

  ExportSummary write(const std::filesystem::path& folder) {
    const bool tied = m_request.origin.tied && embeddings_are_equal();
    const auto tensors = hf_tensors(m_padded, m_request.origin.prefix, false);
    std::vector<SafetensorsTensor> plan;
    ExportSummary summary{.tensors = tensors.size(),
                          .tied = tied,
                          .padding = parameter_count(m_padded) - parameter_count(m_shape)};
    for (const auto& tensor : tensors) {
      plan.push_back({tensor.name, type_of(tensor), tensor.shape});
      summary.bytes += plan.back().bytes();
    }
    HfWeightsWriter writer(folder, plan, m_request.max_shard_bytes);
    for (std::size_t i = 0; i < tensors.size(); ++i) export_tensor(tensors[i], plan[i], writer);
    writer.commit();
    const ElementType type = m_request.type.value_or(plan.front().type);
    write_file_durably(folder / "config.json", config_text(m_request, m_padded, tied, type));
    if (m_request.vocabulary) write_hf_tokenizer(*m_request.vocabulary, folder);
    summary.vanished = m_vanished;
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
    const auto& types = m_request.origin.types;
    auto imported = types.find(m_parent_names.at(parent.ours));
    if (imported == types.end() && parent.ours == "output_layer")  // the file had none of its own
      imported = types.find(m_parent_names.at("word_embeddings"));
    if (imported != types.end()) return imported->second;
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

  /// Where the parent's indices along a dimension go in the exported tensor, as copy `copy`.
  std::vector<index_t> targets(Dim dim, index_t parent_layer, index_t own_layer, index_t extent,
                               index_t copy) const {
    const auto theirs = hf_order(m_padded, dim, own_layer);
    const auto kept = kept_indices(m_request.parent, m_request.spec, dim, parent_layer, extent);
    std::vector<index_t> original;  // of each kept index, before the ranking
    if (m_undo_ranking)
      original = permutation(m_request.parent, m_request.ranking, dim, parent_layer, extent);
    std::vector<index_t> target(static_cast<std::size_t>(extent), -1);
    for (std::size_t k = 0; k < kept.size(); ++k) {
      auto own = m_undo_ranking ? original[k] : static_cast<index_t>(k);
      if (own_layer >= 0)
        own = padded_place(m_shape.layers[own_layer], m_padded.layers[own_layer], dim, own, copy);
      target[static_cast<std::size_t>(kept[k])] =
          theirs.empty() ? own : theirs[static_cast<std::size_t>(own)];
    }
    return target;
  }
  /// One for each copy of the rows. Columns are written once, so that copies add nothing.
  std::vector<Rearrangement> places(const HfPart& part, const HfPart& parent) const {
    std::vector<Rearrangement> result;
    const index_t copies = part.layer < 0 ? 1
                                          : copies_of(m_shape.layers[part.layer],
                                                      m_padded.layers[part.layer], parent.row_dim);
    auto columns = targets(parent.column_dim, parent.layer, part.layer, parent.columns, 0);
    bool is_prefix = part.columns <= parent.columns;
    for (index_t c = 0; is_prefix && c < part.columns; ++c) is_prefix = columns[c] == c;
    if (is_prefix) columns.clear();
    for (index_t copy = 0; copy < copies; ++copy)
      result.push_back(
          {.rows = targets(parent.row_dim, parent.layer, part.layer, parent.rows, copy),
           .columns = columns,
           .source_columns = parent.columns,
           .target_columns = part.columns});
    return result;
  }

  void export_tensor(const HfTensor& tensor, const SafetensorsTensor& planned,
                     HfWeightsWriter& writer) {
    // Without padding no initialisation: the pages of a large tensor should be touched once.
    const auto bytes = m_padded == m_shape ? std::make_unique_for_overwrite<char[]>(planned.bytes())
                                           : std::make_unique<char[]>(planned.bytes());
    const auto row_bytes = static_cast<std::size_t>(tensor.columns()) * size_of(planned.type);
    for (const auto& part : tensor.parts)
      export_part(part, planned.type,
                  bytes.get() + static_cast<std::size_t>(part.first_row) * row_bytes);
    writer.write(tensor.name, bytes.get());
  }
  /// Throws NumericsError if an element is not finite, InputError if one that is written does not
  /// fit into its type; counts those that became 0.
  void check(const Conversion& rows) {
    for (std::size_t i = 0; i < rows.elements; ++i) {
      const auto bad =
          first_not_finite(rows.type, rows.converted + i * size_of(rows.type), rows.elements - i);
      if (!bad) break;
      i += *bad;
      const double value = rows.stored_value(i);
      const std::string place =
          fmt::format("{}: {}: element {} is {}", m_reader.path().string(), rows.info.name,
                      rows.first_row * rows.places.source_columns + static_cast<index_t>(i), value);
      if (!std::isfinite(value)) throw NumericsError(place + ", expected finite numbers");
      if (rows.is_written(i))
        throw InputError(
            fmt::format("{}, beyond the largest {} of {}; the nearest --dtype that holds it is {}",
                        place, name_of(rows.type), largest_of(rows.type), dtype_holding(value)));
    }
    if (rows.type == ElementType::f16)
      for (std::size_t i = 0; i < rows.elements; ++i)
        m_vanished += rows.is_written(i) && rows.vanished(i) ? 1 : 0;
  }
  /// Reads the parent's whole tensor in order, every block with its hash, and puts what is kept
  /// into its place.
  void export_part(const HfPart& part, ElementType type, char* out) {
    const HfPart& parent = parent_of(part);
    const TensorInfo& info = stored(parent);
    const auto copies = places(part, parent);
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
      check({info, copies.front(), row, elements, chunk.data(), type, converted.data()});
      for (const auto& places : copies)
        rearrange_rows(places, row, count, size_of(type), converted.data(), out);
    }
  }

  const CheckpointReader& m_reader;
  const ExportRequest& m_request;
  ModelShape m_shape;   // of the submodel
  ModelShape m_padded;  // of what is written
  bool m_undo_ranking;
  std::vector<index_t> m_kept;  // layers
  std::map<std::string, HfPart> m_parent_parts;
  std::map<std::string, std::string> m_parent_names;  // of their tensors
  std::uint64_t m_vanished = 0;
};

}  // namespace

ModelShape exported_shape(const ExportRequest& request) {
  const ModelShape shape = sliced_shape(request.parent, request.spec),
                   padded = padded_shape(shape, request.form);
  const double size = parameter_count(padded), whole = parameter_count(request.parent);
  if (padded != shape && size > whole)
    throw InputError(
        fmt::format("{}: made equal they have {:.0f} parameters, more than the {:.0f} "
                    "of the whole model",
                    heterogeneity(shape), size, whole));
  return padded;
}

ExportSummary export_hf(const CheckpointReader& reader, const ExportRequest& request,
                        const std::filesystem::path& folder) {
  return Exporter(reader, request).write(folder);
}

}  // namespace elastic
