// SPDX-License-Identifier: Apache-2.0
// Sums over rows as a device forms them: of all rows or by groups, with equal bits every time.
#include "kernels/rows/column_sums.hpp"

#include "unit_tests/support/views.hpp"

namespace elastic::kernels {
namespace {

using namespace elastic::test;

template <class T>
class ColumnSumsTest : public testing::Test {};
using Scalars = testing::Types<bfloat16, float, double>;
TYPED_TEST_SUITE(ColumnSumsTest, Scalars);

template <class T>
struct Terms {
  View2<const T> x;
  KOKKOS_FUNCTION void operator()(const index_t t, const index_t j, const int count,
                                  Pack<Accumulate<T>>& sum) const {
    const auto x_t = load_pack(&x(t, j), count, packs_in_order);
    for (int i = 0; i < pack_size; ++i) sum[i] += x_t[i];
  }
  bool packs_in_order;
};

TYPED_TEST(ColumnSumsTest, AddAllRowsToWhatIsThere) {
  using T = TypeParam;
  using A = Accumulate<T>;
  for (const index_t rows : {0, 1, 255, 256, 700})
    for (const index_t columns : {1, 16, 17, 100}) {
      const auto x = random_matrix<T>(rows, columns, 1);
      const auto total = random_vector<A>(columns, 2), again = clone(total);
      auto expected = to_double(total);
      const auto values = to_double(x);
      for (index_t i = 0; i < rows * columns; ++i) expected[i % columns] += values[i];
      for (const auto& sums : {total, again})
        add_column_sums<A>(ExecutionSpace(), "elastic::test::sums", rows,
                           Terms<T>{x, packs_are_aligned(x)}, sums);
      EXPECT_TRUE(near(total, expected, tolerance<A>(rows + 1))) << rows << " x " << columns;
      EXPECT_TRUE(bitwise_equal(total, again)) << rows << " x " << columns;
    }
}

template <class A>
struct Square {
  KOKKOS_INLINE_FUNCTION A operator()(A sum) const { return sum * sum; }
};

TYPED_TEST(ColumnSumsTest, GroupsOfRowsAreFinishedOneByOne) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const index_t rows = 700, group = 300, columns = 20;  // the last group is shorter
  const auto x = random_matrix<T>(rows, columns, 1);
  const View1<A> total("elastic::test::total", columns);
  add_column_sums<A>(ExecutionSpace(), "elastic::test::sums", rows, group, Terms<T>{x, false},
                     Square<A>(), total);
  std::vector<double> expected(columns);
  const auto values = to_double(x);
  for (index_t first = 0; first < rows; first += group)
    for (index_t j = 0; j < columns; ++j) {
      double sum = 0;
      for (index_t t = first; t < std::min(rows, first + group); ++t)
        sum += values[t * columns + j];
      expected[j] += sum * sum;
    }
  EXPECT_TRUE(near(total, expected, tolerance<A>(rows)));
}

}  // namespace
}  // namespace elastic::kernels
