// SPDX-License-Identifier: Apache-2.0
// The table of regions of one rank: tree, order, columns; and the measured peak.
#include <gtest/gtest.h>

#include <chrono>
#include <sstream>
#include <thread>

#include "base/region.hpp"
#include "run/region_table.hpp"

namespace elastic::test {
namespace {

void work(const char* name, int milliseconds, double flops = 0) {
  const Region region(name);
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
  add_flops(flops);
}

std::vector<std::vector<std::string>> cells_of(const std::string& table) {
  std::vector<std::vector<std::string>> rows;
  std::istringstream lines(table);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    rows.emplace_back();
    for (std::string word; words >> word;) rows.back().push_back(word);
  }
  return rows;
}

TEST(RegionTable, IsATreeWithTheSlowestFirst) {
  Region::reset();
  work("step-", 1);  // '-' sorts before '/': must not come between step and its parts
  for (int i = 0; i < 2; ++i) {
    const Region step("step");
    work("forward", 5, 1e6);
    work("backward", 15, 2e6);
  }
  const std::string table = region_table(Communicator::self(), 1e9);
  const auto rows = cells_of(table);
  ASSERT_EQ(rows.size(), 6u) << table;
  EXPECT_EQ(rows[1][0], "step");
  EXPECT_EQ(rows[2][0], "backward");
  EXPECT_EQ(rows[3][0], "forward");
  EXPECT_EQ(rows[4][0], "step-");
  EXPECT_NE(table.find("\n  backward"), std::string::npos) << table;

  const auto& totals = Region::totals().at("step/backward");
  const auto& row = rows[2];
  ASSERT_EQ(row.size(), 8u) << table;
  EXPECT_EQ(row[1], "2");
  for (const int column : {2, 3, 4}) EXPECT_NEAR(std::stod(row[column]), totals.seconds, 6e-4);
  const double all = Region::totals().at("step").seconds + Region::totals().at("step-").seconds;
  EXPECT_NEAR(std::stod(row[5]), 100 * totals.seconds / all, 0.06);
  const double rate = 4e6 / totals.seconds;
  EXPECT_NEAR(std::stod(row[6]), rate / 1e9, 0.006);
  EXPECT_NEAR(std::stod(row[7]), 100 * rate / 1e9, 0.06);
  EXPECT_EQ(rows[4][6], "-") << "no FLOPs counted";
  EXPECT_NE(table.back(), '\n');
  Region::reset();
}

TEST(RegionTable, KeepsItsColumns) {
  Region::reset();
  {
    const Region outer("a_rather_long_name_of_a_region");
    work("inner", 1, 1e6);
  }
  work("b", 1);
  std::istringstream lines(region_table(Communicator::self(), 1e9));
  std::string first, line;
  std::getline(lines, first);
  for (int i = 0; i < 3; ++i) {
    std::getline(lines, line);
    EXPECT_EQ(line.size(), first.size()) << line;
  }
  Region::reset();
}

TEST(RegionTable, WithoutRegionsOrPeakIsStillATable) {
  Region::reset();
  EXPECT_EQ(cells_of(region_table(Communicator::self(), 0)).size(), 2u);
  work("a", 1, 1e6);
  const auto rows = cells_of(region_table(Communicator::self(), 0));
  EXPECT_NE(rows[1][6], "-");
  EXPECT_EQ(rows[1][7], "-");
  Region::reset();
}

TEST(GemmPeak, IsPlausibleAndCountsNowhere) {
  const double before = counted_flops(), start = wall_seconds();
  const double peak = measure_gemm_peak<Real>(ExecutionSpace());
  EXPECT_GT(peak, 1e8);
  EXPECT_LT(peak, 1e15);
  EXPECT_LT(wall_seconds() - start, 5);
  EXPECT_EQ(counted_flops(), before);
}

}  // namespace
}  // namespace elastic::test
