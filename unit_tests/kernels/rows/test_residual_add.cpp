// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/residual_add.hpp"

#include "unit_tests/support/gradient.hpp"
#include "unit_tests/kernels/contract.hpp"

namespace elastic::kernels {
namespace {

using namespace elastic::test;

template <class T>
class ResidualAdd : public testing::Test {};
using Scalars = testing::Types<bfloat16, float, double>;
TYPED_TEST_SUITE(ResidualAdd, Scalars);

TYPED_TEST(ResidualAdd, EqualsNaive) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const index_t tokens = 70, width = 33;
  const A gamma = A(0.6);
  for (const bool masked : {false, true}) {
    const auto y = strided_random_matrix<T>(tokens, width, width + 4, 1),
               h = strided_random_matrix<T>(tokens, width, width + 2, 2);
    const auto dh = random_matrix<T>(tokens, width, 3);
    const auto mask = masked ? random_vector<A>(width, 4, 0, 1) : View1<A>();
    const View2<T> dy("elastic::test::dy", tokens, width);
    const auto dmask = random_vector<A>(width, 5), dgamma = random_vector<A>(1, 6);
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
    const View2<T> joined("elastic::test::joined", tokens, width);
    residual_add_forward<T>(ExecutionSpace(), h, y, mask, gamma, joined);
    residual_add_forward<T>(ExecutionSpace(), y, mask, gamma, h);
    EXPECT_TRUE(bitwise_equal(joined, h));
    residual_add_backward<T>(ExecutionSpace(), dh, y, mask, gamma, dy, dmask, dgamma);
    EXPECT_TRUE(near(h, e_h, tolerance<T>(1)));
    EXPECT_TRUE(near(dy, e_dy, tolerance<T>(1)));
    EXPECT_TRUE(near(dmask, e_dmask, tolerance<T>(tokens)));
    EXPECT_TRUE(near(dgamma, e_dgamma, tolerance<T>(tokens * width)));
  }
}

/// Outputs that are sums still: they join the stream with one rounding, and their digits count in
/// the gradients of mask and gate.
TYPED_TEST(ResidualAdd, TakesSumsThatAreNotRoundedYet) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const index_t tokens = 70, width = 33;
  const A gamma = A(0.6);
  const auto y = random_matrix<A>(tokens, width, 1);
  const auto h = random_matrix<T>(tokens, width, 2), dh = random_matrix<T>(tokens, width, 3),
             rounded = clone(h);
  const auto mask = random_vector<A>(width, 4, 0, 1);
  const View2<T> dy("elastic::test::dy", tokens, width);
  const View1<A> dmask("elastic::test::dmask", width), dgamma("elastic::test::dgamma", 1);
  auto e_h = to_double(h);
  std::vector<double> e_dmask(width), e_dgamma(1);
  const auto v_y = to_double(y), v_dh = to_double(dh), v_mask = to_double(mask);
  for (index_t i = 0; i < tokens * width; ++i) {
    e_h[i] += gamma * v_mask[i % width] * v_y[i];
    e_dmask[i % width] += gamma * v_dh[i] * v_y[i];
    e_dgamma[0] += v_dh[i] * v_mask[i % width] * v_y[i];
  }
  residual_add_forward<T, A>(ExecutionSpace(), y, mask, gamma, h);
  residual_add_backward<T, A>(ExecutionSpace(), dh, y, mask, gamma, dy, dmask, dgamma);
  EXPECT_TRUE(near(h, e_h, tolerance<T>(1)));
  EXPECT_TRUE(near(dmask, e_dmask, tolerance<T>(tokens)));
  EXPECT_TRUE(near(dgamma, e_dgamma, tolerance<T>(tokens * width)));
  residual_add_forward<T>(ExecutionSpace(), stored_as<T>(y), mask, gamma, rounded);
  EXPECT_EQ(bool(bitwise_equal(rounded, h)), (std::is_same_v<T, A>));
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
  using A = Accumulate<T>;
  const auto y = random_matrix<T>(5, 6, 1), dh = random_matrix<T>(5, 6, 2);
  residual_add_backward<T>(ExecutionSpace(), dh, y, {}, A(1), y, {}, {});  // in place
  EXPECT_TRUE(bitwise_equal(y, dh));
}

/// A gate of zero leaves the stream as it is, and still has a gradient.
TYPED_TEST(ResidualAdd, AClosedGateAddsNothing) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const auto y = random_matrix<T>(6, 10, 1), h = random_matrix<T>(6, 10, 2), before = clone(h);
  residual_add_forward<T>(ExecutionSpace(), y, {}, A(0), h);
  EXPECT_TRUE(bitwise_equal(h, before));
  const View1<A> dgamma("elastic::test::dgamma", 1);
  const View2<T> dy("elastic::test::dy", 6, 10);
  residual_add_backward<T>(ExecutionSpace(), h, y, {}, A(0), dy, {}, dgamma);
  EXPECT_NEAR(to_host(dgamma)[0], dot(h, y), tolerance<T>(60) * 60);
  for (const T value : to_host(dy)) EXPECT_EQ(value, T(0));
}

/// A 0/1 mask over the full width gives the bits of the prefix, and leaves the other channels.
TYPED_TEST(ResidualAdd, MaskedEqualsSliced) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const index_t tokens = 9, width = 40, kept = 23;
  std::vector<A> m(width, A(0));
  std::fill(m.begin(), m.begin() + kept, A(1));
  const auto mask = to_device(m), dmask = View1<A>("elastic::test::dmask", width);
  const auto y = random_matrix<T>(tokens, width, 1), h = random_matrix<T>(tokens, width, 2),
             dh = random_matrix<T>(tokens, width, 3), before = clone(h);
  const auto cut = clone(prefix(h, tokens, kept));
  residual_add_forward<T>(ExecutionSpace(), y, mask, A(0.7f), h);
  residual_add_forward<T>(ExecutionSpace(), prefix(y, tokens, kept), {}, A(0.7f), cut);
  EXPECT_TRUE(bitwise_equal(clone(prefix(h, tokens, kept)), cut));
  const auto after = to_host(h), old = to_host(before);
  for (index_t t = 0; t < tokens; ++t)
    for (index_t j = kept; j < width; ++j) EXPECT_EQ(after[t * width + j], old[t * width + j]);
  const View2<T> dy("elastic::test::dy", tokens, width), dy_cut("elastic::test::dy", tokens, kept);
  residual_add_backward<T>(ExecutionSpace(), dh, y, mask, A(0.7f), dy, dmask, {});
  residual_add_backward<T>(ExecutionSpace(), prefix(dh, tokens, kept), prefix(y, tokens, kept), {},
                           A(0.7f), dy_cut, {}, {});
  EXPECT_TRUE(bitwise_equal(clone(prefix(dy, tokens, kept)), dy_cut));
}

/// The gradient may take the place of the output, however little room a row has for what the
/// gradient of the gate keeps there.
TYPED_TEST(ResidualAdd, GradientsMayTakeThePlaceOfOutputs) {
  using T = TypeParam;
  using A = Accumulate<T>;
  for (const index_t width : {1, 2, 33}) {
    SCOPED_TRACE(fmt::format("{} columns", width));
    const auto y = random_matrix<T>(70, width, 1), dh = random_matrix<T>(70, width, 2),
               dy = clone(y), apart = random_matrix<T>(70, width, 3);
    const auto mask = random_vector<A>(width, 4, 0, 1);
    const View1<A> dmask("elastic::test::dmask", width), dgamma("elastic::test::dgamma", 1),
        dmask_apart("elastic::test::dmask", width), dgamma_apart("elastic::test::dgamma", 1);
    residual_add_backward<T>(ExecutionSpace(), dh, dy, mask, A(0.6), dy, dmask, dgamma);
    residual_add_backward<T>(ExecutionSpace(), dh, y, mask, A(0.6), apart, dmask_apart,
                             dgamma_apart);
    EXPECT_TRUE(bitwise_equal(dy, apart));
    EXPECT_TRUE(bitwise_equal(dmask, dmask_apart));
    EXPECT_TRUE(bitwise_equal(dgamma, dgamma_apart));
    const auto v_y = to_double(y), v_dh = to_double(dh), v_mask = to_double(mask);
    double sum = 0;
    for (index_t i = 0; i < 70 * width; ++i) sum += v_dh[i] * v_mask[i % width] * v_y[i];
    EXPECT_NEAR(to_host(dgamma)[0], sum, tolerance<A>(70 * width) * 70);
  }
}

TYPED_TEST(ResidualAdd, RepeatsBitwiseAndAccumulates) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const auto y = random_matrix<T>(300, 17, 1), dh = random_matrix<T>(300, 17, 2);
  const View2<T> dy("elastic::test::dy", 300, 17);
  const View1<A> once("elastic::test::once", 1), twice("elastic::test::twice", 1);
  residual_add_backward<T>(ExecutionSpace(), dh, y, {}, A(1), dy, {}, once);
  residual_add_backward<T>(ExecutionSpace(), dh, y, {}, A(1), dy, {}, twice);
  EXPECT_TRUE(bitwise_equal(once, twice));
  residual_add_backward<T>(ExecutionSpace(), dh, y, {}, A(1), dy, {}, twice);
  EXPECT_EQ(to_host(twice)[0], 2 * to_host(once)[0]);
}

TYPED_TEST(ResidualAdd, WrongExtentsAreNamed) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const ExecutionSpace exec;
  const auto y = random_matrix<T>(3, 4, 1), bad = random_matrix<T>(3, 5, 1);
  const auto vector = random_vector<A>(5, 1);
  const auto backward = [&](const View2<T>& dh, const View1<A>& mask, const View2<T>& dy,
                            const View1<A>& dmask, const View1<A>& dgamma) {
    return [=] { residual_add_backward<T>(exec, dh, y, mask, A(1), dy, dmask, dgamma); };
  };
  EXPECT_TRUE(refuses([&] { residual_add_forward<T>(exec, y, {}, A(1), bad); },
                      "h is [3, 5], expected [3, 4]"));
  EXPECT_TRUE(refuses([&] { residual_add_forward<T>(exec, y, vector, A(1), y); },
                      "mask is [5], expected [4]"));
  EXPECT_TRUE(refuses(backward(bad, {}, y, {}, {}), "dh is [3, 5]"));
  EXPECT_TRUE(refuses(backward(y, vector, y, {}, {}), "mask is [5]"));
  EXPECT_TRUE(refuses(backward(y, {}, bad, {}, {}), "dy is [3, 5]"));
  EXPECT_TRUE(refuses(backward(y, {}, y, vector, {}), "dmask is [5]"));
  EXPECT_TRUE(refuses(backward(y, {}, y, {}, vector), "dgamma is [5], expected [1]"));
}

}  // namespace
}  // namespace elastic::kernels
