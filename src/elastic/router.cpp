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
  m_buffers = Buffers(config.hidden_size, m_nets, m_num_outputs);
  m_back_pi = View1<T>("elastic::router_pi", m_num_outputs);
  m_dlogits = View1<T>("elastic::router_dlogits", m_num_outputs);
  m_dhidden = View2<T>("elastic::router_dhidden", 1, config.hidden_size);
}

template <class T>
Router<T>::Buffers::Buffers(index_t hidden_size, const std::vector<Net>& nets, index_t num_outputs)
    : before("elastic::router_before", nets.size(), hidden_size),
      hidden("elastic::router_hidden", nets.size(), hidden_size),
      logits("elastic::router_logits", num_outputs) {}

template <class T>
void Router<T>::Rows::reserve(const char* label, index_t count, index_t columns) {
  if (there.extent_int(0) >= count && there.extent_int(1) == columns) return;
  there = View2<T>(std::string(label), count + count / 2, columns);
  here = Kokkos::create_mirror_view(there);
}

template <class T>
View2<T> Router<T>::rows_of(const Net& net, const View1<T>& flat) const {
  return View2<T>(flat.data() + net.offset, net.rows, net.choices);
}
template <class T>
View2<T> Router<T>::flat_row(const Net& net, const View1<T>& flat) const {
  return View2<T>(flat.data() + net.offset, 1, net.rows * net.choices);
}

template <class T>
void Router<T>::upload_budgets(const ExecutionSpace& exec, const std::vector<DrawName>& names,
                               const Rows& to) const {
  for (std::size_t k = 0; k < names.size(); ++k) {
    const auto u = budget_blend(m_budgets, names[k].budget);
    for (std::size_t b = 0; b < u.size(); ++b) to.here(k, b) = static_cast<T>(u[b]);
  }
  Kokkos::deep_copy(exec, to.there, to.here);
}

template <class T>
void Router<T>::run(const kernels::Products& products, const View2<T>& input,
                    const Buffers& buffers) const {
  for (std::size_t k = 0; k < m_nets.size(); ++k) {
    const auto& net = m_nets[k];
    const auto before = rows(buffers.before, k, k + 1), hidden = rows(buffers.hidden, k, k + 1);
    kernels::gemm<T>(products, Transpose::no, Transpose::yes, 1, input,
                     m_parameters[net.input].value, 0, before);
    kernels::leaky_relu_forward<T>(products.exec, before, slope, hidden);
    kernels::gemm<T>(products, Transpose::no, Transpose::yes, 1, hidden,
                     m_parameters[net.output].value, 0, flat_row(net, buffers.logits));
  }
}

template <class T>
kernels::GumbelSoftmaxParams Router<T>::softmax_params(const Net& net,
                                                       const RouterTemperature& temperature,
                                                       std::uint64_t stream) const {
  const std::uint64_t of_axis = stream * num_axes + static_cast<std::uint64_t>(net.axis);
  return {temperature.logit_scale,
          temperature.tau,
          true,
          {m_seed, RandomPurpose::gumbel_noise, of_axis}};
}

template <class T>
Probabilities Router<T>::lists(const T* row) const {
  Probabilities result;
  for (const auto& decision : m_decisions) {
    result.emplace_back(row, row + decision.widths.size());
    row += decision.widths.size();
  }
  return result;
}

template <class T>
std::vector<RouterDraw> Router<T>::draws(const kernels::Products& products,
                                         const std::vector<DrawName>& names,
                                         const RouterTemperature& temperature) {
  const auto count = static_cast<index_t>(names.size());
  m_inputs.reserve("elastic::router_input", count, static_cast<index_t>(m_budgets.size()));
  m_pi.reserve("elastic::router_pi", count, m_num_outputs);
  upload_budgets(products.exec, names, m_inputs);
  for (index_t k = 0; k < count; ++k) {
    run(products, rows(m_inputs.there, k, k + 1), m_buffers);
    const View1<T> pi(m_pi.there.data() + k * m_num_outputs, m_num_outputs);
    for (const auto& net : m_nets)
      kernels::gumbel_softmax_forward<T>(
          products.exec, rows_of(net, m_buffers.logits),
          softmax_params(net, temperature, names[static_cast<std::size_t>(k)].stream),
          rows_of(net, pi));
  }
  Kokkos::deep_copy(products.exec, m_pi.here, m_pi.there);
  fence(products.exec, "elastic::router_draws");
  std::vector<RouterDraw> result;
  for (index_t k = 0; k < count; ++k) {
    RouterDraw draw;
    draw.soft = draw.value = lists(m_pi.here.data() + k * m_num_outputs);
    const std::uint64_t stream = names[static_cast<std::size_t>(k)].stream;
    const bool straight_through = random_uniform({m_seed, RandomPurpose::hard_sample, stream}, 0) <
                                  m_config.hard_sample_probability;
    if (straight_through)
      for (auto& list : draw.value) {
        const auto best = argmax(list);
        list.assign(list.size(), 0.0);
        list[best] = 1;
      }
    result.push_back(std::move(draw));
  }
  return result;
}

template <class T>
void Router<T>::backward(const kernels::Products& products, const std::vector<DrawName>& names,
                         const RouterTemperature& temperature,
                         const std::vector<Probabilities>& dpi) {
  ELASTIC_REQUIRE(dpi.size() == names.size(), "{} gradients for {} draws", dpi.size(),
                  names.size());
  const auto count = static_cast<index_t>(names.size());
  m_back_inputs.reserve("elastic::router_input", count, static_cast<index_t>(m_budgets.size()));
  m_dpi.reserve("elastic::router_dpi", count, m_num_outputs);
  for (index_t k = 0; k < count; ++k) {
    const Probabilities& of_draw = dpi[static_cast<std::size_t>(k)];
    ELASTIC_REQUIRE(of_draw.size() == m_decisions.size(), "{} lists for {} decisions",
                    of_draw.size(), m_decisions.size());
    index_t next = 0;
    for (const auto& list : of_draw)
      for (const double v : list) {
        ELASTIC_REQUIRE(next < m_num_outputs, "more gradients than {} choices", m_num_outputs);
        m_dpi.here(k, next++) = static_cast<T>(v);
      }
    ELASTIC_REQUIRE(next == m_num_outputs, "{} gradients for {} choices", next, m_num_outputs);
  }
  Kokkos::deep_copy(products.exec, m_dpi.there, m_dpi.here);
  upload_budgets(products.exec, names, m_back_inputs);
  for (index_t k = 0; k < count; ++k)
    backward_one(products, names[static_cast<std::size_t>(k)], temperature, k);
}

template <class T>
void Router<T>::backward_one(const kernels::Products& products, const DrawName& name,
                             const RouterTemperature& temperature, index_t row) {
  const auto u = rows(m_back_inputs.there, row, row + 1);
  const View1<T> dpi(m_dpi.there.data() + row * m_num_outputs, m_num_outputs);
  run(products, u, m_buffers);
  Kokkos::deep_copy(products.exec, m_dlogits, T(0));
  for (std::size_t k = 0; k < m_nets.size(); ++k) {
    const auto& net = m_nets[k];
    const auto before = rows(m_buffers.before, k, k + 1), hidden = rows(m_buffers.hidden, k, k + 1);
    const auto dlogits = flat_row(net, m_dlogits);
    const auto &input = m_parameters[net.input], &output = m_parameters[net.output];
    const auto params = softmax_params(net, temperature, name.stream);
    kernels::gumbel_softmax_forward<T>(products.exec, rows_of(net, m_buffers.logits), params,
                                       rows_of(net, m_back_pi));
    kernels::gumbel_softmax_backward<T>(products.exec, rows_of(net, dpi), rows_of(net, m_back_pi),
                                        params, rows_of(net, m_dlogits));
    kernels::gemm<T>(products, Transpose::yes, Transpose::no, 1, dlogits, hidden, 1,
                     output.gradient);
    kernels::gemm<T>(products, Transpose::no, Transpose::no, 1, dlogits, output.value, 0,
                     m_dhidden);
    kernels::leaky_relu_backward<T>(products.exec, m_dhidden, before, slope, m_dhidden);
    kernels::gemm<T>(products, Transpose::yes, Transpose::no, 1, m_dhidden, u, 1, input.gradient);
  }
}

template <class T>
const RouterDraw& Router<T>::forward(const kernels::Products& products, double budget,
                                     const RouterTemperature& temperature, std::uint64_t stream) {
  m_last = {budget, stream};
  m_last_temperature = temperature;
  m_draw = draws(products, {m_last}, temperature).front();
  return m_draw;
}

template <class T>
void Router<T>::backward(const kernels::Products& products, const Probabilities& dpi) {
  backward(products, {m_last}, m_last_temperature, {dpi});
}

template <class T>
Probabilities Router<T>::logits(const kernels::Products& products, double budget) const {
  const Buffers buffers(m_config.hidden_size, m_nets, m_num_outputs);
  Rows inputs;
  inputs.reserve("elastic::router_input", 1, static_cast<index_t>(m_budgets.size()));
  upload_budgets(products.exec, {{budget, 0}}, inputs);
  run(products, rows(inputs.there, 0, 1), buffers);
  std::vector<T> flat(static_cast<std::size_t>(m_num_outputs));
  Kokkos::deep_copy(products.exec, HostView1<T>(flat.data(), flat.size()), buffers.logits);
  fence(products.exec, "elastic::router_logits");
  return lists(flat.data());
}

template class Router<float>;
template class Router<double>;

}  // namespace elastic
