// SPDX-License-Identifier: Apache-2.0
// The description of attention: tensors, the cache that grows with the text, causal pairs, masks
// of heads, keys of spans.
#include "unit_tests/arch/kind_checks.hpp"

namespace elastic::test {
namespace {

const LayerDescription& attention() { return *find_layer_kind('*'); }

TEST(AttentionKind, PartsFitTogether) { check_kind(attention()); }

TEST(AttentionKind, TensorsInOrder) {
  // D 23, A 6, C 8, R 3
  const auto infos = layer_tensors(one_of(attention()), 0);
  ASSERT_EQ(infos.size(), 4u);
  const index_t rows[] = {48, 24, 24, 23}, columns[] = {23, 23, 23, 48};
  const char* names[] = {"q_proj", "k_proj", "v_proj", "o_proj"};
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(infos[i].name, std::string("layers.0.mixer.") + names[i]);
    EXPECT_EQ(infos[i].rows, rows[i]);
    EXPECT_EQ(infos[i].columns, columns[i]);
    EXPECT_EQ(infos[i].row_unit + infos[i].column_unit, 8) << "whole heads";
  }
  EXPECT_EQ(infos[0].row_dim, Dim::attention_inner);
  EXPECT_EQ(infos[1].row_dim, Dim::fixed) << "KV heads are all kept";
  EXPECT_EQ(infos[3].initial, InitialLaw::residual);
  EXPECT_EQ(infos[0].initial, InitialLaw::normal);
}

TEST(AttentionKind, CacheGrowsWithTheText) {
  const auto shape = one_of(attention());
  const auto e = attention().extents(shape, shape.layers[0]);
  EXPECT_EQ(attention().cache_kind, CacheKind::keys_values);
  EXPECT_EQ(attention().cache(shape, e, 10), 10 * 2 * 24);
  EXPECT_EQ(attention().cache(shape, e, 0), 0);
}

TEST(AttentionKind, CausalPairs) {
  const auto shape = one_of(attention());
  const auto e = attention().extents(shape, shape.layers[0]);
  // (L + 1) / 2 pairs per token, 2 products of C each, 2 operations per multiply-add.
  EXPECT_EQ(attention().forward_work(shape, e, {9}).attention, 2 * 48 * 10);
  EXPECT_EQ(attention().backward_work(shape, e, {9}).attention, 5 * 48 * 10);
}

TEST(AttentionKind, MasksCostMemoryAndTraffic) {
  const auto shape = one_of(attention());
  const auto e = attention().extents(shape, shape.layers[0]);
  EXPECT_EQ(attention().forward_work(shape, e, {9, false}).elements, 0);
  EXPECT_EQ(attention().forward_work(shape, e, {9, true}).elements, 2 * 48);
  EXPECT_EQ(attention().backward_work(shape, e, {9, true}).elements, 3 * 48);
  const auto kept = [&](bool masked) {
    const PassTokens t{.batch = 2, .seq_length = 5, .masked_heads = masked};
    return attention().memory(shape, shape.layers[0], t, no_workspaces).forward;
  };
  EXPECT_EQ(kept(true) - kept(false), 10 * 48);
  EXPECT_EQ(kept(false), 10 * (2 * 48 + 2 * 24 + 6));
}

TEST(AttentionKind, WorkspaceOfWholeSequencesAndOfSpans) {
  const auto shape = one_of(attention());
  static KernelWorkspaces::Attention asked;
  KernelWorkspaces spies = no_workspaces;
  spies.attention = [](const KernelWorkspaces::Attention& a) {
    asked = a;
    return index_t{0};
  };
  const auto backward = [&](const PassTokens& t) {
    return attention().memory(shape, shape.layers[0], t, spies).backward;
  };
  const double own = 20 * (2 * 48 + 2 * 24);
  EXPECT_EQ(backward({.batch = 2, .seq_length = 10}), own);
  EXPECT_EQ(asked.batch, 2);
  EXPECT_EQ(asked.kv_length, 0) << "as many keys as queries";
  // 2 spans of 5 of each of 2 sequences here, on 3 ranks: sequences of 30.
  EXPECT_EQ(backward({.batch = 4, .seq_length = 5, .ranks = 3, .slots = 2}),
            own + (2 + 4 + 1) * 3 * 20 * 24);
  EXPECT_EQ(asked.batch, 2);
  EXPECT_EQ(asked.seq_length, 5);
  EXPECT_EQ(asked.kv_length, 30);
}

TEST(AttentionKind, ScoresOfAForwardPassComeAndGo) {
  const auto shape = one_of(attention());
  KernelWorkspaces spies = no_workspaces;
  spies.attention_forward = [](const KernelWorkspaces::Attention& a) { return a.batch * 100; };
  const PassTokens t{.batch = 2, .seq_length = 10, .sum_size = 2};
  const auto with = attention().memory(shape, shape.layers[0], t, spies),
             without = attention().memory(shape, shape.layers[0], t, no_workspaces);
  EXPECT_EQ(with.passing, t.sums(200));
  EXPECT_EQ(with.forward, without.forward);
  EXPECT_EQ(with.backward, without.backward);
}

TEST(AttentionKind, KeysOfAllSpansAreGathered) {
  const auto shape = one_of(attention());
  const auto forward = attention().messages(shape, shape.layers[0], {8, 640, false}),
             backward = attention().messages(shape, shape.layers[0], {8, 640, true});
  EXPECT_THAT(forward.gathered, testing::ElementsAre(640 * 24, 640 * 24));
  EXPECT_TRUE(forward.reduced.empty());
  EXPECT_EQ(backward.gathered, forward.gathered);
  EXPECT_THAT(backward.reduced, testing::ElementsAre(640 * 24, 640 * 24));
}

TEST(AttentionKind, OnlyHeadsAreElastic) {
  EXPECT_EQ(attention().width_axis, Axis::attention_heads);
  EXPECT_FALSE(attention().channel_axis.has_value());
  EXPECT_FALSE(attention().unit_mask);
  EXPECT_FALSE(attention().group_norm);
}

}  // namespace
}  // namespace elastic::test
