// SPDX-License-Identifier: Apache-2.0
// The router: from a budget to a probability for every choice of every decision
// (doc/equations/router.md; Nemotron Elastic, arXiv 2511.16664). Per axis, with logit scale s and
// temperature tau:
//
//   u  = one-hot of the budget (between two trained budgets: the linear blend of their one-hots)
//   h  = LeakyReLU_0.1(W1 u)
//   z  = W2 h
//   pi = softmax((s z + Gumbel noise) / tau)
//
// No biases; W ~ N(0, init_std^2). An axis with per-layer choices has one row of z per layer.
// Trained end to end; a few hundred kilobytes.
#pragma once
#include "base/parameter.hpp"
#include "base/random.hpp"
#include "elastic/budgets.hpp"
#include "elastic/elastic_space.hpp"
#include "elastic/kept_choices.hpp"
#include "kernels/losses/gumbel_softmax.hpp"
#include "kernels/products/gemm.hpp"

namespace elastic {

struct RouterConfig {
  index_t hidden_size = 256;  ///< width of the hidden layer
  double init_std = 0.1;
  /// Probability of a straight-through draw, decided once per call for all axes: the forward pass
  /// takes the one-hot of the largest pi, the gradient goes through the soft pi. 1: every draw, the
  /// hard mode of the paper.
  double hard_sample_probability = 0.004;
};
/// Values of the schedules at a step.
struct RouterTemperature {
  double logit_scale = 1, tau = 1;
};
/// Over the run, at progress 0 to 1: logit scale linear from 1 to 10, tau exponential from 1
/// to 0.05 (values of Nemotron Elastic, arXiv 2511.16664).
struct RouterSchedule {
  double logit_scale_start = 1, logit_scale_end = 10, tau_start = 1, tau_end = 0.05;
  RouterTemperature at(double progress) const;
};

/// What is drawn: the widths of a budget, with the noise of a stream.
struct DrawName {
  double budget;
  std::uint64_t stream;
};

/// T: the sum type of the model (Accumulate), in which probabilities,
/// masks and their gradients are kept.
template <class T>
class Router {
 public:
  /// `budgets`: the trained ones, falling, e.g. {1, 0.75, 0.5}.
  Router(const std::vector<Decision>& decisions, const std::vector<double>& budgets,
         const RouterConfig& config, std::uint32_t seed);

  /// Training: probabilities with Gumbel noise keyed by (seed, stream, axis). The value of a
  /// straight-through draw is one-hot. All draws come to the host together: one wait.
  std::vector<RouterDraw> draws(const kernels::Products& products,
                                const std::vector<DrawName>& names,
                                const RouterTemperature& temperature);
  /// Accumulates, draw after draw, the gradients of W1 and W2 from dL/dpi of the soft draws, which
  /// are computed again. Does not wait; the caller does so before the next call.
  void backward(const kernels::Products& products, const std::vector<DrawName>& names,
                const RouterTemperature& temperature, const std::vector<Probabilities>& dpi);
  /// One draw, and the gradients from the last one.
  const RouterDraw& forward(const kernels::Products& products, double budget,
                            const RouterTemperature& temperature, std::uint64_t stream);
  void backward(const kernels::Products& products, const Probabilities& dpi);
  /// Logits z without noise and scale, one list per decision: extraction takes their argmax.
  Probabilities logits(const kernels::Products& products, double budget) const;
  ParameterStore<T>& parameters() { return m_parameters; }
  const ParameterStore<T>& parameters() const { return m_parameters; }
  const std::vector<double>& budgets() const { return m_budgets; }

 private:
  /// The two layers of one axis: `rows` decisions with `choices` outputs each,
  /// from `offset` in the flat outputs.
  struct Net {
    Axis axis;
    index_t rows, choices, offset;
    index_t input, output;  ///< tensors W1 and W2
  };
  /// What one evaluation computes; backward reads it.
  struct Buffers {
    Buffers() = default;
    Buffers(index_t hidden_size, const std::vector<Net>& nets, index_t num_outputs);
    View2<T> before, hidden;  // W1 u and h, one row per net
    View1<T> logits;          // flat, decision after decision
  };
  /// Rows of many draws, on the device and where the host reads and writes them.
  struct Rows {
    View2<T> there;
    HostMirror<View2<T>> here;
    /// Makes room for `count` rows, and some more; what was there is lost.
    void reserve(const char* label, index_t count, index_t columns);
  };
  void upload_budgets(const ExecutionSpace& exec, const std::vector<DrawName>& names,
                      const Rows& to) const;
  void run(const kernels::Products& products, const View2<T>& input, const Buffers& buffers) const;
  void backward_one(const kernels::Products& products, const DrawName& name,
                    const RouterTemperature& temperature, index_t row);
  View2<T> rows_of(const Net& net, const View1<T>& flat) const;
  View2<T> flat_row(const Net& net, const View1<T>& flat) const;
  kernels::GumbelSoftmaxParams softmax_params(const Net& net, const RouterTemperature& temperature,
                                              std::uint64_t stream) const;
  /// All probabilities, or logits, of a row, on the host.
  Probabilities lists(const T* row) const;

  std::vector<Decision> m_decisions;
  std::vector<double> m_budgets;
  RouterConfig m_config;
  std::uint32_t m_seed;
  std::vector<Net> m_nets;
  index_t m_num_outputs = 0;
  ParameterStore<T> m_parameters;
  Buffers m_buffers;          // of the draw under way
  Rows m_inputs, m_pi;        // u [n, S] and pi [n, outputs] of draws()
  Rows m_back_inputs, m_dpi;  // of backward()
  View1<T> m_back_pi, m_dlogits;
  View2<T> m_dhidden;
  // The last forward():
  DrawName m_last{1, 0};
  RouterTemperature m_last_temperature;
  RouterDraw m_draw;
};

}  // namespace elastic
