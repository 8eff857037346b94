// SPDX-License-Identifier: Apache-2.0
#include "base/parameter.hpp"

#include <algorithm>

#include "base/huge_pages.hpp"

namespace elastic {

const char* dim_name(Dim dim) {
  switch (dim) {
    case Dim::fixed:
      return "fixed";
    case Dim::hidden:
      return "hidden";
    case Dim::mamba_heads:
      return "mamba_heads";
    case Dim::mamba_inner:
      return "mamba_inner";
    case Dim::attention_inner:
      return "attention_inner";
    case Dim::ffn:
      return "ffn";
  }
  return "";
}

template <class T>
index_t ParameterStore<T>::add(ParameterInfo info) {
  ELASTIC_REQUIRE(!m_allocated, "parameter {} declared after allocation", info.name);
  ELASTIC_REQUIRE(find(info.name) == nullptr, "parameter {} declared twice", info.name);
  ELASTIC_REQUIRE(info.rows >= 0 && info.columns >= 0, "parameter {} is [{}, {}]", info.name,
                  info.rows, info.columns);
  for (const auto& [extent, unit] :
       {std::pair{info.rows, info.row_unit}, {info.columns, info.column_unit}})
    ELASTIC_REQUIRE(unit >= 0 && (unit == 0 || extent % unit == 0),
                    "parameter {}: {} in units of {}", info.name, extent, unit);
  ELASTIC_REQUIRE(info.row_unit == 0 || info.column_unit == 0,
                  "parameter {} is sharded by rows and columns", info.name);
  Parameter<T> p{.info = std::move(info),
                 .offset = m_num_elements,
                 .exact_offset = m_num_exact,
                 .value = {},
                 .exact = {},
                 .gradient = {}};
  p.rows = local_count(p.info.rows, p.info.row_unit, m_shard);
  p.columns = local_count(p.info.columns, p.info.column_unit, m_shard);
  m_num_elements += p.size();
  if (p.info.exact) m_num_exact += p.size();
  m_parameters.push_back(std::move(p));
  return size() - 1;
}

template <class T>
void ParameterStore<T>::allocate(bool with_gradients) {
  m_allocated = true;
  m_values = zeros_in_huge_pages<T>("elastic::parameter_values", m_num_elements);
  if (with_gradients)
    m_gradients =
        zeros_in_huge_pages<Accumulate<T>>("elastic::parameter_gradients", m_num_elements);
  if (has_exact_values<T>)
    m_exact_values = View1<Accumulate<T>>("elastic::parameter_exact_values", m_num_exact);
  for (auto& p : m_parameters) {
    const bool apart = has_exact_values<T> && p.info.exact;
    if (!apart) p.value = View2<T>(m_values.data() + p.offset, p.rows, p.columns);
    if constexpr (has_exact_values<T>) {
      if (apart)
        p.exact = View2<Accumulate<T>>(m_exact_values.data() + p.exact_offset, p.rows, p.columns);
    } else if (p.info.exact) {
      p.exact = p.value;
    }
    if (with_gradients)
      p.gradient = View2<Accumulate<T>>(m_gradients.data() + p.offset, p.rows, p.columns);
  }
}

template <class T>
const Parameter<T>* ParameterStore<T>::find(const std::string& name) const {
  for (const auto& p : m_parameters)
    if (p.info.name == name) return &p;
  return nullptr;
}

template <class T>
void set_values(const Parameter<T>& parameter, const Accumulate<T>* values) {
  with_values(parameter, [&](const auto& view) {
    using Value = typename std::decay_t<decltype(view)>::value_type;
    const auto h_view = Kokkos::create_mirror_view(view);
    std::transform(values, values + parameter.size(), h_view.data(),
                   [](Accumulate<T> x) { return static_cast<Value>(x); });
    Kokkos::deep_copy(view, h_view);
  });
}

template <class T>
std::vector<Accumulate<T>> values_to_host(const Parameter<T>& parameter) {
  return with_values(parameter, [&](const auto& view) {
    const auto h_view = Kokkos::create_mirror_view_and_copy(HostSpace(), view);
    std::vector<Accumulate<T>> values(static_cast<std::size_t>(parameter.size()));
    std::transform(h_view.data(), h_view.data() + parameter.size(), values.begin(),
                   [](auto x) { return static_cast<Accumulate<T>>(x); });
    return values;
  });
}

#define ELASTIC_INSTANTIATE(T)                                            \
  template class ParameterStore<T>;                                       \
  template void set_values<T>(const Parameter<T>&, const Accumulate<T>*); \
  template std::vector<Accumulate<T>> values_to_host<T>(const Parameter<T>&);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
