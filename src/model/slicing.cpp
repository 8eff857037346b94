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

/// part_ij = all(rows_i, columns_j)
template <class T>
void cut(const std::string& name, const View2<T>& all, const std::vector<index_t>& rows,
         const std::vector<index_t>& columns, const View2<T>& part) {
  require_shape("slice_model", name.c_str(), part, static_cast<index_t>(rows.size()),
                static_cast<index_t>(columns.size()));
  const auto h_all = Kokkos::create_mirror_view(all), h_part = Kokkos::create_mirror_view(part);
  Kokkos::deep_copy(h_all, all);
  for (std::size_t i = 0; i < rows.size(); ++i)
    for (std::size_t j = 0; j < columns.size(); ++j) h_part(i, j) = h_all(rows[i], columns[j]);
  Kokkos::deep_copy(part, h_part);
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
    if (has_exact_values<T> && info.exact)
      cut(name, from.exact, rows, columns, to->exact);
    else
      cut(name, from.value, rows, columns, to->value);
  }
  return sliced;
}

template std::unique_ptr<LanguageModel<bfloat16>> slice_model(const LanguageModel<bfloat16>&,
                                                              const SubmodelSpec&, bool);
template std::unique_ptr<LanguageModel<float>> slice_model(const LanguageModel<float>&,
                                                           const SubmodelSpec&, bool);
template std::unique_ptr<LanguageModel<double>> slice_model(const LanguageModel<double>&,
                                                            const SubmodelSpec&, bool);

}  // namespace elastic
