// SPDX-License-Identifier: Apache-2.0
// Blocks are reduced where the buffer is, their results in order on the host. On a device at most
// 1056 teams share out the blocks of a part, so that few numbers are copied.
#include "kernels/update/global_norm.hpp"

#include <cmath>
#include <limits>
#include <span>

#include "kernels/whole_vectors.hpp"
#include "kernels/read_ahead.hpp"
#include "kernels/rows/pack.hpp"

namespace elastic::kernels {
namespace {

constexpr index_t block_length = 4096;
index_t num_blocks(index_t n) { return (n + block_length - 1) / block_length; }

template <class T>
index_t length(const View1<const T>& x) {
  return static_cast<index_t>(x.extent(0));
}

constexpr index_t most_teams = 1056;  // eight for each multiprocessor of a large device

/// The numbers that a part of n elements is reduced to, for each of `per_block` reductions.
index_t num_results(index_t n) {
  return on_host ? num_blocks(n) : math::min(num_blocks(n), most_teams);
}

/// Reduction k < per_block of team i / per_block of the teams of a part.
template <class T, class Reduction>
struct ReduceTeams {
  const T* x;
  index_t n, teams, per_block;
  double* out;
  Reduction reduction;
  bool aligned;

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const index_t result = team.league_rank(), k = result % per_block;
    double reduced = 0;
    const Kokkos::Max<double> largest(reduced);
    if (reduction.is_maximum(k))
      Kokkos::parallel_reduce(
          Kokkos::TeamVectorRange(team, int(lanes)),
          [&](const int lane, double& best) {
            walk(result / per_block, lane,
                 [&](const T value) { best = math::max(best, reduction.term(value, k)); });
          },
          largest);
    else
      Kokkos::parallel_reduce(
          Kokkos::TeamVectorRange(team, int(lanes)),
          [&](const int lane, double& sum) {
            walk(result / per_block, lane, [&](const T value) { sum += reduction.term(value, k); });
          },
          reduced);
    const bool is_empty_maximum = reduction.is_maximum(k) && reduced < 0;
    Kokkos::single(Kokkos::PerTeam(team), [&]() { out[result] = is_empty_maximum ? 0 : reduced; });
  }

 private:
  static constexpr int lanes = row_threads * device_lanes;
  /// Calls body(x_i) for the packs of a lane, block by block.
  template <class F>
  KOKKOS_INLINE_FUNCTION void walk(index_t first, int lane, const F& body) const {
    for (index_t begin = first * block_length; begin < n; begin += teams * block_length)
      for (index_t i = begin + lane * pack_size; i < math::min(n, begin + block_length);
           i += lanes * pack_size) {
        const StoredPack<T> pack = load_stored(x + i, n - i, aligned);
        for (int j = 0; j < pack_size; ++j)
          if (i + j < n) body(pack.value[j]);
      }
  }
};

template <class T, class Reduction>
void reduce_on_host(const ExecutionSpace& exec, const View1<const T>& x, index_t per_block,
                    double* out, const Reduction& reduction) {
  const index_t n = length<T>(x);
  const T* values = x.data();
  Kokkos::parallel_for(
      "elastic::global_norm", LinearPolicy(exec, 0, per_block * num_blocks(n)),
      KOKKOS_LAMBDA(const index_t i) {
        const index_t begin = i / per_block * block_length;
        out[i] = reduction.block(values + begin, math::min(block_length, n - begin), i % per_block);
      });
}

/// Results of reductions, readable on the host: where they are, or a copy of those of a device.
class Results {
 public:
  Results(const ExecutionSpace& exec, const View1<double>& there) : m_there(there) {
    if constexpr (!std::is_same_v<MemorySpace, HostSpace>) {
      m_here.resize(there.extent(0));
      Kokkos::deep_copy(exec, HostView1<double>(m_here.data(), m_here.size()), there);
    }
    fence(exec, "elastic::global_norm");
  }
  std::size_t size() const { return m_there.extent(0); }
  double operator[](std::size_t i) const {
    if constexpr (std::is_same_v<MemorySpace, HostSpace>)
      return m_there(i);
    else
      return m_here[i];
  }

 private:
  View1<double> m_there;
  std::vector<double> m_here;
};

/// Reduces every block of x for each k < per_block: on a host reduction.block(x, n, k), on a device
/// terms. k runs fastest.
template <class T, class Reduction>
void reduce_part(const ExecutionSpace& exec, const View1<const T>& x, index_t per_block,
                 double* out, const Reduction& reduction) {
  const index_t n = length<T>(x), count = per_block * num_results(n);
  if constexpr (on_host)
    reduce_on_host<T>(exec, x, per_block, out, reduction);
  else if (count > 0)
    Kokkos::parallel_for("elastic::global_norm", device_teams(exec, count, row_threads),
                         ReduceTeams<T, Reduction>{x.data(), n, num_results(n), per_block, out,
                                                   reduction, packs_are_aligned(x)});
}

/// All parts, one after the other.
template <class T, class Reduction>
Results reduce_blocks(const ExecutionSpace& exec, std::span<const View1<const T>> parts,
                      index_t per_block, const View1<double>& workspace,
                      const Reduction& reduction) {
  index_t total = 0;
  for (const auto& x : parts) total += per_block * num_results(length<T>(x));
  View1<double> results = workspace;
  if (workspace.extent(0) == 0 && total > 0)
    results = View1<double>(Kokkos::view_alloc("elastic::global_norm", Kokkos::WithoutInitializing),
                            total);
  ELASTIC_REQUIRE(static_cast<index_t>(results.extent(0)) >= total, "workspace of {}, expected {}",
                  results.extent(0), total);
  index_t first_result = 0;
  for (const auto& x : parts) {
    reduce_part<T>(exec, x, per_block, results.data() + first_result, reduction);
    first_result += per_block * num_results(length<T>(x));
  }
  return {exec, prefix(results, total)};
}

double added(const Results& numbers) {
  double sum = 0;
  for (std::size_t i = 0; i < numbers.size(); ++i) sum += numbers[i];
  return sum;
}

/// The exponent e of the unit 2^e in which squares up to `largest` are below one;
/// even, so that it has a root.
int even_exponent(double largest) {
  int exponent = 0;
  std::frexp(largest, &exponent);
  return exponent + (exponent % 2 != 0 ? 1 : 0);
}

/// sum_j term(x_j) of a block on a host: the lane_sum of its terms.
template <class T, class Term>
ELASTIC_WHOLE_VECTORS double block_sum(const T* x, index_t n, const Term& term_) {
  constexpr index_t lanes = 32;
  const Term term = term_;
  double sum[lanes] = {};
  index_t j = 0;
  for (; j + lanes <= n; j += lanes) {
    read_ahead(x + j, lanes * static_cast<index_t>(sizeof(T)));
    ELASTIC_SIMD
    for (index_t lane = 0; lane < lanes; ++lane) sum[lane] += term(x[j + lane]);
  }
  for (index_t lane = 0; j + lane < n; ++lane) sum[lane] += term(x[j + lane]);
  return sum_of_lanes(sum);
}

/// A reduction whose blocks are sums of terms.
template <class T, class Term>
struct SumOf : Term {
  KOKKOS_INLINE_FUNCTION bool is_maximum(index_t) const { return false; }
  KOKKOS_INLINE_FUNCTION double block(const T* x, index_t n, index_t k) const {
    const SumOf self = *this;
    return block_sum(x, n, [=](T value) { return self.term(value, k); });
  }
};
template <class T>
struct Value {
  KOKKOS_INLINE_FUNCTION double term(T x, index_t) const { return static_cast<double>(x); }
};
template <class T>
struct Square {
  KOKKOS_INLINE_FUNCTION double term(T x, index_t) const {
    const auto value = static_cast<double>(x);
    return value * value;
  }
};
/// The high and the low word of a square, integers: their sums over 2^25 squares are exact.
template <class T>
struct SquareWords {
  double factor;
  KOKKOS_INLINE_FUNCTION double term(T x, index_t k) const {
    const double root = factor * static_cast<double>(x), square = root * root;
    const auto high = static_cast<double>(static_cast<index_t>(square));
    if (k == 0) return high;
    return static_cast<double>(static_cast<index_t>((square - high) * 0x1p28 + 0.5));
  }
};
/// The largest magnitude of a block on a host.
template <class T>
ELASTIC_WHOLE_VECTORS Accumulate<T> block_maximum(const T* x, index_t n) {
  constexpr index_t part = 128;
  Accumulate<T> largest = 0;
  for (index_t begin = 0; begin < n; begin += part) {
    const index_t end = math::min(n, begin + part);
    read_ahead(x + begin, part * static_cast<index_t>(sizeof(T)));
    ELASTIC_SIMD_MAX(largest)
    for (index_t i = begin; i < end; ++i) largest = math::max(largest, math::abs(widen(x[i])));
  }
  return largest;
}
/// The largest magnitude, then the number of elements that are not finite.
template <class T>
struct Largest {
  KOKKOS_INLINE_FUNCTION bool is_maximum(index_t k) const { return k == 0; }
  KOKKOS_INLINE_FUNCTION double term(T x, index_t k) const {
    if (k == 0) return static_cast<double>(math::abs(widen(x)));
    return math::isfinite(widen(x)) ? 0.0 : 1.0;
  }
  KOKKOS_INLINE_FUNCTION double block(const T* x, index_t n, index_t k) const {
    if (k == 1)
      return block_sum(x, n, [](T value) { return math::isfinite(widen(value)) ? 0.0 : 1.0; });
    return static_cast<double>(block_maximum(x, n));
  }
};

}  // namespace

template <class T>
double sum_of_squares(const ExecutionSpace& exec, const Parts<T>& parts,
                      const View1<double>& workspace) {
  return added(reduce_blocks<T>(exec, parts, 1, workspace, SumOf<T, Square<T>>()));
}

template <class T>
double sum(const ExecutionSpace& exec, In1<T> x, const View1<double>& workspace) {
  return added(reduce_blocks<T>(exec, {&x, 1}, 1, workspace, SumOf<T, Value<T>>()));
}

index_t num_block_sums(index_t n) { return num_results(n); }

template <class T>
void block_sums(const ExecutionSpace& exec, In1<T> x, InOut1<double> out) {
  require_shape("block_sums", "out", out, num_results(length<T>(x)));
  reduce_part<T>(exec, x, 1, out.data(), SumOf<T, Value<T>>());
}

template <class T>
double largest_square(const ExecutionSpace& exec, const Parts<T>& parts,
                      const View1<double>& workspace) {
  const auto results = reduce_blocks<T>(exec, parts, 2, workspace, Largest<T>());
  double largest = 0, not_finite = 0;
  for (std::size_t i = 0; i < results.size(); i += 2) {
    largest = math::max(largest, results[i]);
    not_finite += results[i + 1];
  }
  return not_finite > 0 ? std::numeric_limits<double>::infinity() : largest * largest;
}

template <class T>
FixedSquares sum_of_squares_fixed(const ExecutionSpace& exec, const Parts<T>& parts, double largest,
                                  const View1<double>& workspace) {
  ELASTIC_REQUIRE(largest >= 0 && std::isfinite(largest), "the largest square is {}", largest);
  FixedSquares sum;
  for (const auto& x : parts) sum.count += length<T>(x);
  if (largest == 0) return sum;
  const double factor = std::ldexp(1.0, 14 - even_exponent(largest) / 2);
  // The sums of blocks, and of the teams of a device, are integers below 2^53: exact in double.
  const auto results =
      reduce_blocks<T>(exec, parts, 2, workspace, SumOf<T, SquareWords<T>>{{factor}});
  for (std::size_t i = 0; i < results.size(); i += 2) {
    sum.high += static_cast<index_t>(results[i]);
    sum.low += static_cast<index_t>(results[i + 1]);
  }
  return sum;
}

double FixedSquares::value(double largest) const {
  ELASTIC_REQUIRE(count <= index_t(1) << 35, "{} squares, at most 2^35", count);
  const double sum = static_cast<double>(high) + static_cast<double>(low) * 0x1p-28;
  return std::ldexp(sum, even_exponent(largest) - 28);
}

#define ELASTIC_INSTANTIATE(T)                                                                     \
  template double sum_of_squares<T>(const ExecutionSpace&, const Parts<T>&, const View1<double>&); \
  template double sum<T>(const ExecutionSpace&, In1<T>, const View1<double>&);                     \
  template void block_sums<T>(const ExecutionSpace&, In1<T>, InOut1<double>);                      \
  template double largest_square<T>(const ExecutionSpace&, const Parts<T>&, const View1<double>&); \
  template FixedSquares sum_of_squares_fixed<T>(const ExecutionSpace&, const Parts<T>&, double,    \
                                                const View1<double>&);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
