// SPDX-License-Identifier: Apache-2.0
// Attention by batched products, called by name wherever the tests run: against the definition, the
// tiles, finite differences, and itself cut into other blocks.
#include "kernels/attention/attention_batched.hpp"

#include "unit_tests/kernels/attention/attention_problem.hpp"

namespace elastic::test {
namespace {

using kernels::ScoreBlocks;

/// Blocks of `queries` queries with room for `heads` KV heads of one sequence.
ScoreBlocks blocks_of(const AttentionShape& shape, index_t queries, index_t heads) {
  return {queries, heads * kernels::scores_of_kv_head(shape, queries, shape.num_keys())};
}

template <class T>
void forward(const Attention<T>& a, const ScoreBlocks& blocks) {
  const View1<Accumulate<T>> workspace("elastic::test::workspace", blocks.scores);
  kernels::attention_batched_forward<T>(a.products, a.shape, blocks, {a.q, a.k, a.v, a.segment},
                                        {a.out, a.lse}, workspace);
}
/// K is the type of dk and dv.
template <class T, class K>
void backward(const Attention<T>& a, const ScoreBlocks& blocks, const View2<K>& dk,
              const View2<K>& dv) {
  const index_t sums = std::is_same_v<K, Accumulate<T>> ? 0 : dk.size() + dv.size();
  const View1<Accumulate<T>> workspace("elastic::test::workspace", 2 * blocks.scores + sums);
  Kokkos::deep_copy(workspace, std::numeric_limits<float>::quiet_NaN());
  kernels::attention_batched_backward<T, K>(a.products, a.shape, blocks, {a.q, a.k, a.v, a.segment},
                                            {a.out, a.lse}, a.dout, {a.dq, dk, dv}, workspace);
}
template <class T>
void run(const Attention<T>& a, const ScoreBlocks& blocks) {
  forward(a, blocks);
  backward(a, blocks, a.dk, a.dv);
}

template <class T>
class AttentionBatched : public testing::Test {};
using Scalars = testing::Types<bfloat16, float, double>;
TYPED_TEST_SUITE(AttentionBatched, Scalars);

template <class T>
void expect_reference(const Attention<T>& attention) {
  const ReferenceAttention r = attention.reference();
  const index_t L = attention.shape.seq_length, C = attention.shape.head_dim;
  const index_t heads = attention.shape.num_heads / attention.shape.num_groups;
  EXPECT_TRUE(near(attention.out, r.out, attention_tolerance<T>(L)));
  EXPECT_TRUE(near(attention.lse, r.lse, tolerance<T>(L + C)));
  EXPECT_TRUE(near(attention.dq, r.dq, attention_tolerance<T>(L + C)));
  EXPECT_TRUE(near(attention.dk, r.dk, attention_tolerance<T>(L * heads + C)));
  EXPECT_TRUE(near(attention.dv, r.dv, attention_tolerance<T>(L * heads + C)));
}

/// Blocks that do and do not divide the length, room for one KV head, some, and all sequences.
TYPED_TEST(AttentionBatched, EqualsDefinition) {
  const std::vector<std::tuple<AttentionShape, index_t, index_t>> cases = {
      {{1, 1, 1, 1, 1}, 1, 1},    {{2, 5, 2, 1, 3}, 2, 2},     {{1, 63, 3, 3, 16}, 64, 2},
      {{2, 64, 4, 2, 32}, 32, 1}, {{3, 65, 2, 2, 17}, 64, 4},  {{1, 130, 12, 4, 20}, 50, 3},
      {{1, 200, 2, 1, 64}, 7, 1}, {{2, 70, 5, 1, 130}, 70, 2}, {{1, 300, 10, 2, 16}, 128, 2}};
  for (const auto& [shape, queries, heads] : cases) {
    SCOPED_TRACE(fmt::format("B {} L {} A {} R {} C {}, blocks of {} queries and {} heads",
                             shape.batch, shape.seq_length, shape.num_heads, shape.num_groups,
                             shape.head_dim, queries, heads));
    const Attention<TypeParam> attention(shape);
    run(attention, blocks_of(shape, queries, heads));
    expect_reference(attention);
  }
}

TYPED_TEST(AttentionBatched, EqualsDefinitionWithDocuments) {
  for (const index_t mean_run : {1, 3, 40, 150}) {
    SCOPED_TRACE(fmt::format("mean run {}", mean_run));
    Attention<TypeParam> attention({2, 210, 6, 2, 24});
    attention.segment = to_device(random_segments(2, 210, mean_run));
    run(attention, blocks_of(attention.shape, 64, 3));
    expect_reference(attention);
  }
}

TYPED_TEST(AttentionBatched, EqualsTheTiles) {
  using T = TypeParam;
  Attention<T> tiles({2, 150, 4, 2, 24});
  tiles.products.deterministic = true;
  tiles.segment = to_device(random_segments(2, 150, 50));
  Attention<T> batched = tiles;
  batched.allocate();
  tiles.run();
  run(batched, blocks_of(batched.shape, 64, 2));
  const double tol = 2 * attention_tolerance<T>(2 * 150);
  EXPECT_TRUE(near(batched.out, tiles.out, tol));
  EXPECT_TRUE(near(batched.lse, tiles.lse, tol));
  EXPECT_TRUE(near(batched.dq, tiles.dq, tol));
  EXPECT_TRUE(near(batched.dk, tiles.dk, tol));
  EXPECT_TRUE(near(batched.dv, tiles.dv, tol));
}

/// Spans of queries, whose keys end with them or with the sequence: rows are those of the whole,
/// and dk and dv add up; keys past the last query get zeros.
TYPED_TEST(AttentionBatched, SpansEqualTheSequence) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const index_t B = 2, L = 210;
  for (const bool all_keys : {false, true}) {
    Attention<T> whole({B, L, 4, 2, 20});
    whole.segment = to_device(random_segments(B, L, 60));
    run(whole, blocks_of(whole.shape, 64, 1));
    std::vector<double> dk(B * L * 40), dv(B * L * 40);
    const std::vector<index_t> borders = {0, 64, 71, 72, 200, 210};
    for (std::size_t i = 0; i + 1 < borders.size(); ++i) {
      const index_t begin = borders[i], end = borders[i + 1], keys = all_keys ? L : end;
      SCOPED_TRACE(fmt::format("[{}, {}) of {} keys", begin, end, keys));
      const Attention<T> span = span_of(whole, begin, end, keys);
      const auto dk_part = Attention<T>::template filled<A>(B * keys, 40),
                 dv_part = Attention<T>::template filled<A>(B * keys, 40);
      const ScoreBlocks blocks = blocks_of(span.shape, 48, 3);
      forward(span, blocks);
      backward(span, blocks, dk_part, dv_part);
      const double tol = attention_tolerance<T>(L);
      EXPECT_TRUE(near(span.out, rows_of_sequences(whole.out, B, begin, end), tol));
      EXPECT_TRUE(near(span.lse, rows_of_sequences(whole.lse, B, begin, end), tol));
      EXPECT_TRUE(near(span.dq, rows_of_sequences(whole.dq, B, begin, end), tol));
      const auto dk_values = to_double(dk_part), dv_values = to_double(dv_part);
      for (index_t b = 0; b < B; ++b)
        for (index_t j = 0; j < keys * 40; ++j) {
          dk[b * L * 40 + j] += dk_values[b * keys * 40 + j];
          dv[b * L * 40 + j] += dv_values[b * keys * 40 + j];
        }
    }
    EXPECT_TRUE(near(whole.dk, dk, stored_tolerance<T>(2 * L, 1) + attention_tolerance<T>(L)));
    EXPECT_TRUE(near(whole.dv, dv, stored_tolerance<T>(2 * L, 1) + attention_tolerance<T>(L)));
  }
}

TEST(AttentionByProducts, GradientsEqualFiniteDifferences) {
  Attention<double> attention({2, 75, 4, 2, 9});
  attention.segment = to_device(random_segments(2, 75, 30));
  const ScoreBlocks blocks = blocks_of(attention.shape, 32, 2);
  run(attention, blocks);
  const auto loss = [&] {
    forward(attention, blocks);
    return dot(attention.out, attention.dout);
  };
  EXPECT_LT(directional_error(loss, attention.q, attention.dq), 1e-6);
  EXPECT_LT(directional_error(loss, attention.k, attention.dk), 1e-6);
  EXPECT_LT(directional_error(loss, attention.v, attention.dv), 1e-6);
}

/// What does not hold a number and is not seen does not spread; scores of +-1e4 do not overflow.
TYPED_TEST(AttentionBatched, NanSpreadsToWhatSeesIt) {
  using T = TypeParam;
  const index_t tokens = 100, bad = 70, C = 8;
  const Attention<T> attention({1, tokens, 1, 1, C});
  auto k = to_host(attention.k);
  k[bad * C + 3] = static_cast<T>(std::numeric_limits<float>::quiet_NaN());
  k[bad * C] = static_cast<T>(1e4);
  assign(attention.k, k);
  run(attention, blocks_of(attention.shape, 40, 1));
  const auto out = to_double(attention.out), dq = to_double(attention.dq);
  for (index_t t = 0; t < tokens; ++t) {
    EXPECT_EQ(std::isnan(out[t * C]), t >= bad) << t;
    EXPECT_EQ(std::isnan(dq[t * C]), t >= bad) << t;
  }
}

TYPED_TEST(AttentionBatched, RepeatsBitwise) {
  const Attention<TypeParam> first({2, 100, 4, 2, 16}), second({2, 100, 4, 2, 16});
  const ScoreBlocks blocks = blocks_of(first.shape, 32, 2);
  run(first, blocks);
  run(second, blocks);
  for (const auto member : {&Attention<TypeParam>::out, &Attention<TypeParam>::dq,
                            &Attention<TypeParam>::dk, &Attention<TypeParam>::dv})
    EXPECT_TRUE(bitwise_equal(first.*member, second.*member));
}

TEST(AttentionByProducts, TooLittleWorkspaceIsAContractError) {
  const Attention<float> a({1, 8, 2, 2, 4});
  const ScoreBlocks blocks = blocks_of(a.shape, 8, 1);
  const View1<float> small("elastic::test::workspace", blocks.scores - 1);
  EXPECT_THROW(kernels::attention_batched_forward<float>({}, a.shape, blocks, {a.q, a.k, a.v, {}},
                                                         {a.out, a.lse}, small),
               ContractError);
  const View1<float> one("elastic::test::workspace", 2 * blocks.scores - 1);
  EXPECT_THROW((kernels::attention_batched_backward<float, float>(
                   {}, a.shape, blocks, {a.q, a.k, a.v, {}}, {a.out, a.lse}, a.dout,
                   {a.dq, a.dk, a.dv}, one)),
               ContractError);
}

/// Rows (query, head) of a prefix of heads have gaps that are not even.
TEST(AttentionByProducts, NeedsRowsWithoutGaps) {
  const AttentionShape grouped{1, 8, 4, 2, 4}, alone{1, 8, 4, 4, 4};
  const auto wide = random_matrix<float>(8, 24, 1), whole = random_matrix<float>(8, 16, 1);
  EXPECT_TRUE(kernels::rows_are_even(grouped, whole));
  EXPECT_FALSE(kernels::rows_are_even(grouped, prefix(wide, 8, 16)));
  EXPECT_TRUE(kernels::rows_are_even(alone, prefix(wide, 8, 16)));
}

}  // namespace
}  // namespace elastic::test
