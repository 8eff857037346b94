// SPDX-License-Identifier: Apache-2.0
// Kernels that stream activations or parameters: what counts is bytes per second.
#include "kernels/update/adamw_step.hpp"
#include "kernels/rows/rmsnorm.hpp"
#include "kernels/rows/squared_relu.hpp"
#include "support/shapes.hpp"
#include "support/timing.hpp"

namespace elastic::bench {
namespace {
using namespace kernels;

void bench_rmsnorm(benchmark::State& state, index_t tokens, index_t width, bool backward) {
  const ExecutionSpace exec;
  const auto x = random_matrix(tokens, width, 1), y = random_matrix(tokens, width, 2),
             dx = random_matrix(tokens, width, 3);
  const auto weight = random_vector(width, 4), dweight = random_vector(width, 5),
             rstd = random_vector(tokens, 6);
  const View1<float> workspace("elastic::bench", rmsnorm_workspace_size(tokens, width));
  const RmsNormParams params{.mean_width = static_cast<double>(width)};
  const double activations = static_cast<double>(tokens * width) * sizeof(float);
  time_launches(state, activations * (backward ? 4 : 2), [&] {
    if (backward)
      rmsnorm_backward<float>(exec, {x, weight}, params, rstd, y, {dx, dweight}, workspace);
    else
      rmsnorm_forward<float>(exec, {x, weight}, params, y, rstd);
  });
}

void bench_squared_relu(benchmark::State& state, index_t tokens, index_t width) {
  const auto x = random_matrix(tokens, width, 1), y = random_matrix(tokens, width, 2);
  time_launches(state, 2.0 * static_cast<double>(tokens * width) * sizeof(float),
                [&] { squared_relu_forward<float>(ExecutionSpace(), x, {}, y); });
}

void bench_adamw(benchmark::State& state, index_t n) {
  const auto gradient = random_vector(n, 1), weight = random_vector(n, 2), m = random_vector(n, 3);
  const View1<float> v("elastic::bench", n);
  time_launches(state, 7.0 * static_cast<double>(n) * sizeof(float),  // reads 4 buffers, writes 3
                [&] { adamw_step<float>(ExecutionSpace(), gradient, {}, weight, m, v); });
}
}  // namespace

void add_row_benchmarks() {
  for (const auto& e : all_extents()) {
    const index_t tokens = e.batch * e.seq_length;
    for (const bool backward : {false, true})
      add(std::string(backward ? "rmsnorm_backward/" : "rmsnorm_forward/") + e.name,
          [=](benchmark::State& state) { bench_rmsnorm(state, tokens, e.hidden, backward); });
    add(std::string("squared_relu_forward/") + e.name,
        [=](benchmark::State& state) { bench_squared_relu(state, tokens, e.ffn); });
    add(std::string("adamw_step/") + e.name,
        [=](benchmark::State& state) { bench_adamw(state, e.hidden * e.ffn); });
  }
}

}  // namespace elastic::bench
