// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "base/version.hpp"
#include "kernels/products/gemm.hpp"
#include "support/timing.hpp"

namespace {
using namespace elastic;

/// Best rate of 1024^3 products, in GFLOP/s: what other rates are compared with.
double peak_gflops() {
  constexpr index_t n = 1024;
  const ExecutionSpace exec;
  const auto a = bench::random_matrix(n, n, 1), b = bench::random_matrix(n, n, 2);
  const View2<float> c("elastic::bench", n, n);
  double best = 0;
  for (int i = 0; i < 6; ++i) {
    const double start = wall_seconds();
    kernels::gemm<float>({exec}, kernels::Transpose::no, kernels::Transpose::no, 1, a, b, 0, c);
    fence(exec, "elastic::bench_peak");
    best = std::max(best, 2e-9 * n * n * n / (wall_seconds() - start));
  }
  return best;
}
}  // namespace

int main(int argc, char** argv) {
  Kokkos::initialize(argc, argv);
  benchmark::Initialize(&argc, argv);
  benchmark::AddCustomContext("elastic", fmt::format("{} {}", project_version, build_type));
  benchmark::AddCustomContext("kokkos",
                              fmt::format("{} {}", kokkos_version, ExecutionSpace::name()));
  benchmark::AddCustomContext("matrix product peak", fmt::format("{:.0f} GFLOP/s", peak_gflops()));
  bench::add_gemm_benchmarks();
  bench::add_ssd_benchmarks();
  bench::add_attention_benchmarks();
  bench::add_row_benchmarks();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::ClearRegisteredBenchmarks();  // they hold Views
  Kokkos::finalize();
  return 0;
}
