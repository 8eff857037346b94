// SPDX-License-Identifier: Apache-2.0
#include "base/parameter.hpp"

namespace elastic {

template <class S>
index_t ParameterStore<S>::add(ParameterInfo info) {
  ELASTIC_REQUIRE(!m_allocated, "parameter {} declared after allocation", info.name);
  ELASTIC_REQUIRE(find(info.name) == nullptr, "parameter {} declared twice", info.name);
  ELASTIC_REQUIRE(info.rows >= 0 && info.columns >= 0, "parameter {} is [{}, {}]", info.name, info.rows, info.columns);
  const index_t offset = m_num_elements;
  m_num_elements += info.rows * info.columns;
  m_parameters.push_back({.info = std::move(info), .offset = offset, .value = {}, .gradient = {}});
  return size() - 1;
}

template <class S>
void ParameterStore<S>::allocate(bool with_gradients) {
  m_allocated = true;
  m_values = View1<S>("elastic::parameter_values", m_num_elements);
  if (with_gradients) m_gradients = View1<S>("elastic::parameter_gradients", m_num_elements);
  for (auto& p : m_parameters) {
    p.value = View2<S>(m_values.data() + p.offset, p.info.rows, p.info.columns);
    if (with_gradients) p.gradient = View2<S>(m_gradients.data() + p.offset, p.info.rows, p.info.columns);
  }
}

template <class S>
const Parameter<S>* ParameterStore<S>::find(const std::string& name) const {
  for (const auto& p : m_parameters)
    if (p.info.name == name) return &p;
  return nullptr;
}

template class ParameterStore<float>;
template class ParameterStore<double>;

}  // namespace elastic
