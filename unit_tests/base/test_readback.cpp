// SPDX-License-Identifier: Apache-2.0
// Numbers of kernels come to the host together, and what is taken again and again is not allocated.
#include "base/readback.hpp"

#include <gtest/gtest.h>

#include "base/error.hpp"

namespace elastic {
namespace {

const ExecutionSpace exec() { return {}; }

/// Kernels write first, first + 1, ...
void fill(const View1<double>& numbers, double first) {
  Kokkos::parallel_for(
      "elastic::test", Kokkos::RangePolicy<ExecutionSpace>(exec(), 0, numbers.extent_int(0)),
      KOKKOS_LAMBDA(const int i) { numbers(i) = first + i; });
}

TEST(Readback, BringsAllThatWasTakenToTheHost) {
  Readback readback;
  for (int round = 0; round < 3; ++round) {
    const auto few = readback.take(3), many = readback.take(1000), none = readback.take(0),
               last = readback.take(1);
    fill(few, 10 + round);
    fill(many, 100 + round);
    fill(last, 7);
    readback.read(exec());
    EXPECT_EQ(readback.numbers(few)[2], 12 + round);
    EXPECT_EQ(readback.numbers(many)[999], 1099 + round);
    EXPECT_EQ(readback.numbers(last)[0], 7);
    EXPECT_EQ(none.extent(0), 0u);
    readback.clear();
  }
}

TEST(Readback, KnowsWhatWasNotTaken) {
  Readback readback;
  const auto before = readback.take(5);
  readback.clear();
  EXPECT_THROW(readback.numbers(before), ContractError);
  EXPECT_THROW(readback.numbers(View1<double>("elastic::test", 1)), ContractError);
}

int& allocations() {
  static int count = 0;
  return count;
}

TEST(Readback, AllocatesNothingTheSecondTime) {
  Readback readback;
  const auto round = [&] {
    readback.clear();
    for (const index_t n : {100, 30, 700}) readback.take(n);
    readback.read(exec());
  };
  round();
  round();
  allocations() = 0;
  Kokkos::Tools::Experimental::set_allocate_data_callback([](Kokkos_Profiling_SpaceHandle,
                                                             const char*, const void*,
                                                             std::uint64_t) { ++allocations(); });
  round();
  round();
  Kokkos::Tools::Experimental::set_allocate_data_callback(nullptr);
  EXPECT_EQ(allocations(), 0);
}

}  // namespace
}  // namespace elastic
