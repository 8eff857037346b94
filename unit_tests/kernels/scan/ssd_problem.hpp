// SPDX-License-Identifier: Apache-2.0
// Random inputs, saved values and gradients of one scan, for the tests of kernels/scan/ssd*.
#pragma once
#include <fmt/format.h>

#include <string>
#include <vector>

#include "kernels/scan/ssd.hpp"
#include "kernels/scan/ssd_batched.hpp"
#include "unit_tests/kernels/spans.hpp"
#include "unit_tests/kernels/scan/reference_ssd.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::test {

inline std::string describe(const kernels::SsdShape& s) {
  return fmt::format("B{} L{} H{} P{} G{} N{} Q{}", s.batch, s.seq_length, s.num_heads, s.head_dim,
                     s.num_groups, s.state_dim, s.chunk_size);
}

/// tolerance(), and where the scan goes by products, what rounding their operands to T allows.
template <class T>
double scan_tolerance(index_t reduction_length) {
  return kernels::ssd_by_products ? stored_tolerance<T>(reduction_length, 3)
                                  : tolerance<T>(reduction_length);
}

/// Both words of given sums [T, H], the low ones zero: [T, 2H].
template <class T>
View2<T> two_words(const View2<T>& sums) {
  const auto heads = static_cast<index_t>(sums.extent(1));
  const View2<T> both("elastic::test::dA_cumsum", sums.extent(0), 2 * heads);
  Kokkos::deep_copy(prefix(both, static_cast<index_t>(sums.extent(0)), heads), sums);
  return both;
}
/// The sums whose words are given: [T, H] in double.
template <class T>
std::vector<double> sums_of(const View2<T>& words) {
  const auto both = to_double(words);
  const std::size_t heads = words.extent(1) / 2;
  std::vector<double> sums;
  for (std::size_t row = 0; row < words.extent(0); ++row)
    for (std::size_t h = 0; h < heads; ++h)
      sums.push_back(both[2 * row * heads + h] + both[(2 * row + 1) * heads + h]);
  return sums;
}
/// Sums of chunks, [T, 2H], of exponents Delta_t A [T, H] of one's own choice.
inline View2<double> sums_in_chunks(const kernels::SsdShape& s, const View2<double>& exponents,
                                    const std::vector<token_t>& segment) {
  auto sums = to_host(exponents);
  const index_t H = s.num_heads;
  for (index_t t = 0; t < s.num_tokens(); ++t) {
    const bool begins =
        t % s.seq_length % s.chunk_size == 0 || (!segment.empty() && segment[t] != segment[t - 1]);
    for (index_t h = 0; h < H && !begins; ++h) sums[t * H + h] += sums[(t - 1) * H + h];
  }
  return two_words(to_device(sums, s.num_tokens(), H));
}

/// Documents of changing lengths: some longer than a chunk, some of one token,
/// two of one id that are not adjacent.
inline std::vector<token_t> random_segments(index_t batch, index_t length, std::uint32_t seed) {
  std::vector<token_t> result;
  const auto cut = random_values<double>(batch * length, seed, 0, 1);
  for (index_t b = 0; b < batch; ++b)
    for (index_t t = 0, id = 3; t < length; ++t) {
      if (cut[b * length + t] < 0.12)
        id = id == 3 ? 4 : id == 4 ? 3 + static_cast<index_t>(cut[t] * 20) : 3;
      result.push_back(static_cast<token_t>(id));
    }
  return result;
}

template <class T>
struct SsdProblem {
  using A = Accumulate<T>;
  kernels::SsdShape shape;
  View2<T> x, ssm_B, ssm_C, dt_raw;
  View1<A> A_log, dt_bias, ssm_D, dt_mask;
  View1<token_t> segment;
  View2<T> y, dy;
  kernels::SsdIncoming<T> incoming;
  kernels::SsdSaved<T> saved;
  kernels::SsdGradients<T> gradients;
  View1<A> memory;  // of workspace()

  /// extras: with dt_mask and segment.
  SsdProblem(const kernels::SsdShape& s, bool extras, std::uint32_t seed = 7) : shape(s) {
    const index_t tokens = s.num_tokens(), H = s.num_heads;
    x = random_matrix<T>(tokens, H * s.head_dim, seed);
    ssm_B = random_matrix<T>(tokens, s.num_groups * s.state_dim, seed + 1);
    ssm_C = random_matrix<T>(tokens, s.num_groups * s.state_dim, seed + 2);
    dt_raw = random_matrix<T>(tokens, H, seed + 3, -2, 2);
    A_log = random_vector<A>(H, seed + 4, -3, 1);
    dt_bias = random_vector<A>(H, seed + 5, -3, 0);
    ssm_D = random_vector<A>(H, seed + 6);
    dy = random_matrix<T>(tokens, H * s.head_dim, seed + 7);
    if (extras) {
      dt_mask = random_vector<A>(H, seed + 8, 0.2, 1);
      segment = to_device(random_segments(s.batch, s.seq_length, seed + 9));
    }
    allocate();
  }

  void allocate() {
    const index_t tokens = shape.num_tokens(), H = shape.num_heads;
    y = View2<T>("elastic::test::y", tokens, H * shape.head_dim);
    saved.dt = View2<A>("elastic::test::dt", tokens, H);
    saved.dA_cumsum = View2<A>("elastic::test::dA_cumsum", tokens, 2 * H);
    saved.states =
        View2<A>("elastic::test::states", shape.num_states(), shape.head_dim * shape.state_dim);
    clear_gradients();
  }
  void clear_gradients() {
    const index_t tokens = shape.num_tokens(), H = shape.num_heads;
    gradients.dx = View2<T>("elastic::test::dx", tokens, H * shape.head_dim);
    gradients.dssm_B =
        View2<T>("elastic::test::dssm_B", tokens, shape.num_groups * shape.state_dim);
    gradients.dssm_C =
        View2<T>("elastic::test::dssm_C", tokens, shape.num_groups * shape.state_dim);
    gradients.ddt_raw = View2<T>("elastic::test::ddt_raw", tokens, H);
    gradients.dA_log = View1<A>("elastic::test::dA_log", H);
    gradients.ddt_bias = View1<A>("elastic::test::ddt_bias", H);
    gradients.dssm_D = View1<A>("elastic::test::dssm_D", H);
    gradients.ddt_mask = View1<A>("elastic::test::ddt_mask", dt_mask.extent(0));
  }

  /// Room for the states that spans hand on, and their gradients; overwritten Views begin as NaN.
  void allocate_spans() {
    const index_t states = shape.batch * shape.num_heads, size = shape.head_dim * shape.state_dim;
    const A nan = std::numeric_limits<A>::quiet_NaN();
    const auto room = [&](const std::string& label) {
      const View2<A> view(label, states, size);
      Kokkos::deep_copy(view, nan);
      return view;
    };
    saved.final_state = room("elastic::test::final_state");
    gradients.dincoming_state = room("elastic::test::dincoming_state");
  }
  /// These numbers in double precision, for results without rounding.
  SsdProblem<double> exact() const {
    SsdProblem<double> p(shape, false);
    p.x = stored_as<double>(x);
    p.ssm_B = stored_as<double>(ssm_B);
    p.ssm_C = stored_as<double>(ssm_C);
    p.dt_raw = stored_as<double>(dt_raw);
    p.dy = stored_as<double>(dy);
    p.A_log = stored_as<double>(A_log);
    p.dt_bias = stored_as<double>(dt_bias);
    p.ssm_D = stored_as<double>(ssm_D);
    p.dt_mask = stored_as<double>(dt_mask);
    p.segment = segment;
    p.clear_gradients();
    return p;
  }
  /// Positions [begin, end) of every sequence, with arrays of their own.
  SsdProblem span(index_t begin, index_t end) const {
    const auto cut = [&](const View2<T>& all) {
      return rows_of_sequences(all, shape.batch, begin, end);
    };
    SsdProblem part = *this;
    part.shape.seq_length = end - begin;
    part.x = cut(x);
    part.ssm_B = cut(ssm_B);
    part.ssm_C = cut(ssm_C);
    part.dt_raw = cut(dt_raw);
    part.dy = cut(dy);
    part.segment = rows_of_sequences(segment, shape.batch, begin, end);
    part.allocate();
    part.allocate_spans();
    return part;
  }

  kernels::SsdInputs<T> inputs() const {
    return {x, ssm_B, ssm_C, dt_raw, A_log, dt_bias, ssm_D, dt_mask, segment, incoming};
  }
  ReferenceSsdInputs reference() const {
    return {to_double(x),      to_double(ssm_B),   to_double(ssm_C),
            to_double(dt_raw), to_double(A_log),   to_double(dt_bias),
            to_double(ssm_D),  to_double(dt_mask), to_host(segment)};
  }

  /// What a backward pass works in, all NaN.
  kernels::SsdWorkspace<T> workspace() {
    memory = View1<A>("elastic::test::workspace", kernels::ssd_workspace_size<T>(shape));
    Kokkos::deep_copy(memory, std::numeric_limits<A>::quiet_NaN());
    return {shape, memory};
  }

  /// Like workspace(), for a forward pass.
  View1<A> forward_workspace() const {
    const View1<A> all("elastic::test::workspace", kernels::ssd_forward_workspace_size<T>(shape));
    Kokkos::deep_copy(all, std::numeric_limits<A>::quiet_NaN());
    return all;
  }
  View2<T> forward() {
    kernels::ssd_forward<T>({}, shape, inputs(), saved, y, forward_workspace());
    return y;
  }
  /// After forward(). The workspace and the overwritten gradients begin as NaN.
  void backward() {
    const T nan = static_cast<T>(std::numeric_limits<A>::quiet_NaN());
    workspace();
    for (const auto& overwritten :
         each_of(gradients.dx, gradients.dssm_B, gradients.dssm_C, gradients.ddt_raw))
      Kokkos::deep_copy(overwritten, nan);
    kernels::ssd_backward<T>({}, shape, inputs(), saved, dy, gradients, memory);
  }
  /// sum(y * dy) of a new forward pass.
  double loss() {
    const auto values = to_double(forward()), weights = to_double(dy);
    double sum = 0;
    for (std::size_t i = 0; i < values.size(); ++i) sum += values[i] * weights[i];
    return sum;
  }
};

}  // namespace elastic::test
