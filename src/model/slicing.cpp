// SPDX-License-Identifier: Apache-2.0
#include "model/slicing.hpp"

#include <algorithm>

namespace elastic {

namespace {
/// The indices among `indices` that this rank holds, as local ones.
std::vector<index_t> localised(std::vector<index_t> indices, index_t unit, const Shard& shard) {
  if (unit == 0 || shard.size == 1) return indices;
  std::vector<index_t> mine;
  for (const index_t i : indices)
    if (i / unit % shard.size == shard.rank)
      mine.push_back(i / unit / shard.size * unit + i % unit);
  return mine;
}
}  // namespace

std::vector<index_t> kept_layers(const SubmodelSpec& spec) {
  std::vector<index_t> kept;
  for (std::size_t l = 0; l < spec.layers.size(); ++l)
    if (spec.layers[l].keep) kept.push_back(static_cast<index_t>(l));
  return kept;
}

std::string sliced_name(const ParameterInfo& info, const SubmodelSpec& spec) {
  if (info.layer < 0) return info.name;
  const auto kept = kept_layers(spec);
  const auto place = std::find(kept.begin(), kept.end(), info.layer);
  if (place == kept.end()) return {};
  const std::string old_prefix = fmt::format("layers.{}.", info.layer);
  return fmt::format("layers.{}.{}", place - kept.begin(), info.name.substr(old_prefix.size()));
}

template <class T>
std::unique_ptr<LanguageModel<T>> slice_model(const LanguageModel<T>& parent,
                                              const SubmodelSpec& spec, bool frozen) {
  check_spec(parent.shape(), spec);
  auto sliced = std::make_unique<LanguageModel<T>>(sliced_shape(parent.shape(), spec), frozen,
                                                   parent.parallel());
  const auto h_values = Kokkos::create_mirror_view(sliced->parameters().values());
  const auto h_parent = Kokkos::create_mirror_view(parent.parameters().values());
  Kokkos::deep_copy(h_parent, parent.parameters().values());
  for (const auto& from : parent.parameters()) {
    const std::string name = sliced_name(from.info, spec);
    if (name.empty()) continue;
    const auto* to = sliced->parameters().find(name);
    ELASTIC_REQUIRE(to != nullptr, "sliced model has no tensor {}", name);
    const auto& info = from.info;
    const auto kept = [&](Dim dim, index_t extent, index_t unit) {
      return localised(kept_indices(parent.shape(), spec, dim, info.layer, extent), unit,
                       parent.shard());
    };
    const auto rows = kept(info.row_dim, info.rows, info.row_unit);
    const auto columns = kept(info.column_dim, info.columns, info.column_unit);
    require_shape("slice_model", name.c_str(), to->value, static_cast<index_t>(rows.size()),
                  static_cast<index_t>(columns.size()));
    index_t i = to->offset;
    for (const index_t r : rows)
      for (const index_t c : columns) h_values(i++) = h_parent(from.offset + r * from.columns + c);
  }
  Kokkos::deep_copy(sliced->parameters().values(), h_values);
  return sliced;
}

template std::unique_ptr<LanguageModel<float>> slice_model(const LanguageModel<float>&,
                                                           const SubmodelSpec&, bool);
template std::unique_ptr<LanguageModel<double>> slice_model(const LanguageModel<double>&,
                                                            const SubmodelSpec&, bool);

}  // namespace elastic
