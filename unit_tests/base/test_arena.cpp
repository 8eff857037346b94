// SPDX-License-Identifier: Apache-2.0
// The stack of memory: no overlap while taken, reuse after release, growth only once.
#include "base/arena.hpp"

#include <gtest/gtest.h>

#include <cstdint>

namespace elastic::test {
namespace {

TEST(Arena, ViewsDoNotOverlapAndAreAligned) {
  Arena arena;
  const auto a = arena.vector<float>(100);
  const auto b = arena.matrix<double>(3, 5);
  const auto c = arena.vector<float>(0);
  EXPECT_EQ(b.extent(0), 3u);
  EXPECT_EQ(b.extent(1), 5u);
  EXPECT_EQ(c.extent(0), 0u);
  EXPECT_GE(reinterpret_cast<char*>(b.data()), reinterpret_cast<char*>(a.data() + 100));
  EXPECT_EQ((reinterpret_cast<char*>(b.data()) - reinterpret_cast<char*>(a.data())) % 256, 0);
}

TEST(Arena, ScopesGiveBackInOrder) {
  Arena arena;
  const auto outer = arena.vector<float>(10);
  const float* first = nullptr;
  {
    Arena::Scope scope(arena);
    first = arena.vector<float>(1000).data();
    {
      Arena::Scope inner(arena);
      EXPECT_NE(arena.vector<float>(1000).data(), first);
    }
  }
  Arena::Scope scope(arena);
  EXPECT_EQ(arena.vector<float>(7).data(), first);
  EXPECT_NE(outer.data(), first);
}

TEST(Arena, ARepeatedStepAllocatesNothing) {
  Arena arena;
  EXPECT_EQ(arena.capacity(), 0u);
  const auto step = [&] {
    Arena::Scope scope(arena);
    for (int i = 0; i < 3; ++i) arena.vector<unsigned char>(index_t{40} << 20);
  };
  step();
  const auto capacity = arena.capacity();
  EXPECT_GE(capacity, std::size_t{120} << 20);
  step();
  EXPECT_EQ(arena.capacity(), capacity);
}

TEST(Arena, BlocksGrowForLargeRequests) {
  Arena arena;
  const auto large = arena.vector<unsigned char>(index_t{100} << 20);
  EXPECT_EQ(large.extent(0), std::size_t{100} << 20);
  EXPECT_GE(arena.capacity(), std::size_t{100} << 20);
}

}  // namespace
}  // namespace elastic::test
