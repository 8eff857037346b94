// SPDX-License-Identifier: Apache-2.0
// Seconds that kernels take, by the beginning of their names, while one of these lives.
#pragma once
#include <string_view>

#include "base/region.hpp"
#include "base/types.hpp"

namespace elastic::bench {

class KernelClock {
 public:
  struct Seconds {
    double attention = 0, scan = 0;
    double other = 0;  ///< of all kernels and copies but matrix products
  };

  KernelClock() {
    namespace tools = Kokkos::Tools::Experimental;
    state() = {};
    tools::set_begin_parallel_for_callback(begin);
    tools::set_begin_parallel_reduce_callback(begin);
    tools::set_begin_parallel_scan_callback(begin);
    tools::set_end_parallel_for_callback(end);
    tools::set_end_parallel_reduce_callback(end);
    tools::set_end_parallel_scan_callback(end);
    tools::set_begin_deep_copy_callback([](Kokkos_Profiling_SpaceHandle, const char*, const void*,
                                           Kokkos_Profiling_SpaceHandle, const char*, const void*,
                                           std::uint64_t) { enter("copy"); });
    tools::set_end_deep_copy_callback([] { leave(); });
  }
  ~KernelClock() {
    namespace tools = Kokkos::Tools::Experimental;
    tools::set_begin_parallel_for_callback(nullptr);
    tools::set_begin_parallel_reduce_callback(nullptr);
    tools::set_begin_parallel_scan_callback(nullptr);
    tools::set_end_parallel_for_callback(nullptr);
    tools::set_end_parallel_reduce_callback(nullptr);
    tools::set_end_parallel_scan_callback(nullptr);
    tools::set_begin_deep_copy_callback(nullptr);
    tools::set_end_deep_copy_callback(nullptr);
  }
  KernelClock(const KernelClock&) = delete;
  KernelClock& operator=(const KernelClock&) = delete;

  static const Seconds& seconds() { return state().seconds; }

 private:
  struct State {
    Seconds seconds;
    double* running = nullptr;  // null: matrix products, or nothing
    double start = 0;
    int depth = 0;  // a copy may launch kernels
  };
  static State& state() {
    static State instance;
    return instance;
  }
  static void begin(const char* name, std::uint32_t, std::uint64_t* id) {
    *id = 0;
    enter(name);
  }
  static void end(std::uint64_t) { leave(); }

  static void enter(std::string_view name) {
    State& s = state();
    if (s.depth++ > 0) return;
    s.running = name.find("gemm") != name.npos                 ? nullptr
                : name.find("elastic::attention") != name.npos ? &s.seconds.attention
                : name.find("elastic::ssd") != name.npos       ? &s.seconds.scan
                                                               : &s.seconds.other;
    fence(ExecutionSpace(), "elastic::kernel_clock");
    s.start = wall_seconds();
  }
  static void leave() {
    State& s = state();
    if (--s.depth > 0) return;
    fence(ExecutionSpace(), "elastic::kernel_clock");
    if (s.running) *s.running += wall_seconds() - s.start;
  }
};

}  // namespace elastic::bench
