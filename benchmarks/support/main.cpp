// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "base/version.hpp"
#include "kernels/products/gemm.hpp"
#include "support/timing.hpp"

namespace {
using namespace elastic;

constexpr bool on_processor = std::is_same_v<MemorySpace, HostSpace>;

/// Seconds of the fastest of some launches, after one to warm up.
template <class Launch>
double least_seconds(const Launch& launch) {
  const ExecutionSpace exec;
  double least = 1e30;
  for (int i = 0; i < 8; ++i) {
    const double start = wall_seconds();
    launch();
    fence(exec, "elastic::bench_peak");
    if (i > 0) least = std::min(least, wall_seconds() - start);
  }
  return least;
}
/// Best rate of square products, in GFLOP/s: what other rates are compared with.
template <class T>
double peak_gflops() {
  constexpr index_t n = on_processor ? 1024 : 8192;
  const ExecutionSpace exec;
  const auto a = bench::random_matrix<T>(n, n, 1), b = bench::random_matrix<T>(n, n, 2);
  const View2<T> c("elastic::bench", n, n);
  return 2e-9 * n * n * n / least_seconds([&] {
           kernels::gemm<T>({exec}, kernels::Transpose::no, kernels::Transpose::no, 1, a, b, 0, c);
         });
}
/// Bytes read and written by a copy that no cache holds, in GB/s.
double copy_gigabytes() {
  const auto from = bench::random_matrix(1 << 14, 1 << 14, 1);  // 1 GiB
  const View2<float> to("elastic::bench", from.extent(0), from.extent(1));
  return 2e-9 * static_cast<double>(from.size() * sizeof(float)) /
         least_seconds([&] { Kokkos::deep_copy(ExecutionSpace(), to, from); });
}
}  // namespace

int main(int argc, char** argv) {
  Kokkos::initialize(argc, argv);
  benchmark::Initialize(&argc, argv);
  benchmark::AddCustomContext("elastic", fmt::format("{} {}", project_version, build_type));
  benchmark::AddCustomContext("kokkos",
                              fmt::format("{} {}", kokkos_version, ExecutionSpace::name()));
  benchmark::AddCustomContext("matrix product peak",
                              fmt::format("{:.0f} GFLOP/s", peak_gflops<float>()));
  benchmark::AddCustomContext("bf16 product peak",
                              fmt::format("{:.0f} GFLOP/s", peak_gflops<bfloat16>()));
  benchmark::AddCustomContext("copy", fmt::format("{:.0f} GB/s", copy_gigabytes()));
  bench::add_gemm_benchmarks();
  bench::add_ssd_benchmarks();
  bench::add_attention_benchmarks();
  bench::add_row_benchmarks();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::ClearRegisteredBenchmarks();  // they hold Views
  Kokkos::finalize();
  return 0;
}
