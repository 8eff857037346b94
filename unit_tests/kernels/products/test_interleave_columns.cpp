// SPDX-License-Identifier: Apache-2.0
#include "kernels/products/interleave_columns.hpp"

#include "base/error.hpp"
#include "unit_tests/kernels/shards.hpp"

namespace elastic::kernels {
namespace {

using namespace elastic::test;

template <class T>
class InterleaveColumns : public testing::Test {};
using Scalars = testing::Types<float, double, bfloat16>;
TYPED_TEST_SUITE(InterleaveColumns, Scalars);

/// The columns of all ranks below each other; where a rank has fewer columns than the first, NaN.
template <class T>
View2<T> dealt_out(const View2<T>& whole, int ranks) {
  const index_t count = whole.extent_int(0), columns = whole.extent_int(1),
                most = (columns + ranks - 1) / ranks;
  const View2<T> parts("elastic::test::parts", ranks * count, most + 2);
  Kokkos::deep_copy(parts, static_cast<T>(std::numeric_limits<float>::quiet_NaN()));
  for (int r = 0; r < ranks; ++r) {
    const auto mine = columns_of(whole, {r, ranks});
    const index_t width = mine.extent_int(1);
    assign(View2<T>(Kokkos::subview(parts, Range(r * count, (r + 1) * count), Range(0, width))),
           to_host(mine));
  }
  return parts;
}

TYPED_TEST(InterleaveColumns, BringsDealtOutColumnsBack) {
  using T = TypeParam;
  for (const int ranks : {1, 2, 3, 8})
    for (const index_t columns : {1, 7, 16, 2050}) {
      const auto whole = random_matrix<T>(5, columns, 1);
      const auto out = strided_random_matrix<T>(5, columns, columns + 3, 2);
      interleave_columns<T>(ExecutionSpace(), dealt_out(whole, ranks), ranks, out);
      EXPECT_TRUE(bitwise_equal(to_host(out), to_host(whole))) << ranks << " ranks, " << columns;
    }
}

TYPED_TEST(InterleaveColumns, WritesNothingBesideTheTarget) {
  using T = TypeParam;
  const auto parent = random_matrix<T>(4, 9, 3);
  const auto before = to_host(parent);
  interleave_columns<T>(ExecutionSpace(), dealt_out(random_matrix<T>(3, 6, 4), 2), 2,
                        prefix(parent, 3, 6));
  const auto after = to_host(parent);
  for (index_t i = 0; i < 4; ++i)
    for (index_t j = 0; j < 9; ++j)
      EXPECT_EQ(after[i * 9 + j] == before[i * 9 + j], i == 3 || j >= 6) << i << " " << j;
}

TYPED_TEST(InterleaveColumns, EmptyExtentsAreAllowedAndWrongOnesAreNot) {
  using T = TypeParam;
  const ExecutionSpace exec;
  interleave_columns<T>(exec, View2<T>("elastic::test::parts", 0, 4), 2,
                        View2<T>("elastic::test::out", 0, 8));
  EXPECT_THROW(interleave_columns<T>(exec, random_matrix<T>(5, 4, 1), 2, random_matrix<T>(3, 8, 1)),
               ContractError);  // five rows of two ranks
  EXPECT_THROW(interleave_columns<T>(exec, random_matrix<T>(6, 3, 1), 2, random_matrix<T>(3, 8, 1)),
               ContractError);  // six columns of eight
}

}  // namespace
}  // namespace elastic::kernels
