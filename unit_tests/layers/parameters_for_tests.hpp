// SPDX-License-Identifier: Apache-2.0
// Random parameters, and the correspondence between tensors of a parent and of its sliced submodel.
#pragma once
#include "elastic/submodel_spec.hpp"
#include "unit_tests/elastic/shapes_for_tests.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::test {

/// This rank's part of a whole tensor.
template <class S, class T>
std::vector<S> part_of_whole(const ParameterStore<S>& store, const Parameter<S>& p,
                             const std::vector<T>& whole) {
  const GlobalPosition position = store.global_position(p);
  std::vector<S> part(static_cast<std::size_t>(p.size()));
  for (index_t i = 0; i < p.size(); ++i) part[i] = static_cast<S>(whole[position(i)]);
  return part;
}

/// Uniform numbers in (-size, size); norm weights around 1. The same on any number of ranks.
template <class S>
void randomize(const ParameterStore<S>& store, std::uint32_t seed, double size = 0.7) {
  for (const auto& p : store) {
    const bool norm = p.info.name.ends_with("norm.weight");
    const auto whole = random_values<S>(p.info.rows * p.info.columns, seed++, norm ? 0.5 : -size,
                                        norm ? 1.5 : size);
    assign(p.value, part_of_whole(store, p, whole));
  }
}

template <class S>
void zero_gradients(const ParameterStore<S>& store) {
  Kokkos::deep_copy(store.gradients(), S(0));
}

/// Elements of a parent's tensor (its values or gradient) that the submodel keeps and, in order,
/// those it does not.
template <class S>
struct Partition {
  std::vector<S> kept, left;
};
template <class S>
Partition<S> partition(const ModelShape& parent, const SubmodelSpec& spec,
                       const ParameterInfo& info, const View2<S>& tensor) {
  const auto rows = kept_indices(parent, spec, info.row_dim, info.layer, info.rows);
  const auto columns = kept_indices(parent, spec, info.column_dim, info.layer, info.columns);
  std::vector<bool> row_kept(info.rows), column_kept(info.columns);
  for (const index_t r : rows) row_kept[r] = true;
  for (const index_t c : columns) column_kept[c] = true;
  const auto values = to_host(tensor);
  Partition<S> result;
  for (index_t r = 0; r < info.rows; ++r)
    for (index_t c = 0; c < info.columns; ++c)
      (row_kept[r] && column_kept[c] ? result.kept : result.left)
          .push_back(values[r * info.columns + c]);
  return result;
}

/// Everything outside the submodel becomes NaN: whoever reads it is found out.
template <class S>
void poison_the_rest(const ModelShape& parent, const SubmodelSpec& spec,
                     const ParameterStore<S>& store) {
  for (const auto& p : store) {
    const auto& info = p.info;
    View2<S> marks("elastic::test::marks", info.rows, info.columns);
    std::vector<S> numbers(marks.size());
    for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<S>(i);
    assign(marks, numbers);
    auto values = to_host(p.value);
    for (const S i : partition(parent, spec, info, marks).left)
      values[static_cast<std::size_t>(i)] = std::numeric_limits<S>::quiet_NaN();
    assign(p.value, values);
  }
}

inline SubmodelSpec random_spec(Draw& draw, const ModelShape& parent) {
  SubmodelSpec spec = full_spec(parent);
  spec.hidden_size = draw.between(1, parent.hidden_size);
  for (std::size_t l = 0; l < spec.layers.size(); ++l) {
    const auto& full = parent.layers[l];
    auto& kept = spec.layers[l];
    kept.width = full.num_groups * draw.between(1, full.width / full.num_groups);
    if (full.kind == LayerKind::mamba) kept.head_channels = draw.between(1, full.head_channels);
    kept.keep = draw.uniform() < 0.75;
  }
  spec.layers[draw.between(0, parent.num_layers() - 1)].keep = true;
  return spec;
}

}  // namespace elastic::test
