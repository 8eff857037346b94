// SPDX-License-Identifier: Apache-2.0
// Random parameters, and the correspondence between tensors of a parent and of its sliced submodel.
#pragma once
#include "elastic/submodel_spec.hpp"
#include "unit_tests/elastic/shapes_for_tests.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::test {

/// This rank's part of a whole tensor.
template <class T, class U>
std::vector<U> part_of_whole(const ParameterStore<T>& store, const Parameter<T>& p,
                             const std::vector<U>& whole) {
  const GlobalPosition position = store.global_position(p);
  std::vector<U> part(static_cast<std::size_t>(p.size()));
  for (index_t i = 0; i < p.size(); ++i) part[i] = whole[position(i)];
  return part;
}

/// Uniform numbers in (-size, size); norm weights around 1. Equal on any number of ranks.
template <class T>
void randomize(const ParameterStore<T>& store, std::uint32_t seed, double size = 0.7) {
  for (const auto& p : store) {
    const bool norm = p.info.name.ends_with("norm.weight");
    with_values(p, [&](const auto& values) {
      const auto whole = random_values<ElementOf<decltype(values)>>(
          p.info.rows * p.info.columns, seed++, norm ? 0.5 : -size, norm ? 1.5 : size);
      assign(values, part_of_whole(store, p, whole));
    });
  }
}
/// The values of one tensor, as they are kept.
template <class T>
std::vector<double> values_of(const Parameter<T>& p) {
  return with_values(p, [](const auto& values) { return to_double(values); });
}
/// The values of another store of these tensors, widened.
template <class T, class U>
void assign_values(const ParameterStore<T>& to, const ParameterStore<U>& from) {
  for (index_t i = 0; i < from.size(); ++i)
    with_values(to[i], [&](const auto& values) {
      std::vector<ElementOf<decltype(values)>> numbers;
      for (const double x : values_of(from[i]))
        numbers.push_back(static_cast<ElementOf<decltype(values)>>(x));
      assign(values, numbers);
    });
}

template <class T>
void zero_gradients(const ParameterStore<T>& store) {
  Kokkos::deep_copy(store.gradients(), Accumulate<T>(0));
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
    View2<double> marks("elastic::test::marks", info.rows, info.columns);
    std::vector<double> numbers(marks.size());
    for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<double>(i);
    assign(marks, numbers);
    const auto left = partition(parent, spec, info, marks).left;
    with_values(p, [&](const auto& view) {
      auto values = to_host(view);
      for (const double i : left)
        values[static_cast<std::size_t>(i)] =
            static_cast<ElementOf<decltype(view)>>(std::numeric_limits<float>::quiet_NaN());
      assign(view, values);
    });
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
