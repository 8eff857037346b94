// SPDX-License-Identifier: Apache-2.0
// Kernels that stream activations or parameters: what counts is bytes per second. Stated bytes are
// the large operands, each read or written once.
#include "kernels/losses/cross_entropy.hpp"
#include "kernels/losses/kl_divergence.hpp"
#include "kernels/rows/embedding.hpp"
#include "kernels/rows/gated_rmsnorm.hpp"
#include "kernels/rows/residual_add.hpp"
#include "kernels/rows/rmsnorm.hpp"
#include "kernels/rows/squared_relu.hpp"
#include "kernels/update/adamw_step.hpp"
#include "kernels/update/global_norm.hpp"
#include "support/shapes.hpp"
#include "support/timing.hpp"

namespace elastic::bench {
namespace {
using namespace kernels;

template <class T>
void bench_rmsnorm(benchmark::State& state, index_t tokens, index_t width, bool backward) {
  using A = Accumulate<T>;
  const ExecutionSpace exec;
  const auto x = random_matrix<T>(tokens, width, 1), y = random_matrix<T>(tokens, width, 2),
             dx = random_matrix<T>(tokens, width, 3);
  const auto weight = random_vector<T>(width, 4);
  const auto dweight = random_vector<A>(width, 5), rstd = random_vector<A>(tokens, 6);
  const View1<A> workspace("elastic::bench", rmsnorm_workspace_size(tokens, width));
  const RmsNormParams params{.mean_width = static_cast<double>(width)};
  time_launches(state, bytes_of<T>(static_cast<double>(tokens * width) * (backward ? 4 : 2)), [&] {
    if (backward)
      rmsnorm_backward<T>(exec, {x, weight}, params, rstd, y, {dx, dweight}, workspace);
    else
      rmsnorm_forward<T>(exec, {x, weight}, params, y, rstd);
  });
}

template <class T>
void bench_gated_rmsnorm(benchmark::State& state, const SsdShape& s, bool backward) {
  using A = Accumulate<T>;
  const ExecutionSpace exec;
  const index_t tokens = s.num_tokens(), width = s.num_heads * s.head_dim;
  const auto y = random_matrix<T>(tokens, width, 1), z = random_matrix<T>(tokens, width, 2),
             out = random_matrix<T>(tokens, width, 3), dy = random_matrix<T>(tokens, width, 4),
             dz = random_matrix<T>(tokens, width, 5);
  const auto weight = random_vector<T>(width, 6);
  const auto dweight = random_vector<A>(width, 7);
  const auto rstd = random_matrix<A>(tokens, s.num_groups, 8);
  const View1<A> workspace("elastic::bench",
                           gated_rmsnorm_workspace_size(tokens, width, s.num_groups));
  const GatedRmsNormParams params{
      .head_dim = s.head_dim,
      .num_groups = s.num_groups,
      .mean_width = static_cast<double>(width) / static_cast<double>(s.num_groups)};
  time_launches(state, bytes_of<T>(static_cast<double>(tokens * width) * (backward ? 5 : 3)), [&] {
    if (backward)
      gated_rmsnorm_backward<T>(exec, {y, z, weight}, params, rstd, out, {dy, dz, dweight},
                                workspace);
    else
      gated_rmsnorm_forward<T>(exec, {y, z, weight}, params, out, rstd);
  });
}

template <class T>
void bench_residual_add(benchmark::State& state, index_t tokens, index_t width, bool backward) {
  const ExecutionSpace exec;
  const auto y = random_matrix<T>(tokens, width, 1), h = random_matrix<T>(tokens, width, 2);
  time_launches(state, bytes_of<T>(static_cast<double>(tokens * width) * (backward ? 2 : 3)), [&] {
    if (backward)
      residual_add_backward<T>(exec, h, y, {}, 1, y, {}, {});
    else
      residual_add_forward<T>(exec, y, {}, 1, h);
  });
}

template <class T>
void bench_squared_relu(benchmark::State& state, index_t tokens, index_t width, bool backward) {
  const ExecutionSpace exec;
  const auto x = random_matrix<T>(tokens, width, 1), y = random_matrix<T>(tokens, width, 2);
  time_launches(state, bytes_of<T>(static_cast<double>(tokens * width) * (backward ? 3 : 2)), [&] {
    if (backward)
      squared_relu_backward<T>(exec, y, x, {}, y, {});
    else
      squared_relu_forward<T>(exec, x, {}, y);
  });
}

/// Words are spread over the vocabulary, some repeat.
View1<token_t> some_words(index_t tokens, index_t vocab) {
  const View1<token_t> words("elastic::bench", tokens);
  Kokkos::parallel_for(
      "elastic::bench_words", Kokkos::RangePolicy<ExecutionSpace>(0, tokens),
      KOKKOS_LAMBDA(const index_t t) {
        words(t) = static_cast<token_t>(t * 7919 % (vocab * 3 / 4) % vocab);
      });
  return words;
}

template <class T>
void bench_embedding(benchmark::State& state, index_t tokens, index_t width, bool backward) {
  const ExecutionSpace exec;
  constexpr index_t vocab = 32768;
  const auto words = some_words(tokens, vocab);
  const auto y = random_matrix<T>(tokens, width, 1);
  const double rows = static_cast<double>(tokens * width);
  if (backward) {
    const View2<Accumulate<T>> dweight("elastic::bench", vocab, width);
    time_launches(state, bytes_of<T>(rows) + 2 * bytes_of<Accumulate<T>>(rows),
                  [&] { embedding_backward<T>(exec, words, y, dweight); });
  } else {
    const auto weight = random_matrix<T>(vocab, width, 2);
    time_launches(state, bytes_of<T>(2 * rows),
                  [&] { embedding_forward<T>(exec, words, weight, y); });
  }
}

/// A chunk of logits of the whole vocabulary; the teacher's are read besides.
template <class T>
void bench_loss(benchmark::State& state, index_t rows, index_t vocab, bool distill) {
  const ExecutionSpace exec;
  const auto logits = random_matrix<T>(rows, vocab, 1),
             teacher = random_matrix<T>(distill ? rows : 1, vocab, 2);
  const auto words = some_words(rows, vocab);
  const auto row_loss = random_vector<Accumulate<T>>(rows, 3);
  const View1<float> weight("elastic::bench", rows);
  Kokkos::deep_copy(weight, 1.0f);
  time_launches(state, bytes_of<T>(static_cast<double>(rows * vocab) * (distill ? 3 : 2)), [&] {
    if (distill)
      kl_divergence<T>(exec, {teacher, weight}, true, 1, logits, row_loss);
    else
      cross_entropy<T>(exec, {words, weight}, true, 1, logits, row_loss);
  });
}

template <class T>
void bench_adamw(benchmark::State& state, index_t n) {
  using A = Accumulate<T>;
  const ExecutionSpace exec;
  const auto gradient = random_vector<A>(n, 1), master = random_vector<A>(n, 2),
             m = random_vector<A>(n, 3);
  const View1<A> v("elastic::bench", n);
  // reads 4 buffers and writes 3, and rounded values where there are any
  const double sums = 7 * bytes_of<A>(static_cast<double>(n));
  if constexpr (std::is_same_v<T, A>) {
    time_launches(state, sums, [&] { adamw_step<T>(exec, gradient, {}, master, m, v); });
  } else {
    const View1<T> value("elastic::bench", n);
    time_launches(state, sums + bytes_of<T>(static_cast<double>(n)),
                  [&] { adamw_step_rounded<T>(exec, gradient, {}, master, m, v, value); });
  }
}

void bench_norm(benchmark::State& state, index_t n) {
  const auto x = random_vector<float>(n, 1);
  const View1<double> workspace("elastic::bench", norm_workspace(n));
  time_launches(state, bytes_of<float>(static_cast<double>(n)),
                [&] { sum_of_squares<float>(ExecutionSpace(), {x}, workspace); });
}

template <class T>
void add_rows(const Extents& e) {
  const index_t tokens = e.batch * e.seq_length;
  const std::string type = suffix_of<T>(), at = type + "/" + e.name;
  for (const bool backward : {false, true}) {
    const std::string name = (backward ? "_backward" : "_forward") + at;
    add("rmsnorm" + name,
        [=](benchmark::State& s) { bench_rmsnorm<T>(s, tokens, e.hidden, backward); });
    add("gated_rmsnorm" + name,
        [=](benchmark::State& s) { bench_gated_rmsnorm<T>(s, e.scan, backward); });
    add("residual_add" + name,
        [=](benchmark::State& s) { bench_residual_add<T>(s, tokens, e.hidden, backward); });
    add("squared_relu" + name,
        [=](benchmark::State& s) { bench_squared_relu<T>(s, tokens, e.ffn, backward); });
    add("embedding" + name,
        [=](benchmark::State& s) { bench_embedding<T>(s, tokens, e.hidden, backward); });
  }
  add("adamw_step" + at, [=](benchmark::State& s) { bench_adamw<T>(s, e.hidden * e.ffn); });
}
/// Rows and columns of a chunk of logits that every machine has room for.
constexpr bool on_processor = std::is_same_v<MemorySpace, HostSpace>;
constexpr index_t smallest_chunk[] = {on_processor ? 64 : 1024, on_processor ? 32768 : 131072};

template <class T>
void add_losses(const std::string& extents, index_t rows, index_t vocab) {
  for (const bool distill : {false, true})
    add((distill ? "kl_divergence" : "cross_entropy") + (suffix_of<T>() + extents),
        [=](benchmark::State& s) { bench_loss<T>(s, rows, vocab, distill); });
}
}  // namespace

void add_row_benchmarks() {
  for (const auto& e : all_extents()) {
    add_rows<float>(e);
    add_rows<bfloat16>(e);
    add(std::string("sum_of_squares/") + e.name,
        [=](benchmark::State& s) { bench_norm(s, e.hidden * e.ffn); });
  }
  add_losses<float>("", smallest_chunk[0], smallest_chunk[1]);
  add_losses<bfloat16>("", smallest_chunk[0], smallest_chunk[1]);
  add_losses<float>("/2048x8192", 2048, 8192);
  add_losses<bfloat16>("/2048x8192", 2048, 8192);
  add_losses<bfloat16>("/512x131072", 512, 131072);
  constexpr index_t ten_million = 10000000;
  add("adamw_step/10M", [](benchmark::State& s) { bench_adamw<float>(s, ten_million); });
  add("adamw_step_bf16/10M", [](benchmark::State& s) { bench_adamw<bfloat16>(s, ten_million); });
  add("sum_of_squares/10M", [](benchmark::State& s) { bench_norm(s, ten_million); });
}

}  // namespace elastic::bench
