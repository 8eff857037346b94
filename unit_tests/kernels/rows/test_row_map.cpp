// SPDX-License-Identifier: Apache-2.0
// Element by element: of one or two matrices, with and without a mask, in place, and with gaps
// between the rows; the pieces of a host and the packs of a device give equal bits.
#include "kernels/rows/row_map.hpp"

#include "unit_tests/support/views.hpp"

namespace elastic::kernels {
namespace {

using namespace elastic::test;

template <class T>
class RowMapTest : public testing::Test {};
using Scalars = testing::Types<bfloat16, float, double>;
TYPED_TEST_SUITE(RowMapTest, Scalars);

template <class A>
struct Twice {
  KOKKOS_INLINE_FUNCTION A operator()(A m, A a) const { return 2 * m * a; }
};
template <class A>
struct Product {
  KOKKOS_INLINE_FUNCTION A operator()(A m, A a, A b) const { return m * (a * b); }
};

TYPED_TEST(RowMapTest, OfTwoMatrices) {
  using T = TypeParam;
  using A = Accumulate<T>;
  for (const index_t columns : {1, 8, 37}) {
    const auto a = strided_random_matrix<T>(6, columns, 40, 1);
    const auto b = random_matrix<T>(6, columns, 2);
    const auto mask = random_vector<A>(columns, 3);
    const auto a_ = to_double(clone(a)), b_ = to_double(b), m_ = to_double(mask);
    std::vector<double> masked(6 * columns), plain(6 * columns);
    for (index_t i = 0; i < 6 * columns; ++i) {
      plain[i] = a_[i] * b_[i];
      masked[i] = m_[i % columns] * plain[i];
    }
    const View2<T> to("elastic::test::to", 6, columns);
    map_rows<T, T, T>(ExecutionSpace(), "elastic::test::map", Product<A>(), mask, a, b, to);
    EXPECT_TRUE(near(to, masked, tolerance<T>(1))) << columns;
    map_rows<T, T, T>(ExecutionSpace(), "elastic::test::map", Product<A>(), {}, a, b, b);
    EXPECT_TRUE(near(b, plain, tolerance<T>(1))) << columns << " in place";
  }
}

TYPED_TEST(RowMapTest, PacksHaveTheBitsOfPieces) {
  using T = TypeParam;
  using A = Accumulate<T>;
  for (const index_t leading : {40, 37}) {  // aligned rows and others
    const auto a = strided_random_matrix<T>(6, 37, leading, 1);
    const auto mask = random_vector<A>(37, 3);
    const View2<T> packs("elastic::test::packs", 6, 37), pieces("elastic::test::pieces", 6, 37);
    const bool aligned = packs_are_aligned(a, mask, packs);
    for_packs(ExecutionSpace(), "elastic::test::packs", 6, 37,
              RowMap<Twice<A>, T, T, T>{Twice<A>(), mask, a, {}, packs, aligned});
    for_row_pieces(ExecutionSpace(), "elastic::test::pieces", 6, 37,
                   RowMap<Twice<A>, T, T, T>{Twice<A>(), mask, a, {}, pieces, aligned});
    EXPECT_TRUE(bitwise_equal(packs, pieces)) << leading;
  }
}

}  // namespace
}  // namespace elastic::kernels
