// SPDX-License-Identifier: Apache-2.0
// The router: from a budget to a probability for every choice of every decision (paper.md 2.2).
//
//   u = one-hot of the budget (between two trained budgets: the linear blend of their one-hots);  per axis:  h = LeakyReLU_0.1(W1 u),
//   z = W2 h,  pi = GumbelSoftmax(z; logit scale s, temperature tau).  No biases; W ~ N(0, init_std^2).
// An axis with per-layer choices has one row of z per layer. Trained end to end; a few hundred kilobytes.
#pragma once
#include "base/parameter.hpp"
#include "base/random.hpp"
#include "elastic/active_widths.hpp"

namespace elastic {

struct RouterConfig {
  index_t hidden_size = 256;             ///< width of the hidden layer
  double init_std = 0.1;
  double hard_sample_probability = 0.004;  ///< straight-through one-hot draws, decided once per call for all axes
};
/// Values of the schedules at a step.
struct RouterTemperature {
  double logit_scale = 1, tau = 1;
};
/// logit scale linear from 1 to 10, tau exponential from 1 to 0.05 over the run (paper), at progress in [0, 1].
struct RouterSchedule {
  double logit_scale_start = 1, logit_scale_end = 10, tau_start = 1, tau_end = 0.05;
  RouterTemperature at(double progress) const;
};

template <class S>
class Router {
 public:
  /// `budgets` falling, e.g. {1, 0.75, 0.5}: the trained ones.
  Router(const std::vector<Decision>& decisions, const std::vector<double>& budgets, const RouterConfig& config,
         std::uint32_t seed);

  /// Input vector of a budget [num_budgets]; budgets above the largest or below the smallest trained one give that one.
  std::vector<double> budget_input(double budget) const;
  /// Training: probabilities with Gumbel noise keyed by (seed, stream, axis). Keeps what backward needs.
  const Probabilities& forward(const ExecutionSpace& exec, double budget, const RouterTemperature& temperature,
                               std::uint64_t stream);
  /// Accumulates the gradients of W1 and W2 from dL/dpi of the last forward.
  void backward(const ExecutionSpace& exec, const Probabilities& dpi);
  /// Logits z without noise and scale, one list per decision: extraction takes their argmax.
  Probabilities logits(const ExecutionSpace& exec, double budget) const;
  ParameterStore<S>& parameters() { return m_parameters; }
  const ParameterStore<S>& parameters() const { return m_parameters; }
  const std::vector<double>& budgets() const { return m_budgets; }

 private:
  std::vector<Decision> m_decisions;
  std::vector<double> m_budgets;
  RouterConfig m_config;
  std::uint32_t m_seed;
  ParameterStore<S> m_parameters;
  Probabilities m_pi;
};

}  // namespace elastic
