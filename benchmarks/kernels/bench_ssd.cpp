// SPDX-License-Identifier: Apache-2.0
#include "kernels/convolution/causal_conv1d.hpp"
#include "kernels/scan/ssd.hpp"
#include "support/shapes.hpp"
#include "support/timing.hpp"

namespace elastic::bench {
namespace {
using namespace kernels;
constexpr index_t conv_taps = 4;

/// Views of one scan, inputs random.
template <class T>
struct Scan {
  using A = Accumulate<T>;
  explicit Scan(const SsdShape& s)
      : in{random_matrix<T>(s.num_tokens(), s.num_heads * s.head_dim, 1),
           random_matrix<T>(s.num_tokens(), s.num_groups * s.state_dim, 2),
           random_matrix<T>(s.num_tokens(), s.num_groups * s.state_dim, 3),
           random_matrix<T>(s.num_tokens(), s.num_heads, 4),
           random_vector<A>(s.num_heads, 5),
           random_vector<A>(s.num_heads, 6),
           random_vector<A>(s.num_heads, 7),
           {},
           {}},
        saved{random_matrix<A>(s.num_tokens(), s.num_heads, 8),
              random_matrix<A>(s.num_tokens(), 2 * s.num_heads, 9),
              random_matrix<A>(s.num_states(), s.head_dim * s.state_dim, 10)},
        y(random_matrix<T>(s.num_tokens(), s.num_heads * s.head_dim, 11)),
        gradients{random_matrix<T>(s.num_tokens(), s.num_heads * s.head_dim, 12),
                  random_matrix<T>(s.num_tokens(), s.num_groups * s.state_dim, 13),
                  random_matrix<T>(s.num_tokens(), s.num_groups * s.state_dim, 14),
                  random_matrix<T>(s.num_tokens(), s.num_heads, 15),
                  random_vector<A>(s.num_heads, 16),
                  random_vector<A>(s.num_heads, 17),
                  random_vector<A>(s.num_heads, 18),
                  {}},
        workspace("elastic::bench", ssd_workspace_size<T>(s)),
        forward_workspace("elastic::bench", ssd_forward_workspace_size<T>(s)) {}
  SsdInputs<T> in;
  SsdSaved<T> saved;
  View2<T> y;
  SsdGradients<T> gradients;
  View1<A> workspace, forward_workspace;
};

template <class T>
void bench_scan(benchmark::State& state, const SsdShape& shape, bool backward) {
  const ExecutionSpace exec;
  const Scan<T> scan(shape);
  ssd_forward<T>({exec}, shape, scan.in, scan.saved, scan.y, scan.forward_workspace);
  time_launches(state, 0, [&] {
    if (backward)
      ssd_backward<T>({exec}, shape, scan.in, scan.saved, scan.y, scan.gradients, scan.workspace);
    else
      ssd_forward<T>({exec}, shape, scan.in, scan.saved, scan.y, scan.forward_workspace);
  });
}

template <class T>
void bench_convolution(benchmark::State& state, const SsdShape& shape, bool backward) {
  const ExecutionSpace exec;
  const index_t tokens = shape.num_tokens(), channels = shape.num_heads * shape.head_dim;
  const auto u = random_matrix<T>(tokens, channels, 1),
             weight = random_matrix<T>(channels, conv_taps, 2),
             out = random_matrix<T>(tokens, channels, 3);
  const auto du = random_matrix<T>(tokens, channels, 4);
  const auto dweight = random_matrix<Accumulate<T>>(channels, conv_taps, 5);
  const auto bias = random_vector<T>(channels, 6);
  const auto dbias = random_vector<Accumulate<T>>(channels, 7);
  const View1<Accumulate<T>> workspace("elastic::bench",
                                       causal_conv1d_workspace_size(tokens, channels, conv_taps));
  const ConvolutionInputs<T> in{u, weight, bias, {}, {}, shape.seq_length};
  const double activations = bytes_of<T>(static_cast<double>(tokens * channels));
  time_launches(state, activations * (backward ? 3 : 2), [&] {
    if (backward)
      causal_conv1d_backward<T>(exec, in, out, {}, {du, dweight, dbias}, workspace);
    else
      causal_conv1d_forward<T>(exec, in, out);
  });
}
}  // namespace

template <class T>
void add_ssd() {
  for (const auto& e : all_extents())
    for (const bool backward : {false, true}) {
      const std::string name =
          std::string(backward ? "_backward" : "_forward") + suffix_of<T>() + "/" + e.name;
      add("ssd" + name, [=](benchmark::State& state) { bench_scan<T>(state, e.scan, backward); });
      add("causal_conv1d" + name,
          [=](benchmark::State& state) { bench_convolution<T>(state, e.scan, backward); });
    }
}

void add_ssd_benchmarks() {
  add_ssd<float>();
  add_ssd<bfloat16>();
}

}  // namespace elastic::bench
