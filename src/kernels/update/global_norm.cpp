// SPDX-License-Identifier: Apache-2.0
// Blocks are reduced on the device, their results in order on the host.
#include "kernels/update/global_norm.hpp"

#include <cmath>
#include <limits>

#include "kernels/rows/row_loops.hpp"

namespace elastic::kernels {
namespace {

constexpr index_t block_length = 4096;
index_t num_blocks(index_t n) { return (n + block_length - 1) / block_length; }

template <class T>
index_t length(const View1<const T>& x) {
  return static_cast<index_t>(x.extent(0));
}

/// Calls reduce(x, n, k) for every block of every part and k < per_block, on the device;
/// all results on the host, block by block.
template <class T, class Reduce>
std::vector<double> reduce_blocks(const ExecutionSpace& exec, const Parts<T>& parts,
                                  index_t per_block, const View1<double>& workspace,
                                  const Reduce& reduce) {
  index_t total = 0;
  for (const auto& x : parts) total += per_block * num_blocks(length<T>(x));
  View1<double> results = workspace;
  if (workspace.extent(0) == 0)
    results = View1<double>(Kokkos::view_alloc("elastic::global_norm", Kokkos::WithoutInitializing),
                            total);
  ELASTIC_REQUIRE(static_cast<index_t>(results.extent(0)) >= total, "workspace of {}, expected {}",
                  results.extent(0), total);
  index_t first_result = 0;
  for (const auto& x : parts) {
    const index_t n = length<T>(x), count = per_block * num_blocks(n), offset = first_result;
    const T* values = x.data();
    double* out = results.data();
    Kokkos::parallel_for(
        "elastic::global_norm", LinearPolicy(exec, 0, count), KOKKOS_LAMBDA(const index_t i) {
          const index_t begin = i / per_block * block_length;
          out[offset + i] =
              reduce(values + begin, math::min(block_length, n - begin), i % per_block);
        });
    first_result += count;
  }
  std::vector<double> h_results(static_cast<std::size_t>(total));
  Kokkos::deep_copy(exec, HostView1<double>(h_results.data(), h_results.size()),
                    prefix(results, total));
  fence(exec, "elastic::global_norm");
  return h_results;
}

double added(const std::vector<double>& numbers) {
  double sum = 0;
  for (const double number : numbers) sum += number;
  return sum;
}

/// The exponent e of the unit 2^e in which squares up to `largest` are below one;
/// even, so that it has a root.
int even_exponent(double largest) {
  int exponent = 0;
  std::frexp(largest, &exponent);
  return exponent + (exponent % 2 != 0 ? 1 : 0);
}

}  // namespace

template <class T>
double sum_of_squares(const ExecutionSpace& exec, const Parts<T>& parts,
                      const View1<double>& workspace) {
  return added(reduce_blocks<T>(
      exec, parts, 1, workspace, KOKKOS_LAMBDA(const T* x, const index_t n, index_t) {
        return lane_sum<double>(n, [=](index_t i) {
          const auto value = static_cast<double>(x[i]);
          return value * value;
        });
      }));
}

template <class T>
double sum(const ExecutionSpace& exec, In1<T> x, const View1<double>& workspace) {
  return added(reduce_blocks<T>(
      exec, Parts<T>{x}, 1, workspace, KOKKOS_LAMBDA(const T* values, const index_t n, index_t) {
        return lane_sum<double>(n, [=](index_t i) { return static_cast<double>(values[i]); });
      }));
}

template <class T>
double largest_square(const ExecutionSpace& exec, const Parts<T>& parts,
                      const View1<double>& workspace) {
  // The largest magnitude, then the number of elements that are not finite.
  const auto results = reduce_blocks<T>(
      exec, parts, 2, workspace, KOKKOS_LAMBDA(const T* x, const index_t n, const index_t k) {
        if (k == 1)
          return lane_sum<double>(
              n, [=](index_t i) { return math::isfinite(widen(x[i])) ? 0.0 : 1.0; });
        Accumulate<T> largest = 0;
        ELASTIC_SIMD_MAX(largest)
        for (index_t i = 0; i < n; ++i) largest = math::max(largest, math::abs(widen(x[i])));
        return static_cast<double>(largest);
      });
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
  // Sums of a block are integers below 2^41: exact in double.
  const auto results = reduce_blocks<T>(
      exec, parts, 2, workspace, KOKKOS_LAMBDA(const T* x, const index_t n, const index_t k) {
        return lane_sum<double>(n, [=](index_t i) {
          const double root = factor * static_cast<double>(x[i]), square = root * root;
          const auto high = static_cast<double>(static_cast<index_t>(square));
          if (k == 0) return high;
          return static_cast<double>(static_cast<index_t>((square - high) * 0x1p28 + 0.5));
        });
      });
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
  template double largest_square<T>(const ExecutionSpace&, const Parts<T>&, const View1<double>&); \
  template FixedSquares sum_of_squares_fixed<T>(const ExecutionSpace&, const Parts<T>&, double,    \
                                                const View1<double>&);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
