// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/cosine_similarity.hpp"

#include "base/error.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::kernels {
namespace {

using namespace elastic::test;

template <class T>
class CosineSimilarity : public testing::Test {};
using Scalars = testing::Types<bfloat16, float, double>;
TYPED_TEST_SUITE(CosineSimilarity, Scalars);

TYPED_TEST(CosineSimilarity, EqualsNaive) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const index_t rows = 37, width = 50;
  const auto a = strided_random_matrix<T>(rows, width, width + 3, 1),
             b = random_matrix<T>(rows, width, 2);
  const auto x = to_double(a), y = to_double(b);
  std::vector<double> expected;
  for (index_t t = 0; t < rows; ++t) {
    double product = 0, a_square = 0, b_square = 0;
    for (index_t c = 0; c < width; ++c) {
      product += x[t * width + c] * y[t * width + c];
      a_square += x[t * width + c] * x[t * width + c];
      b_square += y[t * width + c] * y[t * width + c];
    }
    expected.push_back(product / std::sqrt(a_square * b_square));
  }
  const auto cosine = random_vector<A>(rows, 3);
  cosine_similarity<T>(ExecutionSpace(), a, b, cosine);
  EXPECT_TRUE(near(cosine, expected, tolerance<T>(width)));
}

TYPED_TEST(CosineSimilarity, LengthsDoNotMatterAndZeroIsLikeZeroOnly) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const auto a = to_device(stored<T>({3, 4, 6, 8, 0, 0, 0, 0}), 4, 2),
             b = to_device(stored<T>({30, 40, -6, -8, 1, 1, 0, 0}), 4, 2);
  const auto cosine = random_vector<A>(4, 3);
  cosine_similarity<T>(ExecutionSpace(), a, b, cosine);
  EXPECT_TRUE(near(cosine, std::vector<A>{1, -1, 0, 1}, tolerance<T>(2)));
}

TYPED_TEST(CosineSimilarity, RejectsOtherShapes) {
  using T = TypeParam;
  using A = Accumulate<T>;
  EXPECT_THROW(cosine_similarity<T>(ExecutionSpace(), random_matrix<T>(5, 3, 1),
                                    random_matrix<T>(5, 4, 1), random_vector<A>(5, 1)),
               ContractError);
}

}  // namespace
}  // namespace elastic::kernels
