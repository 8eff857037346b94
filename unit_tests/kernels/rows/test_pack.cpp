// SPDX-License-Identifier: Apache-2.0
// Eight neighbouring values: read and written alike whether or not they are aligned, every element
// of a matrix once, and row sums that zeros at the end do not change.
#include "kernels/rows/pack.hpp"

#include "unit_tests/support/views.hpp"

namespace elastic::kernels {
namespace {

using namespace elastic::test;

template <class T>
class PackTest : public testing::Test {};
using Scalars = testing::Types<bfloat16, float, double>;
TYPED_TEST_SUITE(PackTest, Scalars);

/// y = x by packs, where `aligned` may be forbidden.
template <class T>
struct Copy {
  View2<const T> x;
  View2<T> y;
  bool aligned;
  KOKKOS_FUNCTION void operator()(const index_t t, const index_t j, const int count) const {
    store_pack(&y(t, j), load_pack(&x(t, j), count, aligned), count, aligned);
  }
};

TYPED_TEST(PackTest, EveryElementOnceAlignedOrNot) {
  using T = TypeParam;
  for (const index_t columns : {1, 8, 15, 40}) {
    const auto x = strided_random_matrix<T>(5, columns, 48, 1);
    ASSERT_TRUE(packs_are_aligned(x));
    for (const bool aligned : {true, false}) {
      const View2<T> whole("elastic::test::y", 5, 48), y = prefix(whole, 5, columns);
      for_packs(ExecutionSpace(), "elastic::test::copy", 5, columns, Copy<T>{x, y, aligned});
      EXPECT_TRUE(bitwise_equal(clone(y), clone(x))) << columns << aligned;
      const auto all = to_double(whole);
      for (index_t i = 0; i < 5 * 48; ++i) {
        ASSERT_TRUE(i % 48 < columns || all[i] == 0) << "written past the end of a row";
      }
    }
  }
}

TYPED_TEST(PackTest, RowsThatBeginAnywhereAreNotAligned) {
  using T = TypeParam;
  const View2<T> matrix("elastic::test::matrix", 4, 48), odd("elastic::test::odd", 4, 47);
  const View1<T> vector("elastic::test::vector", 20);
  EXPECT_TRUE(packs_are_aligned(matrix, vector, View2<T>(), View1<T>()));
  EXPECT_FALSE(packs_are_aligned(odd));
  EXPECT_FALSE(packs_are_aligned(matrix, Kokkos::subview(vector, Range(1, 9))));
  EXPECT_FALSE(packs_are_aligned(Kokkos::subview(matrix, Kokkos::ALL, Range(1, 9))));
}

TYPED_TEST(PackTest, AnAbsentMaskIsOne) {
  using A = Accumulate<TypeParam>;
  const auto mask = random_vector<A>(20, 1);
  const auto m = to_host(mask);
  const auto present = load_mask<A>(mask, 3, 8, false), absent = load_mask<A>({}, 3, 8, true);
  for (int i = 0; i < pack_size; ++i) {
    EXPECT_EQ(present[i], m[3 + i]);
    EXPECT_EQ(absent[i], A(1));
  }
}

/// The sum over x, by one team.
template <class A>
struct RowSum {
  View1<const A> x;
  View1<A> result;
  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const A sum = sum_row_packs<A>(team, static_cast<index_t>(x.extent(0)),
                                   [&](index_t j, int count, A& total) {
                                     const Pack<A> terms = load_pack(&x(j), count, false);
                                     for (int i = 0; i < count; ++i) total += terms[i];
                                   });
    Kokkos::single(Kokkos::PerTeam(team), [&]() { result(0) = sum; });
  }
};
template <class A>
A row_sum(const View1<A>& x) {
  const View1<A> result("elastic::test::result", 1);
  Kokkos::parallel_for("elastic::test::row_sum", device_teams(ExecutionSpace(), 1, row_threads),
                       RowSum<A>{x, result});
  return to_host(result)[0];
}

TYPED_TEST(PackTest, ZerosAtTheEndChangeNoBitOfARowSum) {
  using A = Accumulate<TypeParam>;
  for (const index_t kept : {1, 20, 333}) {
    auto values = random_values<A>(5000, 2);
    std::fill(values.begin() + kept, values.end(), A(0));
    const auto x = to_device(values);
    double expected = 0;
    for (const A value : values) expected += static_cast<double>(value);
    const A sum = row_sum<A>(prefix(x, kept));
    EXPECT_NEAR(sum, expected, tolerance<A>(kept));
    EXPECT_EQ(row_sum<A>(x), sum) << kept;
  }
}

}  // namespace
}  // namespace elastic::kernels
