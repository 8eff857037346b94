// SPDX-License-Identifier: Apache-2.0
#include "kernels/scan/causal_conv1d.hpp"
#include "kernels/scan/ssd.hpp"
#include "support/shapes.hpp"
#include "support/timing.hpp"

namespace elastic::bench {
namespace {
using namespace kernels;
constexpr index_t conv_taps = 4;

/// Views of one scan, inputs random.
struct Scan {
  explicit Scan(const SsdShape& s)
      : in{random_matrix(s.num_tokens(), s.num_heads * s.head_dim, 1),
           random_matrix(s.num_tokens(), s.num_groups * s.state_dim, 2),
           random_matrix(s.num_tokens(), s.num_groups * s.state_dim, 3),
           random_matrix(s.num_tokens(), s.num_heads, 4),
           random_vector(s.num_heads, 5),
           random_vector(s.num_heads, 6),
           random_vector(s.num_heads, 7),
           {},
           {}},
        saved{random_matrix(s.num_tokens(), s.num_heads, 8),
              random_matrix(s.num_tokens(), 2 * s.num_heads, 9),
              random_matrix(s.num_states(), s.head_dim * s.state_dim, 10)},
        y(random_matrix(s.num_tokens(), s.num_heads * s.head_dim, 11)),
        gradients{random_matrix(s.num_tokens(), s.num_heads * s.head_dim, 12),
                  random_matrix(s.num_tokens(), s.num_groups * s.state_dim, 13),
                  random_matrix(s.num_tokens(), s.num_groups * s.state_dim, 14),
                  random_matrix(s.num_tokens(), s.num_heads, 15),
                  random_vector(s.num_heads, 16),
                  random_vector(s.num_heads, 17),
                  random_vector(s.num_heads, 18),
                  {}},
        workspace("elastic::bench", ssd_workspace_size<float>(s)) {}
  SsdInputs<float> in;
  SsdSaved<float> saved;
  View2<float> y;
  SsdGradients<float> gradients;
  View1<float> workspace;
};

void bench_scan(benchmark::State& state, const SsdShape& shape, bool backward) {
  const ExecutionSpace exec;
  const Scan scan(shape);
  ssd_forward<float>(exec, shape, scan.in, scan.saved, scan.y);
  time_launches(state, 0, [&] {
    if (backward)
      ssd_backward<float>(exec, shape, scan.in, scan.saved, scan.y, scan.gradients, scan.workspace);
    else
      ssd_forward<float>(exec, shape, scan.in, scan.saved, scan.y);
  });
}

void bench_convolution(benchmark::State& state, const SsdShape& shape, bool backward) {
  const ExecutionSpace exec;
  const index_t tokens = shape.num_tokens(), channels = shape.num_heads * shape.head_dim;
  const auto u = random_matrix(tokens, channels, 1), weight = random_matrix(channels, conv_taps, 2),
             out = random_matrix(tokens, channels, 3);
  const auto du = random_matrix(tokens, channels, 4),
             dweight = random_matrix(channels, conv_taps, 5);
  const auto bias = random_vector(channels, 6), dbias = random_vector(channels, 7);
  const View1<float> workspace("elastic::bench",
                               causal_conv1d_workspace_size(tokens, channels, conv_taps));
  const ConvolutionInputs<float> in{u, weight, bias, {}, {}, shape.seq_length};
  const double activations = static_cast<double>(tokens * channels) * sizeof(float);
  time_launches(state, activations * (backward ? 3 : 2), [&] {
    if (backward)
      causal_conv1d_backward<float>(exec, in, out, {}, {du, dweight, dbias}, workspace);
    else
      causal_conv1d_forward<float>(exec, in, out);
  });
}
}  // namespace

void add_ssd_benchmarks() {
  for (const auto& e : all_extents())
    for (const bool backward : {false, true}) {
      const std::string name = std::string(backward ? "_backward/" : "_forward/") + e.name;
      add("ssd" + name, [=](benchmark::State& state) { bench_scan(state, e.scan, backward); });
      add("causal_conv1d" + name,
          [=](benchmark::State& state) { bench_convolution(state, e.scan, backward); });
    }
}

}  // namespace elastic::bench
