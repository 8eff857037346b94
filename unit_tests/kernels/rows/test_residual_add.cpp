// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/residual_add.hpp"

#include "unit_tests/support/gradient.hpp"

namespace elastic::kernels {
namespace {

using namespace elastic::test;

template <class T>
class ResidualAdd : public testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(ResidualAdd, Scalars);

TYPED_TEST(ResidualAdd, EqualsNaive) {
  using T = TypeParam;
  const index_t tokens = 70, width = 33;
  const T gamma = T(0.6);
  for (const bool masked : {false, true}) {
    const auto y = strided_random_matrix<T>(tokens, width, width + 4, 1),
               h = strided_random_matrix<T>(tokens, width, width + 2, 2);
    const auto dh = random_matrix<T>(tokens, width, 3);
    const auto mask = masked ? random_vector<T>(width, 4, 0, 1) : View1<T>();
    const View2<T> dy("elastic::test::dy", tokens, width);
    const auto dmask = random_vector<T>(width, 5), dgamma = random_vector<T>(1, 6);
    auto e_h = to_double(h), e_dmask = to_double(dmask), e_dgamma = to_double(dgamma);
    std::vector<double> e_dy(tokens * width);
    const auto v_y = to_double(y), v_dh = to_double(dh), v_mask = to_double(mask);
    for (index_t t = 0; t < tokens; ++t)
      for (index_t j = 0; j < width; ++j) {
        const index_t i = t * width + j;
        const double m = masked ? v_mask[j] : 1;
        e_h[i] += gamma * m * v_y[i];
        e_dy[i] = gamma * m * v_dh[i];
        e_dmask[j] += gamma * v_dh[i] * v_y[i];
        e_dgamma[0] += v_dh[i] * m * v_y[i];
      }
    residual_add_forward<T>(ExecutionSpace(), y, mask, gamma, h);
    residual_add_backward<T>(ExecutionSpace(), dh, y, mask, gamma, dy, dmask, dgamma);
    EXPECT_TRUE(near(h, e_h, tolerance<T>(1)));
    EXPECT_TRUE(near(dy, e_dy, tolerance<T>(1)));
    EXPECT_TRUE(near(dmask, e_dmask, tolerance<T>(tokens)));
    EXPECT_TRUE(near(dgamma, e_dgamma, tolerance<T>(tokens * width)));
  }
}

TEST(ResidualAddGradient, EqualsFiniteDifferences) {
  const auto y = random_matrix<double>(8, 11, 1), dh = random_matrix<double>(8, 11, 2);
  const auto mask = random_vector<double>(11, 3), gamma = random_vector<double>(1, 4, 0.3, 0.9);
  const View2<double> dy("elastic::test::dy", 8, 11);
  const View1<double> dmask("elastic::test::dmask", 11), dgamma("elastic::test::dgamma", 1);
  const auto loss = [&] {
    const View2<double> h("elastic::test::h", 8, 11);
    residual_add_forward<double>(ExecutionSpace(), y, mask, to_host(gamma)[0], h);
    return dot(h, dh);
  };
  residual_add_backward<double>(ExecutionSpace(), dh, y, mask, to_host(gamma)[0], dy, dmask,
                                dgamma);
  EXPECT_LT(directional_error(loss, y, dy), 1e-6);
  EXPECT_LT(directional_error(loss, mask, dmask), 1e-6);
  EXPECT_LT(directional_error(loss, gamma, dgamma), 1e-6);
}

TYPED_TEST(ResidualAdd, AbsentGradientsAreAllowed) {
  using T = TypeParam;
  const auto y = random_matrix<T>(5, 6, 1), dh = random_matrix<T>(5, 6, 2);
  residual_add_backward<T>(ExecutionSpace(), dh, y, {}, T(1), y, {}, {});  // in place
  EXPECT_TRUE(bitwise_equal(y, dh));
}

}  // namespace
}  // namespace elastic::kernels
