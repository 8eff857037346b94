// SPDX-License-Identifier: Apache-2.0
// Attention by the matrix units of a processor, called by name wherever the tests run: against the
// definition at extents that fill no tile, with and without units, and what changes no bit of it.
#include "kernels/attention/attention_bfloat16.hpp"

#include "unit_tests/kernels/attention/attention_problem.hpp"

namespace elastic::test {
namespace {

using kernels::Bfloat16Tiles;
using Problem = Attention<bfloat16>;

void run(const Problem& a, bool units = kernels::has_matrix_units()) {
  const Bfloat16Tiles tiles(a.shape);
  const View1<float> workspace("elastic::test::workspace",
                               std::max(tiles.forward_workspace(), tiles.backward_workspace()));
  Kokkos::deep_copy(workspace, std::numeric_limits<float>::quiet_NaN());
  kernels::attention_bfloat16_forward({}, a.shape, {a.q, a.k, a.v, a.segment}, {a.out, a.lse},
                                      workspace, units);
  kernels::attention_bfloat16_backward<bfloat16>({}, a.shape, {a.q, a.k, a.v, a.segment},
                                                 {a.out, a.lse}, a.dout, {a.dq, a.dk, a.dv},
                                                 workspace, units);
}
void expect_reference(const Problem& a) {
  const ReferenceAttention r = a.reference();
  const index_t L = a.shape.seq_length, C = a.shape.head_dim,
                heads = a.shape.num_heads / a.shape.num_groups;
  EXPECT_TRUE(near(a.out, r.out, attention_tolerance<bfloat16>(L)));
  EXPECT_TRUE(near(a.lse, r.lse, tolerance<bfloat16>(L + C)));
  EXPECT_TRUE(near(a.dq, r.dq, attention_tolerance<bfloat16>(L + C)));
  EXPECT_TRUE(near(a.dk, r.dk, attention_tolerance<bfloat16>(L * heads + C)));
  EXPECT_TRUE(near(a.dv, r.dv, attention_tolerance<bfloat16>(L * heads + C)));
}
void expect_equal(const Problem& a, const Problem& b) {
  EXPECT_TRUE(bitwise_equal(a.out, b.out));
  EXPECT_TRUE(bitwise_equal(a.lse, b.lse));
  EXPECT_TRUE(bitwise_equal(a.dq, b.dq));
  EXPECT_TRUE(bitwise_equal(a.dk, b.dk));
  EXPECT_TRUE(bitwise_equal(a.dv, b.dv));
}

/// Channels of one and a half units of depth, of less than one, of several; lengths around those of
/// strips and tiles.
TEST(AttentionBfloat16, EqualsDefinition) {
  for (const AttentionShape& shape :
       {AttentionShape{1, 37, 5, 1, 80}, AttentionShape{1, 1, 2, 2, 16},
        AttentionShape{2, 33, 2, 1, 48}, AttentionShape{1, 96, 6, 2, 64},
        AttentionShape{1, 127, 4, 4, 100}, AttentionShape{3, 65, 2, 2, 5},
        AttentionShape{1, 193, 3, 1, 128}}) {
    SCOPED_TRACE(fmt::format("B {} L {} A {} R {} C {}", shape.batch, shape.seq_length,
                             shape.num_heads, shape.num_groups, shape.head_dim));
    const Problem attention(shape);
    run(attention);
    expect_reference(attention);
  }
}

/// Documents that end inside strips and tiles, at them, and such as fill whole tiles, whose scores
/// need no mask.
TEST(AttentionBfloat16, EqualsDefinitionWithDocuments) {
  for (const index_t mean_run : {1, 20, 64, 300}) {
    SCOPED_TRACE(fmt::format("mean run {}", mean_run));
    Problem attention({2, 300, 4, 2, 80});
    attention.segment = to_device(random_segments(2, 300, mean_run));
    run(attention);
    expect_reference(attention);
  }
}

/// What units compute, plain loops do to the bit.
TEST(AttentionBfloat16, UnitsChangeNoBit) {
  Problem by_units({1, 150, 4, 2, 80});
  by_units.segment = to_device(random_segments(1, 150, 60));
  Problem plain = by_units;
  plain.allocate();
  run(by_units, true);
  run(plain, false);
  expect_equal(by_units, plain);
}

/// Documents that all scores of a tile belong to, or one: with masks and without, equal bits.
TEST(AttentionBfloat16, MasksOfWhatIsAllVisibleChangeNoBit) {
  const index_t L = 256, other = 128;
  const Problem alone({1, L, 2, 1, 64});
  run(alone);
  Problem second({1, L + other, 2, 1, 64});  // behind another document, at other places of tiles
  std::vector<token_t> segment(L + other, 0);
  std::fill(segment.begin() + other, segment.end(), 1);
  second.segment = to_device(segment);
  for (const auto member : {&Problem::q, &Problem::k, &Problem::v, &Problem::dout})
    assign(rows(second.*member, other, L + other), to_host(alone.*member));
  run(second);
  for (const auto member : {&Problem::out, &Problem::dq, &Problem::dk, &Problem::dv})
    EXPECT_TRUE(bitwise_equal(clone(rows(second.*member, other, L + other)), alone.*member));
}

/// Spans that begin inside tiles and strips have the rows of the whole.
TEST(AttentionBfloat16, RowsDoNotDependOnWhereASpanBegins) {
  const Problem whole({1, 250, 4, 2, 80});
  run(whole);
  for (const auto& [begin, end] :
       {std::pair<index_t, index_t>{0, 33}, {1, 130}, {63, 64}, {95, 250}, {192, 250}}) {
    SCOPED_TRACE(fmt::format("[{}, {})", begin, end));
    const Problem span = span_of(whole, begin, end, end);
    run(span);
    EXPECT_TRUE(bitwise_equal(span.out, rows_of_sequences(whole.out, 1, begin, end)));
    EXPECT_TRUE(bitwise_equal(span.lse, rows_of_sequences(whole.lse, 1, begin, end)));
    EXPECT_TRUE(bitwise_equal(span.dq, rows_of_sequences(whole.dq, 1, begin, end)));
  }
}

/// Whatever thread takes a sequence, and whatever it did before.
TEST(AttentionBfloat16, ASequenceOfABatchHasTheBitsOfOneAlone) {
  const index_t L = 201, many = std::max(8, ExecutionSpace().concurrency());
  Problem batch({many, L, 3, 1, 80});
  batch.segment = to_device(random_segments(many, L, 90));
  run(batch);
  for (const index_t sequence : {index_t(0), many - 1}) {
    Problem alone({1, L, 3, 1, 80});
    const auto of_sequence = [&](const auto& all) {
      return clone(rows(all, sequence * L, (sequence + 1) * L));
    };
    const auto segments = to_host(batch.segment);
    alone.segment = to_device(std::vector<token_t>(segments.begin() + sequence * L,
                                                   segments.begin() + (sequence + 1) * L));
    for (const auto member : {&Problem::q, &Problem::k, &Problem::v, &Problem::dout})
      assign(alone.*member, to_host(of_sequence(batch.*member)));
    run(alone);
    for (const auto member : {&Problem::out, &Problem::dq, &Problem::dk, &Problem::dv})
      EXPECT_TRUE(bitwise_equal(of_sequence(batch.*member), alone.*member));
  }
}

TEST(Bfloat16Tiles, WorkspacesHoldWhatTheySay) {
  const AttentionShape shape{2, 65, 6, 2, 40};
  const Bfloat16Tiles tiles(shape);
  EXPECT_EQ(tiles.rows, 48);
  EXPECT_EQ(tiles.depth, 64);
  EXPECT_EQ(tiles.query_tiles, 2);
  EXPECT_EQ(tiles.forward_workspace(), 2 * 2 * 1 * 128 * (64 + 48) / 2);
  EXPECT_EQ(tiles.backward_slot(), 128 * (2 * 48 + 64 + 2) + 128 * 2 * 48);
  EXPECT_EQ(tiles.backward_workspace(), tiles.backward_slots() * tiles.backward_slot());
  EXPECT_EQ(tiles.backward_slots(), std::min(4, ExecutionSpace().concurrency()));
  if (kernels::on_host) {
    EXPECT_EQ(kernels::attention_forward_workspace_size<bfloat16>(shape),
              tiles.forward_workspace());
    EXPECT_EQ(kernels::attention_workspace_size<bfloat16>(shape), tiles.backward_workspace());
    EXPECT_EQ(kernels::attention_forward_workspace_size<float>(shape), 0);
  }
}

}  // namespace
}  // namespace elastic::test
