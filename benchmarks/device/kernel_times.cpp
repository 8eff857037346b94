// SPDX-License-Identifier: Apache-2.0
// A Kokkos tool: what each kernel and each matrix product of a program takes, fenced on both sides.
//
//   KOKKOS_TOOLS_LIBS=libkernel_times.so KERNEL_TIMES_OUT=times.json elastic.x DECK
//
// Writes one line per name to stdout, longest first, and the same as JSON. Copies and waiting that
// Kokkos does not report are in no line. Needs Kokkos 3.7 or newer (fences asked of the program).
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <impl/Kokkos_Profiling_C_Interface.h>
#include <map>
#include <string>
#include <vector>

namespace {

struct Total {
  double seconds = 0;
  long calls = 0;
};
std::map<std::string, Total> totals;
std::vector<std::pair<std::string, double>> open_regions, open_kernels;
double started = 0;
Kokkos_Tools_ToolProgrammingInterface program = {};

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
void fence() {
  if (program.fence != nullptr) program.fence(0);
}
void close(std::vector<std::pair<std::string, double>>& open) {
  if (open.empty()) return;
  fence();
  auto& total = totals[open.back().first];
  total.seconds += now() - open.back().second;
  ++total.calls;
  open.pop_back();
}
void begin_kernel(const char* name) {
  fence();
  open_kernels.emplace_back(name, now());
}
/// Products are reported as regions, because libraries compute them.
bool is_product(const std::string& name) { return name.rfind("elastic::gemm", 0) == 0; }

void write(const char* file) {
  std::vector<std::pair<std::string, Total>> sorted(totals.begin(), totals.end());
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });
  double all = 0;
  for (const auto& [name, total] : sorted) all += total.seconds;
  std::printf("%-60s %8s %12s %12s %7s\n", "kernel", "calls", "seconds", "us per call", "share");
  std::FILE* json = file == nullptr ? nullptr : std::fopen(file, "w");
  if (json != nullptr)
    std::fprintf(json, "{\"seconds\": %.6f, \"in_kernels\": %.6f, \"kernels\": {", now() - started,
                 all);
  const char* comma = "";
  for (const auto& [name, total] : sorted) {
    const double each = 1e6 * total.seconds / static_cast<double>(total.calls);
    std::printf("%-60s %8ld %12.6f %12.1f %6.1f%%\n", name.c_str(), total.calls, total.seconds,
                each, 100 * total.seconds / all);
    if (json != nullptr)
      std::fprintf(json, "%s\n  \"%s\": {\"calls\": %ld, \"seconds\": %.9f}", comma, name.c_str(),
                   total.calls, total.seconds);
    comma = ",";
  }
  if (json == nullptr) return;
  std::fprintf(json, "\n}}\n");
  std::fclose(json);
}

}  // namespace

extern "C" {
void kokkosp_init_library(int, std::uint64_t, std::uint32_t, void*) { started = now(); }
void kokkosp_provide_tool_programming_interface(std::uint32_t,
                                                Kokkos_Tools_ToolProgrammingInterface given) {
  program = given;
}
void kokkosp_request_tool_settings(std::uint32_t, Kokkos_Tools_ToolSettings* settings) {
  settings->requires_global_fencing = false;
}
void kokkosp_finalize_library() { write(std::getenv("KERNEL_TIMES_OUT")); }

void kokkosp_begin_parallel_for(const char* name, std::uint32_t, std::uint64_t*) {
  begin_kernel(name);
}
void kokkosp_end_parallel_for(std::uint64_t) { close(open_kernels); }
void kokkosp_begin_parallel_reduce(const char* name, std::uint32_t, std::uint64_t*) {
  begin_kernel(name);
}
void kokkosp_end_parallel_reduce(std::uint64_t) { close(open_kernels); }
void kokkosp_begin_parallel_scan(const char* name, std::uint32_t, std::uint64_t*) {
  begin_kernel(name);
}
void kokkosp_end_parallel_scan(std::uint64_t) { close(open_kernels); }
void kokkosp_begin_deep_copy(Kokkos_Profiling_SpaceHandle to, const char*, const void*,
                             Kokkos_Profiling_SpaceHandle from, const char*, const void*,
                             std::uint64_t) {
  begin_kernel((std::string("copy ") + from.name + " to " + to.name).c_str());
}
void kokkosp_end_deep_copy() { close(open_kernels); }

void kokkosp_push_profile_region(const char* name) {
  if (is_product(name)) fence();
  open_regions.emplace_back(name, now());
}
void kokkosp_pop_profile_region() {
  if (open_regions.empty()) return;
  if (is_product(open_regions.back().first))
    close(open_regions);
  else
    open_regions.pop_back();
}
}
