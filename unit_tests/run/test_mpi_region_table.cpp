// SPDX-License-Identifier: Apache-2.0
// The table of regions over 2 ranks (written for any number of ranks from 2).
#include <gtest/gtest.h>

#include <chrono>
#include <sstream>
#include <thread>

#include "base/region.hpp"
#include "comm/collectives.hpp"
#include "run/region_table.hpp"

namespace elastic::test {
namespace {

std::vector<std::string> row_of(const std::string& table, const std::string& name) {
  std::istringstream lines(table);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::vector<std::string> cells;
    for (std::string word; words >> word;) cells.push_back(word);
    if (!cells.empty() && cells[0] == name) return cells;
  }
  return {};
}

void work(const char* name, int milliseconds, double flops) {
  const Region region(name);
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
  add_flops(flops);
}

TEST(RegionTable, GathersAllRanks) {
  const auto world = Communicator::world();
  ASSERT_GE(world.size(), 2);
  Region::reset();
  work("shared", 10 * (1 + world.rank()), 1e6 * (1 + world.rank()));
  if (world.rank() == 1) work("lonely", 10, 0);
  const std::string table = region_table(world, 1e9 * (1 + world.rank()));

  const double mine = Region::totals().at("shared").seconds;
  const double least = all_reduce_min(world, mine), largest = all_reduce_max(world, mine);
  const double sum = all_reduce_sum(world, mine);
  const auto shared = row_of(table, "shared");
  ASSERT_EQ(shared.size(), 10u) << table;
  EXPECT_EQ(shared[1], "1");
  EXPECT_NEAR(std::stod(shared[2]), least, 6e-4);
  EXPECT_NEAR(std::stod(shared[3]), sum / world.size(), 6e-4);
  EXPECT_NEAR(std::stod(shared[4]), largest, 6e-4);
  const double n = world.size(), flops = 1e6 * n * (n + 1) / 2, peak = 1e9 * (n + 1) / 2;
  EXPECT_NEAR(std::stod(shared[6]), flops / sum / 1e9, 0.006);
  EXPECT_NEAR(std::stod(shared[7]), 100 * flops / sum / peak, 0.06);

  const auto lonely = row_of(table, "lonely");
  ASSERT_EQ(lonely.size(), 10u) << table;
  EXPECT_EQ(lonely[1], "1");
  EXPECT_EQ(std::stod(lonely[2]), 0) << "the other rank was never there";
  EXPECT_NEAR(std::stod(lonely[3]), std::stod(lonely[4]) / world.size(), 1.1e-3);
  Region::reset();
}

TEST(RegionTable, NamesTheSlowestRank) {
  const auto world = Communicator::world();
  Region::reset();
  {
    const Region step("step");
    work("backward", world.rank() == 1 ? 60 : 10, 0);
    work("forward", world.is_root() ? 30 : 10, 0);
    work("agree", world.is_root() ? 200 : 1, 0);  // waits
  }
  const std::string table = region_table(world, 0);
  const auto backward = row_of(table, "backward"), forward = row_of(table, "forward");
  ASSERT_EQ(backward.size(), 10u) << table;
  EXPECT_EQ(backward[8], "1");
  EXPECT_EQ(forward[8], "0");
  const double mean = std::stod(backward[3]), largest = std::stod(backward[4]);
  EXPECT_NEAR(std::stod(backward[9]), 100 * (largest - mean) / mean, 10);
  EXPECT_NE(table.find("\nstraggler: rank 1 in step/backward, 0.0"), std::string::npos) << table;
  Region::reset();
}

TEST(RegionTable, IsTheSameOnAllRanks) {
  const auto world = Communicator::world();
  Region::reset();
  work("a", 1 + world.rank(), 0);
  const std::string mine = region_table(world, 0);
  std::string roots = mine;
  broadcast(world, roots);
  EXPECT_EQ(mine, roots);
  Region::reset();
}

}  // namespace
}  // namespace elastic::test
