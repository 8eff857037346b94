// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/argmax.hpp"

#include <cmath>

#include "base/error.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::kernels {
namespace {

using namespace elastic::test;

template <class T>
class Argmax : public testing::Test {};
using Scalars = testing::Types<bfloat16, float, double>;
TYPED_TEST_SUITE(Argmax, Scalars);

template <class T>
std::vector<token_t> argmax(const View2<T>& logits) {
  const View1<token_t> index("elastic::test::index", logits.extent(0));
  Kokkos::deep_copy(index, -7);
  argmax_rows<T>(ExecutionSpace(), logits, index);
  return to_host(index);
}

TYPED_TEST(Argmax, FindsTheLargestOfEveryRow) {
  using T = TypeParam;
  for (const index_t columns : {1, 2, 17, 1000}) {
    const auto logits = strided_random_matrix<T>(9, columns, columns + 3, 1);
    const auto values = to_host(logits);
    std::vector<token_t> expected;
    for (index_t t = 0; t < 9; ++t) {
      const auto row = values.begin() + t * columns;
      expected.push_back(static_cast<token_t>(
          std::max_element(row, row + columns, [](T a, T b) { return widen(a) < widen(b); }) -
          row));
    }
    EXPECT_EQ(argmax<T>(logits), expected) << columns;
  }
}

TYPED_TEST(Argmax, TakesTheFirstOfEqualOnes) {
  using T = TypeParam;
  const auto values = stored<T>({3, 3, 3, -5, -2, -2, 0, -0.0, 1});
  EXPECT_EQ(argmax<T>(to_device(values, 3, 3)), (std::vector<token_t>{0, 1, 2}));
}

TYPED_TEST(Argmax, RowsThatAreNotFiniteHaveNone) {
  using T = TypeParam;
  for (const double bad : {std::nan(""), HUGE_VAL, -HUGE_VAL})
    for (const std::size_t place : {0u, 1u, 2u}) {
      auto values = stored<T>({1, 2, 3, 4, 5, 6});
      values[3 + place] = T(static_cast<float>(bad));
      EXPECT_EQ(argmax<T>(to_device(values, 2, 3)), (std::vector<token_t>{2, -1})) << bad;
    }
}

TYPED_TEST(Argmax, FindsTokensBeyondSixteenBits) {
  using T = TypeParam;
  const index_t columns = 70001;
  std::vector<T> values(columns, T(-1));
  values[70000] = T(0);
  EXPECT_EQ(argmax<T>(to_device(values, 1, columns)), std::vector<token_t>{70000});
}

TYPED_TEST(Argmax, NoRowsAreAllowedAndNoColumnsAreNot) {
  using T = TypeParam;
  EXPECT_TRUE(argmax<T>(View2<T>("elastic::test::logits", 0, 5)).empty());
  EXPECT_THROW(argmax<T>(View2<T>("elastic::test::logits", 5, 0)), ContractError);
  EXPECT_THROW(argmax_rows<T>(ExecutionSpace(), random_matrix<T>(3, 4, 1),
                              View1<token_t>("elastic::test::index", 4)),
               ContractError);
}

}  // namespace
}  // namespace elastic::kernels
