// SPDX-License-Identifier: Apache-2.0
// Forward attention alone: what may not change its bits, and what it refuses. Against the
// definition, both directions together: test_attention_backward.cpp.
#include "unit_tests/kernels/attention/attention_problem.hpp"

namespace elastic::test {
namespace {

template <class T>
class AttentionForward : public testing::Test {};
using Scalars = testing::Types<bfloat16, float, double>;
TYPED_TEST_SUITE(AttentionForward, Scalars);

/// By tiles, the first L' rows of a longer sequence do not depend on what follows.
TYPED_TEST(AttentionForward, IsCausalBitwise) {
  using T = TypeParam;
  const index_t C = 16;
  Attention<T> full({1, 190, 2, 2, C});
  full.products.deterministic = true;
  full.forward();
  for (const index_t length : {1, 60, 64, 129}) {
    Attention<T> part({1, length, 2, 2, C});
    part.products = full.products;
    part.q = rows(full.q, 0, length);
    part.k = rows(full.k, 0, length);
    part.v = rows(full.v, 0, length);
    part.forward();
    EXPECT_TRUE(bitwise_equal(part.out, clone(rows(full.out, 0, length)))) << length;
  }
}

/// The weights are a softmax: with values of one every output is one, and outputs lie between the
/// smallest and the largest value.
TYPED_TEST(AttentionForward, OutputsAreMeansOfValues) {
  using T = TypeParam;
  const Attention<T> attention({2, 90, 4, 2, 12});
  attention.forward();
  const auto v = to_double(attention.v);
  const auto [low, high] = std::minmax_element(v.begin(), v.end());
  for (const double x : to_double(attention.out)) {
    ASSERT_GE(x, *low - attention_tolerance<T>(90));
    ASSERT_LE(x, *high + attention_tolerance<T>(90));
  }
  Kokkos::deep_copy(attention.v, T(1));
  attention.forward();
  EXPECT_TRUE(near(attention.out, std::vector<double>(180 * 48, 1), attention_tolerance<T>(90)));
}

/// Scores shifted by a constant for each query are the same softmax; lse takes the shift.
TYPED_TEST(AttentionForward, AConstantInAllScoresMovesLseAlone) {
  using T = TypeParam;
  const index_t tokens = 70, C = 4;
  const Attention<T> plain({1, tokens, 1, 1, C}), moved({1, tokens, 1, 1, C});
  auto q = to_host(plain.q), k = to_host(plain.k);
  for (index_t t = 0; t < tokens; ++t) k[t * C] = T(0);  // channel 0 carries the constant
  assign(plain.k, k);
  for (index_t t = 0; t < tokens; ++t) {
    k[t * C] = T(1);
    q[t * C] = T(6);
  }
  assign(moved.k, k);
  assign(moved.q, q);
  plain.forward();
  moved.forward();
  EXPECT_TRUE(near(moved.out, plain.out, attention_tolerance<T>(tokens)));
  auto lse = to_double(plain.lse);
  for (double& x : lse) x += 6 / std::sqrt(static_cast<double>(C));
  EXPECT_TRUE(near(moved.lse, lse, attention_tolerance<T>(tokens)));
}

/// A document of one token attends to itself: its value, and lse = its score.
TYPED_TEST(AttentionForward, ADocumentOfOneTokenIsItsValue) {
  using T = TypeParam;
  const index_t tokens = 130, C = 8;
  Attention<T> attention({1, tokens, 1, 1, C});
  std::vector<token_t> segment(tokens);
  for (index_t t = 0; t < tokens; ++t) segment[t] = static_cast<token_t>(t);
  attention.segment = to_device(segment);
  attention.forward();
  EXPECT_TRUE(near(attention.out, attention.v, attention_tolerance<T>(1)));
  const auto q = to_double(attention.q), k = to_double(attention.k);
  std::vector<double> score(tokens);
  for (index_t i = 0; i < tokens * C; ++i) score[i / C] += q[i] * k[i] / std::sqrt(double(C));
  EXPECT_TRUE(near(attention.lse, score, attention_tolerance<T>(C)));
}

/// Query head a reads KV head a % R: exchanging the KV heads exchanges the outputs of their
/// queries.
TYPED_TEST(AttentionForward, HeadsReadTheKvHeadOfTheirGroup) {
  using T = TypeParam;
  const index_t tokens = 40, A = 4, R = 2, C = 6;
  const Attention<T> attention({1, tokens, A, R, C}), exchanged({1, tokens, A, R, C});
  const auto exchange = [&](const View2<T>& from, const View2<T>& to, index_t heads) {
    const auto values = to_host(from);
    auto result = values;
    for (index_t t = 0; t < tokens; ++t)
      for (index_t h = 0; h < heads; ++h)
        std::copy_n(&values[(t * heads + (h ^ 1)) * C], C, &result[(t * heads + h) * C]);
    assign(to, result);
  };
  exchange(attention.q, exchanged.q, A);
  exchange(attention.k, exchanged.k, R);
  exchange(attention.v, exchanged.v, R);
  attention.forward();
  exchanged.forward();
  const View2<T> expected("elastic::test::expected", tokens, A * C);
  exchange(attention.out, expected, A);
  EXPECT_TRUE(bitwise_equal(exchanged.out, expected));
}

TYPED_TEST(AttentionForward, NoTokensAreAllowed) {
  const Attention<TypeParam> attention({0, 8, 2, 1, 4});
  EXPECT_NO_THROW(attention.run());
}

TEST(AttentionExtents, WrongOnesAreContractErrors) {
  Attention<float> attention({1, 8, 2, 2, 4});
  attention.shape.num_heads = 3;
  EXPECT_THROW(attention.forward(), ContractError);
  attention.shape.num_heads = 2;
  attention.segment = View1<token_t>("elastic::test::segment", 7);
  EXPECT_THROW(attention.forward(), ContractError);
  attention.segment = {};
  attention.shape.q_begin = 1;  // the last query would stand past the last key
  EXPECT_THROW(attention.forward(), ContractError);
  attention.shape.q_begin = 0;
  attention.k = random_matrix<float>(8, 7, 1);
  EXPECT_THROW(attention.forward(), ContractError);
}

}  // namespace
}  // namespace elastic::test
