// SPDX-License-Identifier: Apache-2.0
// Prefixes and rows are Views of the same memory; conversions of kernel arguments; precisions.
#include "base/types.hpp"

#include "unit_tests/support/views.hpp"

namespace elastic::test {
namespace {

TEST(Types, APrefixKeepsTheLeadingDimensionOfItsParent) {
  const auto parent =
      to_device(std::vector<float>{0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23}, 3, 4);
  const auto kept = prefix(parent, 2, 3);
  EXPECT_EQ(kept.data(), parent.data());
  EXPECT_EQ(leading_dimension(kept), 4);
  EXPECT_TRUE(bitwise_equal(kept, std::vector<float>{0, 1, 2, 10, 11, 12}));
  EXPECT_EQ(leading_dimension(prefix(kept, 1, 1)), 4) << "a prefix of a prefix";
}

TEST(Types, WritingAPrefixWritesTheParent) {
  const View2<double> parent("elastic::test::parent", 2, 3);
  Kokkos::deep_copy(prefix(parent, 1, 2), 1.0);
  EXPECT_TRUE(bitwise_equal(parent, std::vector<double>{1, 1, 0, 0, 0, 0}));
}

TEST(Types, RowsAndPrefixesOfVectors) {
  const auto parent = to_device(std::vector<float>{0, 1, 10, 11, 20, 21}, 3, 2);
  EXPECT_TRUE(bitwise_equal(rows(parent, 1, 3), std::vector<float>{10, 11, 20, 21}));
  EXPECT_EQ(rows(parent, 2, 2).extent(0), 0u);
  const auto vector = to_device(std::vector<float>{5, 6, 7});
  EXPECT_TRUE(bitwise_equal(prefix(vector, 2), std::vector<float>{5, 6}));
  EXPECT_EQ(prefix(vector, 2).data(), vector.data());
}

/// As kernels do: the element type is given, Views convert.
template <class T>
std::size_t elements(In2<T> a, In1<T> b) {
  return a.size() + b.size();
}

TEST(Types, InputsConvertFromViewsOfNonConstElements) {
  const View2<float> a("elastic::test::a", 2, 3);
  const View1<const float> b = View1<float>("elastic::test::b", 4);
  EXPECT_EQ(elements<float>(a, b), 10u);
  EXPECT_EQ(elements<float>(a, {}), 6u) << "absent";
}

TEST(Types, SumsAreKeptInATypeThatHoldsThem) {
  static_assert(std::is_same_v<Accumulate<float>, float>);
  static_assert(std::is_same_v<Accumulate<double>, double>);
  static_assert(std::is_same_v<Accumulate<const float>, float>);
  EXPECT_EQ(sum_bytes, sizeof(Accumulate<bfloat16>));
}

}  // namespace
}  // namespace elastic::test
