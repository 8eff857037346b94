// SPDX-License-Identifier: Apache-2.0
// The timing loop of every benchmark: fence, launch, fence; rates from counted operations and
// stated bytes, of all launches together, and by the processor time of the best launch, which
// others on a shared machine disturb least.
#pragma once
#include <benchmark/benchmark.h>

#include <algorithm>
#include <ctime>
#include <limits>
#include <string>

#include "base/random.hpp"
#include "base/region.hpp"

namespace elastic::bench {

/// Time that all threads of the process have computed, in seconds.
inline double processor_seconds() {
  std::timespec now = {};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// Runs `launch` once to warm up, then as often as the library asks. `bytes`: what one launch
/// must move at least; 0: not stated.
template <class Launch>
void time_launches(benchmark::State& state, double bytes, const Launch& launch) {
  const ExecutionSpace exec;
  launch();
  fence(exec, "elastic::bench_warm_up");
  const double flops = counted_flops();
  index_t launches = 0;
  double shortest = std::numeric_limits<double>::max();
  for (auto _ : state) {
    const double start = wall_seconds(), start_computing = processor_seconds();
    launch();
    fence(exec, "elastic::bench_launch");
    shortest = std::min(shortest, processor_seconds() - start_computing);
    state.SetIterationTime(wall_seconds() - start);
    ++launches;
  }
  const auto per_second = [&](double amount) {
    return benchmark::Counter(amount, benchmark::Counter::kIsRate, benchmark::Counter::kIs1000);
  };
  if (counted_flops() > flops) {
    state.counters["FLOP/s"] = per_second(counted_flops() - flops);
    state.counters["FLOP/core-s"] =
        benchmark::Counter((counted_flops() - flops) / static_cast<double>(launches) / shortest,
                           benchmark::Counter::kDefaults, benchmark::Counter::kIs1000);
  }
  if (bytes > 0) state.counters["bytes/s"] = per_second(bytes * static_cast<double>(launches));
}

/// Adds a benchmark under a name such as "ssd_forward/medium".
template <class Body>
void add(const std::string& name, const Body& body) {
  benchmark::RegisterBenchmark(name.c_str(), body)->UseManualTime()->Unit(benchmark::kMicrosecond);
}

/// [rows, columns] with elements in (-1, 1), made where they are used.
template <class T = float>
View2<T> random_matrix(index_t rows, index_t columns, std::uint64_t stream) {
  const View2<T> view(Kokkos::view_alloc("elastic::bench", Kokkos::WithoutInitializing), rows,
                      columns);
  const RandomKey key{1, RandomPurpose::test, stream};
  T* const values = view.data();
  Kokkos::parallel_for(
      "elastic::bench_values",
      Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<index_t>>(0, rows * columns),
      KOKKOS_LAMBDA(const index_t i) {
        values[i] = static_cast<T>(
            static_cast<float>(2 * random_uniform(key, static_cast<std::uint64_t>(i)) - 1));
      });
  return view;
}
template <class T = float>
View1<T> random_vector(index_t n, std::uint64_t stream) {
  return Kokkos::subview(random_matrix<T>(1, n, stream), 0, Kokkos::ALL);
}

/// What names of benchmarks end in: nothing for float.
template <class T>
inline const char* suffix_of() {
  return std::is_same_v<T, bfloat16> ? "_bf16" : "";
}
/// Bytes of `count` stored values.
template <class T>
double bytes_of(double count) {
  return count * sizeof(T);
}

void add_gemm_benchmarks();
void add_ssd_benchmarks();
void add_attention_benchmarks();
void add_row_benchmarks();

}  // namespace elastic::bench
