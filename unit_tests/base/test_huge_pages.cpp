// SPDX-License-Identifier: Apache-2.0
// Arrays in large pages hold zeros, and the system has been asked for the pages.
#include "base/huge_pages.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace elastic::test {
namespace {

/// Flags of the mapping that holds this address: "rd wr ... hg" where large pages were asked for.
std::string flags_at(const void* address) {
  const auto place = reinterpret_cast<std::uintptr_t>(address);
  std::ifstream maps("/proc/self/smaps");
  bool inside = false;
  for (std::string line; std::getline(maps, line);) {
    std::uintptr_t begin = 0, end = 0;
    char dash = 0;
    std::istringstream words(line);
    if (words >> std::hex >> begin >> dash >> end && dash == '-')
      inside = begin <= place && place < end;
    if (inside && line.starts_with("VmFlags:")) return line + " ";
  }
  return "";
}

TEST(HugePages, HoldZeros) {
  for (const index_t count : {index_t{0}, index_t{1000}, index_t{5} << 20}) {
    const auto array = zeros_in_huge_pages<float>("elastic::test", count);
    ASSERT_EQ(static_cast<index_t>(array.extent(0)), count);
    const auto values = Kokkos::create_mirror_view_and_copy(HostSpace(), array);
    EXPECT_TRUE(std::all_of(values.data(), values.data() + count, [](float x) { return x == 0; }));
  }
}

TEST(HugePages, AreAskedForInLargeArraysOnly) {
  if constexpr (!std::is_same_v<MemorySpace, HostSpace>) GTEST_SKIP() << "arrays of a host";
  if (!std::filesystem::exists("/sys/kernel/mm/transparent_hugepage"))
    GTEST_SKIP() << "this system has no large pages";
  const auto large = zeros_in_huge_pages<float>("elastic::test", index_t{5} << 20);
  const auto small = zeros_in_huge_pages<float>("elastic::test", 1000);
  const std::string flags = flags_at(large.data() + huge_page);
  if (flags.empty()) GTEST_SKIP() << "this system lists no flags";
  EXPECT_NE(flags.find(" hg "), std::string::npos) << flags;
  EXPECT_EQ(flags_at(small.data()).find(" hg "), std::string::npos);
}

}  // namespace
}  // namespace elastic::test
