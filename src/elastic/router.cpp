// SPDX-License-Identifier: Apache-2.0
#include "elastic/router.hpp"

#include <algorithm>
#include <cmath>

#include "kernels/products/gemm.hpp"
#include "kernels/losses/gumbel_softmax.hpp"
#include "kernels/rows/leaky_relu.hpp"

namespace elastic {
namespace {

using kernels::Transpose;

constexpr double slope = 0.1;
constexpr std::uint64_t stream_base = std::uint64_t{1}
                                      << 48;  // apart from the tensors of the model

template <class T>
void initialize(const Parameter<T>& p, double std_dev, const RandomKey& key) {
  const auto host = Kokkos::create_mirror_view(p.value);
  for (index_t i = 0; i < p.info.rows; ++i)
    for (index_t j = 0; j < p.info.columns; ++j)
      host(i, j) = static_cast<T>(std_dev * random_normal(key, i * p.info.columns + j));
  Kokkos::deep_copy(p.value, host);
}

std::size_t argmax(const std::vector<double>& values) {
  return static_cast<std::size_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

}  // namespace

RouterTemperature RouterSchedule::at(double progress) const {
  const double t = std::clamp(progress, 0.0, 1.0);
  return {logit_scale_start + t * (logit_scale_end - logit_scale_start),
          tau_start * std::pow(tau_end / tau_start, t)};
}

template <class T>
Router<T>::Router(const std::vector<Decision>& decisions, const std::vector<double>& budgets,
                  const RouterConfig& config, std::uint32_t seed)
    : m_decisions(decisions), m_budgets(budgets), m_config(config), m_seed(seed) {
  ELASTIC_REQUIRE(!budgets.empty() && std::is_sorted(budgets.rbegin(), budgets.rend()),
                  "{} budgets", budgets.size());
  const auto num_budgets = static_cast<index_t>(budgets.size());
  for (std::size_t d = 0; d < decisions.size(); ++d) {
    const auto choices = static_cast<index_t>(decisions[d].widths.size());
    if (m_nets.empty() || m_nets.back().axis != decisions[d].axis)
      m_nets.push_back({decisions[d].axis, 0, choices, m_num_outputs, -1, -1});
    ELASTIC_REQUIRE(m_nets.back().choices == choices, "decision {} has {} choices", d, choices);
    ++m_nets.back().rows;
    m_num_outputs += choices;
  }
  for (auto& net : m_nets) {
    const std::string name = fmt::format("router.{}", axis_name(net.axis));
    net.input = m_parameters.add({.name = name + ".input",
                                  .rows = config.hidden_size,
                                  .columns = num_budgets,
                                  .weight_decay = false});
    net.output = m_parameters.add({.name = name + ".output",
                                   .rows = net.rows * net.choices,
                                   .columns = config.hidden_size,
                                   .weight_decay = false});
  }
  m_parameters.allocate(true);
  for (index_t k = 0; k < m_parameters.size(); ++k)
    initialize(m_parameters[k], config.init_std,
               {seed, RandomPurpose::initialization, stream_base + static_cast<std::uint64_t>(k)});
  m_buffers = Buffers(num_budgets, config.hidden_size, m_nets, m_num_outputs);
  m_dpi = View1<T>("elastic::router_dpi", m_num_outputs);
  m_h_dpi = Kokkos::create_mirror_view(m_dpi);
  m_dlogits = View1<T>("elastic::router_dlogits", m_num_outputs);
  m_dhidden = View2<T>("elastic::router_dhidden", 1, config.hidden_size);
}

template <class T>
Router<T>::Buffers::Buffers(index_t num_budgets, index_t hidden_size, const std::vector<Net>& nets,
                            index_t num_outputs)
    : input("elastic::router_input", 1, num_budgets),
      before("elastic::router_before", nets.size(), hidden_size),
      hidden("elastic::router_hidden", nets.size(), hidden_size),
      h_input(Kokkos::create_mirror_view(input)),
      logits("elastic::router_logits", num_outputs),
      pi("elastic::router_pi", num_outputs) {}

template <class T>
View2<T> Router<T>::rows_of(const Net& net, const View1<T>& flat) const {
  return View2<T>(flat.data() + net.offset, net.rows, net.choices);
}
template <class T>
View2<T> Router<T>::flat_row(const Net& net, const View1<T>& flat) const {
  return View2<T>(flat.data() + net.offset, 1, net.rows * net.choices);
}

template <class T>
void Router<T>::run(const kernels::Products& products, double budget,
                    const Buffers& buffers) const {
  const auto u = budget_blend(m_budgets, budget);
  for (std::size_t b = 0; b < u.size(); ++b) buffers.h_input(0, b) = static_cast<T>(u[b]);
  Kokkos::deep_copy(products.exec, buffers.input, buffers.h_input);
  for (std::size_t k = 0; k < m_nets.size(); ++k) {
    const auto& net = m_nets[k];
    const auto before = rows(buffers.before, k, k + 1), hidden = rows(buffers.hidden, k, k + 1);
    kernels::gemm<T>(products, Transpose::no, Transpose::yes, 1, buffers.input,
                     m_parameters[net.input].value, 0, before);
    kernels::leaky_relu_forward<T>(products.exec, before, slope, hidden);
    kernels::gemm<T>(products, Transpose::no, Transpose::yes, 1, hidden,
                     m_parameters[net.output].value, 0, flat_row(net, buffers.logits));
  }
}

template <class T>
kernels::GumbelSoftmaxParams Router<T>::softmax_params(const Net& net) const {
  const std::uint64_t stream = m_stream * num_axes + static_cast<std::uint64_t>(net.axis);
  return {m_temperature.logit_scale,
          m_temperature.tau,
          true,
          {m_seed, RandomPurpose::gumbel_noise, stream}};
}

template <class T>
Probabilities Router<T>::lists(const ExecutionSpace& exec, const View1<T>& flat) const {
  const auto host = Kokkos::create_mirror_view(HostSpace(), flat);
  Kokkos::deep_copy(exec, host, flat);
  fence(exec, "elastic::router_lists");
  Probabilities result;
  const T* next = host.data();
  for (const auto& decision : m_decisions) {
    result.emplace_back(next, next + decision.widths.size());
    next += decision.widths.size();
  }
  return result;
}

template <class T>
const RouterDraw& Router<T>::forward(const kernels::Products& products, double budget,
                                     const RouterTemperature& temperature, std::uint64_t stream) {
  m_temperature = temperature;
  m_stream = stream;
  run(products, budget, m_buffers);
  for (const auto& net : m_nets)
    kernels::gumbel_softmax_forward<T>(products.exec, rows_of(net, m_buffers.logits),
                                       softmax_params(net), rows_of(net, m_buffers.pi));
  m_draw.soft = m_draw.value = lists(products.exec, m_buffers.pi);
  const bool straight_through = random_uniform({m_seed, RandomPurpose::hard_sample, stream}, 0) <
                                m_config.hard_sample_probability;
  if (straight_through)
    for (auto& list : m_draw.value) {
      const auto best = argmax(list);
      list.assign(list.size(), 0.0);
      list[best] = 1;
    }
  return m_draw;
}

template <class T>
void Router<T>::backward(const kernels::Products& products, const Probabilities& dpi) {
  ELASTIC_REQUIRE(dpi.size() == m_decisions.size(), "{} lists for {} decisions", dpi.size(),
                  m_decisions.size());
  index_t next = 0;
  for (const auto& list : dpi)
    for (const double v : list) m_h_dpi(next++) = static_cast<T>(v);
  ELASTIC_REQUIRE(next == m_num_outputs, "{} gradients for {} choices", next, m_num_outputs);
  Kokkos::deep_copy(products.exec, m_dpi, m_h_dpi);
  Kokkos::deep_copy(products.exec, m_dlogits, T(0));
  for (std::size_t k = 0; k < m_nets.size(); ++k) {
    const auto& net = m_nets[k];
    const auto before = rows(m_buffers.before, k, k + 1), hidden = rows(m_buffers.hidden, k, k + 1);
    const auto dlogits = flat_row(net, m_dlogits);
    const auto &input = m_parameters[net.input], &output = m_parameters[net.output];
    kernels::gumbel_softmax_backward<T>(products.exec, rows_of(net, m_dpi),
                                        rows_of(net, m_buffers.pi), softmax_params(net),
                                        rows_of(net, m_dlogits));
    kernels::gemm<T>(products, Transpose::yes, Transpose::no, 1, dlogits, hidden, 1,
                     output.gradient);
    kernels::gemm<T>(products, Transpose::no, Transpose::no, 1, dlogits, output.value, 0,
                     m_dhidden);
    kernels::leaky_relu_backward<T>(products.exec, m_dhidden, before, slope, m_dhidden);
    kernels::gemm<T>(products, Transpose::yes, Transpose::no, 1, m_dhidden, m_buffers.input, 1,
                     input.gradient);
  }
}

template <class T>
Probabilities Router<T>::logits(const kernels::Products& products, double budget) const {
  const Buffers buffers(static_cast<index_t>(m_budgets.size()), m_config.hidden_size, m_nets,
                        m_num_outputs);
  run(products, budget, buffers);
  return lists(products.exec, buffers.logits);
}

template class Router<float>;
template class Router<double>;

}  // namespace elastic
