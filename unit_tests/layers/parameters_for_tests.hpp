// SPDX-License-Identifier: Apache-2.0
// Random parameters, and the correspondence between tensors of a parent and of its sliced submodel.
#pragma once
#include "elastic/submodel_spec.hpp"
#include "unit_tests/elastic/shapes_for_tests.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::test {

/// This rank's part of a whole tensor.
template <class T, class U>
std::vector<T> part_of_whole(const ParameterStore<T>& store, const Parameter<T>& p,
                             const std::vector<U>& whole) {
  const GlobalPosition position = store.global_position(p);
  std::vector<T> part(static_cast<std::size_t>(p.size()));
  for (index_t i = 0; i < p.size(); ++i) part[i] = static_cast<T>(whole[position(i)]);
  return part;
}

/// Uniform numbers in (-size, size); norm weights around 1. Equal on any number of ranks.
template <class T>
void randomize(const ParameterStore<T>& store, std::uint32_t seed, double size = 0.7) {
  for (const auto& p : store) {
    const bool norm = p.info.name.ends_with("norm.weight");
    const auto whole = random_values<T>(p.info.rows * p.info.columns, seed++, norm ? 0.5 : -size,
                                        norm ? 1.5 : size);
    assign(p.value, part_of_whole(store, p, whole));
  }
}

template <class T>
void zero_gradients(const ParameterStore<T>& store) {
  Kokkos::deep_copy(store.gradients(), T(0));
}

/// Elements of a parent's tensor (its values or gradient) that the submodel keeps and,
/// in order, those it does not.
template <class T>
struct Partition {
  std::vector<T> kept, left;
};
template <class T>
Partition<T> partition(const ModelShape& parent, const SubmodelSpec& spec,
                       const ParameterInfo& info, const View2<T>& tensor) {
  const auto rows = kept_indices(parent, spec, info.row_dim, info.layer, info.rows);
  const auto columns = kept_indices(parent, spec, info.column_dim, info.layer, info.columns);
  std::vector<bool> row_kept(info.rows), column_kept(info.columns);
  for (const index_t r : rows) row_kept[r] = true;
  for (const index_t c : columns) column_kept[c] = true;
  const auto values = to_host(tensor);
  Partition<T> result;
  for (index_t r = 0; r < info.rows; ++r)
    for (index_t c = 0; c < info.columns; ++c)
      (row_kept[r] && column_kept[c] ? result.kept : result.left)
          .push_back(values[r * info.columns + c]);
  return result;
}

/// Everything outside the submodel becomes NaN: whoever reads it is found out.
template <class T>
void poison_the_rest(const ModelShape& parent, const SubmodelSpec& spec,
                     const ParameterStore<T>& store) {
  for (const auto& p : store) {
    const auto& info = p.info;
    View2<T> marks("elastic::test::marks", info.rows, info.columns);
    std::vector<T> numbers(marks.size());
    for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<T>(i);
    assign(marks, numbers);
    auto values = to_host(p.value);
    for (const T i : partition(parent, spec, info, marks).left)
      values[static_cast<std::size_t>(i)] = std::numeric_limits<T>::quiet_NaN();
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
