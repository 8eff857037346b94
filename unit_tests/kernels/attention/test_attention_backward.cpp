// SPDX-License-Identifier: Apache-2.0
// Backward attention, and both directions together: against the definition, PyTorch, finite
// differences, itself in pieces.
#include "unit_tests/kernels/attention/attention_problem.hpp"

namespace elastic::test {
namespace {

template <class T>
class AttentionTest : public testing::Test {};
using Scalars = testing::Types<bfloat16, float, double>;
TYPED_TEST_SUITE(AttentionTest, Scalars);

template <class T>
void expect_reference(const Attention<T>& attention) {
  attention.run();
  const ReferenceAttention r = attention.reference();
  const index_t L = attention.shape.seq_length, C = attention.shape.head_dim;
  const index_t heads = attention.shape.num_heads / attention.shape.num_groups;
  EXPECT_TRUE(near(attention.out, r.out, attention_tolerance<T>(L)));
  EXPECT_TRUE(near(attention.lse, r.lse, attention_tolerance<T>(L + C)));
  EXPECT_TRUE(near(attention.dq, r.dq, attention_tolerance<T>(L + C)));
  EXPECT_TRUE(near(attention.dk, r.dk, attention_tolerance<T>(L * heads + C)));
  EXPECT_TRUE(near(attention.dv, r.dv, attention_tolerance<T>(L * heads + C)));
}

/// Lengths and channels that do and do not fill tiles, blocks and vectors.
TYPED_TEST(AttentionTest, EqualsDefinition) {
  for (const AttentionShape& shape :
       {AttentionShape{1, 1, 1, 1, 1}, AttentionShape{2, 5, 2, 1, 3},
        AttentionShape{1, 63, 3, 3, 16}, AttentionShape{2, 64, 4, 2, 32},
        AttentionShape{1, 65, 2, 2, 17}, AttentionShape{1, 130, 4, 2, 20},
        AttentionShape{1, 200, 2, 1, 64}, AttentionShape{1, 70, 1, 1, 130}}) {
    SCOPED_TRACE(fmt::format("L {} A {} R {} C {}", shape.seq_length, shape.num_heads,
                             shape.num_groups, shape.head_dim));
    expect_reference(Attention<TypeParam>(shape));
  }
}

TYPED_TEST(AttentionTest, EqualsDefinitionWithSegments) {
  for (const index_t mean_run : {3, 40, 150}) {
    SCOPED_TRACE(fmt::format("mean run {}", mean_run));
    Attention<TypeParam> attention({2, 210, 4, 2, 24});
    attention.segment = to_device(random_segments(2, 210, mean_run));
    expect_reference(attention);
  }
}

template <class T>
class AttentionOfPyTorch : public testing::Test {};
using ExactScalars = testing::Types<float, double>;
TYPED_TEST_SUITE(AttentionOfPyTorch, ExactScalars);

TYPED_TEST(AttentionOfPyTorch, IsOurs) {
  using T = TypeParam;
  const Fixture f("attention.h5");
  const auto extents = f.vector<index_t>("shape");
  const auto e = to_host(extents);
  Attention<T> attention({e[0], e[1], e[2], e[3], e[4]});
  attention.q = f.matrix<T>("q");
  attention.k = f.matrix<T>("k");
  attention.v = f.matrix<T>("v");
  attention.dout = f.matrix<T>("dout");
  attention.segment = f.tokens("segment");
  attention.run();
  const double tol = attention_tolerance<T>(attention.shape.seq_length);
  EXPECT_TRUE(near(attention.out, f.matrix<double>("out"), tol));
  EXPECT_TRUE(near(attention.lse, f.matrix<double>("lse"), tol));
  EXPECT_TRUE(near(attention.dq, f.matrix<double>("dq"), tol));
  EXPECT_TRUE(near(attention.dk, f.matrix<double>("dk"), tol));
  EXPECT_TRUE(near(attention.dv, f.matrix<double>("dv"), tol));
}

TEST(Attention, GradientsEqualFiniteDifferences) {
  Attention<double> attention({2, 75, 4, 2, 9});
  attention.segment = to_device(random_segments(2, 75, 30));
  attention.run();
  const auto loss = [&] {
    attention.forward();
    return dot(attention.out, attention.dout);
  };
  EXPECT_LT(directional_error(loss, attention.q, attention.dq), 1e-6);
  EXPECT_LT(directional_error(loss, attention.k, attention.dk), 1e-6);
  EXPECT_LT(directional_error(loss, attention.v, attention.dv), 1e-6);
}

/// Scores of +-1e4 neither overflow nor lose the largest term.
TYPED_TEST(AttentionTest, LargeScoresAreFinite) {
  using T = TypeParam;
  const Attention<T> attention({1, 80, 2, 1, 16});
  for (const auto& view : each_of(attention.q, attention.k)) {
    auto values = to_host(view);
    for (T& x : values) x = static_cast<T>(50 * widen(x));
    assign(view, values);
  }
  attention.run();
  for (const auto& view : each_of(attention.out, attention.dq, attention.dk, attention.dv))
    for (const double x : to_double(view)) ASSERT_TRUE(std::isfinite(x));
  for (const double x : to_double(attention.lse)) ASSERT_TRUE(std::isfinite(x));
  EXPECT_TRUE(near(attention.out, attention.reference().out, 1e4 * attention_tolerance<T>(16)));
}

/// A key that is not a number is not passed over: all that see it, and nothing else, is NaN.
TYPED_TEST(AttentionTest, NanSpreadsToWhatSeesIt) {
  using T = TypeParam;
  const index_t tokens = 100, bad = 70, C = 8;
  const Attention<T> attention({1, tokens, 1, 1, C});
  auto k = to_host(attention.k);
  k[bad * C + 3] = static_cast<T>(std::numeric_limits<float>::quiet_NaN());
  assign(attention.k, k);
  attention.run();
  const auto out = to_double(attention.out), dq = to_double(attention.dq);
  for (index_t t = 0; t < tokens; ++t) {
    EXPECT_EQ(std::isnan(out[t * C]), t >= bad) << t;
    EXPECT_EQ(std::isnan(dq[t * C]), t >= bad) << t;
  }
}

TYPED_TEST(AttentionTest, RepeatsBitwise) {
  const Attention<TypeParam> first({2, 100, 4, 2, 16}), second({2, 100, 4, 2, 16});
  first.run();
  second.run();
  EXPECT_TRUE(bitwise_equal(first.out, second.out));
  EXPECT_TRUE(bitwise_equal(first.dq, second.dq));
  EXPECT_TRUE(bitwise_equal(first.dk, second.dk));
  EXPECT_TRUE(bitwise_equal(first.dv, second.dv));
}

/// k heads in every group: the first k*R heads of the wide problem through strided Views equal the
/// small problem bit by bit, by the tiles of the deterministic route.
TYPED_TEST(AttentionTest, PrefixOfHeadsIsTheSmallProblem) {
  using T = TypeParam;
  const index_t tokens = 90, R = 2, C = 12, wide_heads = 6;
  const Attention<T> wide({1, tokens, wide_heads, R, C});
  const kernels::Products deterministic{.deterministic = true};
  for (const index_t heads : {2, 4}) {
    Attention<T> part({1, tokens, heads, R, C});
    const auto narrow = [&](const View2<T>& view) { return prefix(view, tokens, heads * C); };
    part.products = deterministic;
    part.q = narrow(wide.q);
    part.k = wide.k;
    part.v = wide.v;
    part.dout = narrow(wide.dout);
    part.out = narrow(wide.out);
    part.dq = narrow(wide.dq);
    part.lse = prefix(wide.lse, tokens, heads);
    part.run();
    Attention<T> small({1, tokens, heads, R, C});
    small.products = deterministic;
    small.q = clone(part.q);
    small.k = clone(part.k);
    small.v = clone(part.v);
    small.dout = clone(part.dout);
    small.run();
    EXPECT_TRUE(bitwise_equal(part.out, small.out));
    EXPECT_TRUE(bitwise_equal(part.lse, small.lse));
    EXPECT_TRUE(bitwise_equal(part.dq, small.dq));
    EXPECT_TRUE(bitwise_equal(part.dk, small.dk));
    EXPECT_TRUE(bitwise_equal(part.dv, small.dv));
    EXPECT_TRUE(std::isnan(to_double(wide.out)[heads * C]));
  }
}

/// Spans of queries, at tiles and elsewhere, against all keys up to their end or to that of the
/// sequence, by tiles: rows have the bits of the whole sequence, dk and dv add up to those of the
/// whole.
TYPED_TEST(AttentionTest, SpansEqualTheSequence) {
  using T = TypeParam;
  const index_t B = 2, L = 210;
  for (const index_t mean_run : {0, 3, 60})
    for (const bool all_keys : {false, true}) {
      Attention<T> whole({B, L, 4, 2, 20});
      whole.products.deterministic = true;
      if (mean_run > 0) whole.segment = to_device(random_segments(B, L, mean_run));
      whole.run();
      std::vector<double> dk(B * L * 40), dv(B * L * 40);
      const std::vector<index_t> borders = {0, 64, 71, 72, 103, 128, 200, 210};
      for (std::size_t i = 0; i + 1 < borders.size(); ++i) {
        const index_t begin = borders[i], end = borders[i + 1], keys = all_keys ? L : end;
        SCOPED_TRACE(fmt::format("[{}, {}) of {} keys, mean run {}", begin, end, keys, mean_run));
        const Attention<T> span = span_of(whole, begin, end, keys);
        span.run();
        EXPECT_TRUE(bitwise_equal(span.out, rows_of_sequences(whole.out, B, begin, end)));
        EXPECT_TRUE(bitwise_equal(span.lse, rows_of_sequences(whole.lse, B, begin, end)));
        EXPECT_TRUE(bitwise_equal(span.dq, rows_of_sequences(whole.dq, B, begin, end)));
        const auto dk_part = to_double(span.dk), dv_part = to_double(span.dv);
        for (index_t b = 0; b < B; ++b)
          for (index_t j = 0; j < keys * 40; ++j) {
            const index_t from = b * keys * 40 + j, to = b * L * 40 + j;
            if (j >= end * 40) {
              ASSERT_EQ(dk_part[from], 0) << j;  // no query sees it
            }
            dk[to] += dk_part[from];
            dv[to] += dv_part[from];
          }
      }
      const auto parts = static_cast<int>(borders.size()) - 1;  // each rounded by itself
      EXPECT_TRUE(near(whole.dk, dk, stored_tolerance<T>(2 * L, parts)));
      EXPECT_TRUE(near(whole.dv, dv, stored_tolerance<T>(2 * L, parts)));
    }
}

/// Gradients of one span alone, with a loss that only it knows.
TEST(Attention, GradientsOfASpanEqualFiniteDifferences) {
  Attention<double> whole({2, 90, 4, 2, 9});
  whole.segment = to_device(random_segments(2, 90, 40));
  const Attention<double> span = span_of(whole, 41, 77, 85);
  span.run();
  const auto loss = [&] {
    span.forward();
    return dot(span.out, span.dout);
  };
  EXPECT_LT(directional_error(loss, span.q, span.dq), 1e-6);
  EXPECT_LT(directional_error(loss, span.k, span.dk), 1e-6);
  EXPECT_LT(directional_error(loss, span.v, span.dv), 1e-6);
}

TYPED_TEST(AttentionTest, DocumentsDoNotSeeEachOther) {
  using T = TypeParam;
  const index_t tokens = 150, end_a = 83, kv = 2 * 16, wide = 4 * 16;
  std::vector<token_t> segment(tokens, 0);
  std::fill(segment.begin() + end_a, segment.end(), 1);
  Attention<T> packed({1, tokens, 4, 2, 16});
  packed.segment = to_device(segment);
  packed.run();

  // packed = separate
  for (const auto& [begin, end] : {std::pair<index_t, index_t>{0, end_a}, {end_a, tokens}}) {
    Attention<T> alone({1, end - begin, 4, 2, 16});
    alone.q = clone(rows(packed.q, begin, end));
    alone.k = clone(rows(packed.k, begin, end));
    alone.v = clone(rows(packed.v, begin, end));
    alone.dout = clone(rows(packed.dout, begin, end));
    alone.run();
    ASSERT_EQ(alone.dk.extent(1), static_cast<std::size_t>(kv));
    ASSERT_EQ(alone.dq.extent(1), static_cast<std::size_t>(wide));
    EXPECT_TRUE(
        near(alone.out, clone(rows(packed.out, begin, end)), attention_tolerance<T>(tokens)));
    EXPECT_TRUE(near(alone.dq, clone(rows(packed.dq, begin, end)), attention_tolerance<T>(tokens)));
    EXPECT_TRUE(near(alone.dk, clone(rows(packed.dk, begin, end)), attention_tolerance<T>(tokens)));
    EXPECT_TRUE(near(alone.dv, clone(rows(packed.dv, begin, end)), attention_tolerance<T>(tokens)));
  }

  const auto b_out = clone(rows(packed.out, end_a, tokens)),
             b_dq = clone(rows(packed.dq, end_a, tokens)),
             b_dk = clone(rows(packed.dk, end_a, tokens)),
             b_dv = clone(rows(packed.dv, end_a, tokens));

  // changing the last token of document A leaves document B as it is, bit by bit
  for (const auto& view : each_of(packed.q, packed.k, packed.v, packed.dout)) {
    auto values = to_host(view);
    const index_t columns = view.extent(1);
    for (index_t c = 0; c < columns; ++c) {
      T& value = values[(end_a - 1) * columns + c];
      value = static_cast<T>(3 + widen(value));
    }
    assign(view, values);
  }
  packed.run();
  EXPECT_TRUE(bitwise_equal(clone(rows(packed.out, end_a, tokens)), b_out));
  EXPECT_TRUE(bitwise_equal(clone(rows(packed.dq, end_a, tokens)), b_dq));
  EXPECT_TRUE(bitwise_equal(clone(rows(packed.dk, end_a, tokens)), b_dk));
  EXPECT_TRUE(bitwise_equal(clone(rows(packed.dv, end_a, tokens)), b_dv));
}

/// Gradients of keys and values as sums that are not rounded yet: rounded, they are the bits that
/// come without.
TYPED_TEST(AttentionTest, GivesSumsOfKeyGradientsThatAreNotRoundedYet) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const Attention<T> attention({2, 130, 4, 2, 20});
  attention.run();
  const auto dq = random_matrix<T>(260, 80, 7);
  const auto dk = random_matrix<A>(260, 40, 8), dv = random_matrix<A>(260, 40, 9);
  kernels::attention_backward<T, A>(
      attention.products, attention.shape, {attention.q, attention.k, attention.v, {}},
      {attention.out, attention.lse}, attention.dout, {dq, dk, dv}, attention.workspace());
  EXPECT_TRUE(bitwise_equal(dq, attention.dq));
  EXPECT_TRUE(bitwise_equal(stored_as<T>(dk), attention.dk));
  EXPECT_TRUE(bitwise_equal(stored_as<T>(dv), attention.dv));
  const auto r = attention.reference();
  EXPECT_TRUE(near(dk, r.dk, attention_tolerance<T>(130)));
  EXPECT_TRUE(near(dv, r.dv, attention_tolerance<T>(130)));
}

TEST(Attention, TooLittleWorkspaceIsAContractError) {
  const Attention<float> attention({1, 8, 2, 2, 4});
  const index_t size = kernels::attention_workspace_size<float>(attention.shape);
  EXPECT_NO_THROW(attention.backward(View1<float>("elastic::test::workspace", size)));
  EXPECT_THROW(attention.backward(View1<float>("elastic::test::workspace", size - 1)),
               ContractError);
}

TEST(Attention, GradientsMustHaveTheExtentsOfTheirOperands) {
  Attention<float> attention({1, 8, 4, 2, 4});
  for (const auto member : {&Attention<float>::dout, &Attention<float>::dq, &Attention<float>::dk,
                            &Attention<float>::dv, &Attention<float>::lse}) {
    Attention<float> bad = attention;
    bad.*member = random_matrix<float>(8, (attention.*member).extent_int(1) + 1, 1);
    EXPECT_THROW(bad.backward(), ContractError);
  }
  EXPECT_NO_THROW(attention.backward());
}

}  // namespace
}  // namespace elastic::test
