// SPDX-License-Identifier: Apache-2.0
#include "base/parameter.hpp"

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
  Parameter<T> p{.info = std::move(info), .offset = m_num_elements, .value = {}, .gradient = {}};
  p.rows = local_count(p.info.rows, p.info.row_unit, m_shard);
  p.columns = local_count(p.info.columns, p.info.column_unit, m_shard);
  m_num_elements += p.size();
  m_parameters.push_back(std::move(p));
  return size() - 1;
}

template <class T>
void ParameterStore<T>::allocate(bool with_gradients) {
  m_allocated = true;
  m_values = View1<T>("elastic::parameter_values", m_num_elements);
  if (with_gradients)
    m_gradients = View1<Accumulate<T>>("elastic::parameter_gradients", m_num_elements);
  for (auto& p : m_parameters) {
    p.value = View2<T>(m_values.data() + p.offset, p.rows, p.columns);
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

template class ParameterStore<float>;
template class ParameterStore<double>;

}  // namespace elastic
