// SPDX-License-Identifier: Apache-2.0
#include "base/region.hpp"

#include <chrono>

#include "base/life_sign.hpp"
#include "base/types.hpp"

namespace elastic {
namespace {
struct Registry {
  std::map<std::string, RegionTotals> totals;
  std::string path;
  double flops = 0;
};
Registry& registry() {
  static Registry instance;
  return instance;
}
}  // namespace

double wall_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
void add_flops(double flops) {
  registry().flops += flops;
  note_progress();
}
double counted_flops() { return registry().flops; }

Region::Region(const std::string& name, Fenced fenced)
    : m_fenced(fenced), m_parent_path(registry().path) {
  if (m_fenced == Fenced::yes) fence(ExecutionSpace(), "elastic::region_begin");
  Kokkos::Profiling::pushRegion("elastic::" + name);
  registry().path = m_parent_path.empty() ? name : m_parent_path + "/" + name;
  note_region(registry().path);
  m_start_seconds = wall_seconds();
  m_start_flops = registry().flops;
}

Region::~Region() {
  if (m_fenced == Fenced::yes) fence(ExecutionSpace(), "elastic::region_end");
  auto& total = registry().totals[registry().path];
  ++total.calls;
  total.seconds += wall_seconds() - m_start_seconds;
  total.flops += registry().flops - m_start_flops;
  registry().path = m_parent_path;
  note_region(registry().path);
  Kokkos::Profiling::popRegion();
}

const std::map<std::string, RegionTotals>& Region::totals() { return registry().totals; }
void Region::reset() { registry().totals.clear(); }

}  // namespace elastic
