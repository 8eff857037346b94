// SPDX-License-Identifier: Apache-2.0
// The description of Mamba-2: its tensors as they lie in memory, cost and work by hand, memory and
// messages of spans.
#include "unit_tests/arch/kind_checks.hpp"

namespace elastic::test {
namespace {

const LayerDescription& mamba() { return *find_layer_kind('M'); }

TEST(MambaKind, PartsFitTogether) { check_kind(mamba()); }

TEST(MambaKind, TensorsInOrder) {
  // D 23, H 6, P 5, G 2, N 7, W 3: E 30, G*N 14
  struct Expected {
    const char* name;
    index_t rows, columns, row_unit, column_unit;
    InitialLaw law;
  };
  using enum InitialLaw;
  const Expected expected[] = {{"in_proj.z", 30, 23, 5, 0, normal},
                               {"in_proj.x", 30, 23, 5, 0, normal},
                               {"in_proj.B", 14, 23, 7, 0, normal},
                               {"in_proj.C", 14, 23, 7, 0, normal},
                               {"in_proj.dt", 6, 23, 1, 0, normal},
                               {"conv1d.x.weight", 30, 3, 5, 0, convolution},
                               {"conv1d.x.bias", 1, 30, 0, 5, convolution},
                               {"conv1d.B.weight", 14, 3, 7, 0, convolution},
                               {"conv1d.B.bias", 1, 14, 0, 7, convolution},
                               {"conv1d.C.weight", 14, 3, 7, 0, convolution},
                               {"conv1d.C.bias", 1, 14, 0, 7, convolution},
                               {"A_log", 1, 6, 0, 1, decay_rate},
                               {"D", 1, 6, 0, 1, ones},
                               {"dt_bias", 1, 6, 0, 1, time_step},
                               {"norm.weight", 1, 30, 0, 5, ones},
                               {"out_proj", 23, 30, 0, 5, residual}};
  const auto infos = layer_tensors(one_of(mamba()), 0);
  ASSERT_EQ(infos.size(), std::size(expected));
  for (std::size_t i = 0; i < infos.size(); ++i) {
    EXPECT_EQ(infos[i].name, std::string("layers.0.mixer.") + expected[i].name);
    EXPECT_EQ(infos[i].rows, expected[i].rows) << infos[i].name;
    EXPECT_EQ(infos[i].columns, expected[i].columns) << infos[i].name;
    EXPECT_EQ(infos[i].row_unit, expected[i].row_unit) << infos[i].name;
    EXPECT_EQ(infos[i].column_unit, expected[i].column_unit) << infos[i].name;
    EXPECT_EQ(infos[i].initial, expected[i].law) << infos[i].name;
    EXPECT_EQ(infos[i].exact, 11 <= i && i <= 13) << infos[i].name;  // A_log, D, dt_bias
  }
  EXPECT_EQ(infos[4].row_dim, Dim::mamba_heads);
  EXPECT_EQ(infos[15].column_dim, Dim::mamba_inner);
  EXPECT_EQ(infos[2].row_dim, Dim::fixed) << "B is never cut";
}

TEST(MambaKind, CacheIsStateAndLastInputs) {
  const auto shape = one_of(mamba());
  const auto e = mamba().extents(shape, shape.layers[0]);
  EXPECT_EQ(mamba().cache_kind, CacheKind::state);
  for (const double length : {1.0, 1000.0})
    EXPECT_EQ(mamba().cache(shape, e, length), 30 * 7 + (30 + 28) * 2) << "any length";
}

TEST(MambaKind, ScanByHand) {
  const auto shape = one_of(mamba());  // Q 4
  const auto e = mamba().extents(shape, shape.layers[0]);
  const auto scan = [&](index_t length) { return mamba().forward_work(shape, e, {length}).scan; };
  EXPECT_EQ(scan(4), 4 * 30 * 7 + 5 * (14 + 30));
  EXPECT_EQ(scan(400), scan(4)) << "pairs inside a chunk only";
  EXPECT_EQ(scan(1), 4 * 30 * 7 + 2 * (14 + 30));
  EXPECT_EQ(mamba().backward_work(shape, e, {4}).scan, 8 * 30 * 7 + 5 * (3 * 14 + 2 * 30));
  EXPECT_EQ(mamba().forward_work(shape, e, {4}).convolution, 2 * 3 * (30 + 28));
}

TEST(MambaKind, KeptActivationsByHand) {
  const auto shape = one_of(mamba());
  const auto kept = [&](const PassTokens& t) {
    return mamba().memory(shape, shape.layers[0], t, no_workspaces).forward;
  };
  const double per_token = 5 * 30 + 4 * 14 + 4 * 6 + 2;
  EXPECT_EQ(kept({.batch = 2, .seq_length = 8}), 16 * per_token + 2 * 2 * 30 * 7) << "2 chunks";
  EXPECT_EQ(kept({.batch = 2, .seq_length = 9}), 18 * per_token + 2 * 3 * 30 * 7) << "3 chunks";
  // 2 spans of each sequence here: edges of both sides and two states of each span.
  const PassTokens spans{.batch = 2, .seq_length = 4, .ranks = 2, .slots = 2};
  EXPECT_EQ(kept(spans), 8 * per_token + 2 * 30 * 7 + 2 * 2 * 2 * (30 + 28) + 2 * 2 * 30 * 7);
}

TEST(MambaKind, SpansInTurnGatherNothing) {
  const auto shape = one_of(mamba());
  const auto backward = [&](bool in_turn, index_t ranks) {
    const PassTokens t{.batch = 8, .seq_length = 1, .ranks = ranks, .slots = 8, .in_turn = in_turn};
    return mamba().memory(shape, shape.layers[0], t, no_workspaces).backward;
  };
  EXPECT_EQ(backward(true, 100), backward(true, 1));
  EXPECT_GT(backward(false, 100), backward(false, 1)) << "states of the spans of all ranks";
}

TEST(MambaKind, WorkspacesAreAskedForWhatTheKernelsGet) {
  const auto shape = one_of(mamba());
  static KernelWorkspaces::Scan scan, all_at_once;
  static index_t convolution, norm;
  const KernelWorkspaces spies = {[](const KernelWorkspaces::Scan& s) {
                                    scan = s;
                                    return index_t{1000000};
                                  },
                                  no_workspaces.attention,
                                  [](index_t t, index_t c, index_t w) {
                                    convolution = t * 10000 + c * 100 + w;
                                    return index_t{0};
                                  },
                                  [](index_t t, index_t e, index_t g) {
                                    norm = t * 10000 + e * 100 + g;
                                    return index_t{0};
                                  },
                                  [](const KernelWorkspaces::Scan& s) {
                                    all_at_once = s;
                                    return index_t{10};
                                  }};
  const PassTokens t{.batch = 4, .seq_length = 3, .slots = 2, .in_turn = true};
  EXPECT_GE(mamba().memory(shape, shape.layers[0], t, spies).backward, 2000000) << "two blocks";
  EXPECT_EQ(mamba().memory(shape, shape.layers[0], t, spies).passing, t.sums(10));
  EXPECT_EQ(all_at_once.batch, 4) << "forward, blocks are not taken one by one";
  EXPECT_EQ(scan.batch, 2) << "of one block";
  EXPECT_EQ(scan.seq_length, 3);
  EXPECT_EQ(scan.num_heads * scan.head_dim, 30);
  EXPECT_EQ(scan.num_groups * scan.state_dim, 14);
  EXPECT_EQ(scan.chunk_size, 4);
  EXPECT_EQ(convolution, 12 * 10000 + 30 * 100 + 3);
  EXPECT_EQ(norm, 12 * 10000 + 30 * 100 + 2);
}

TEST(MambaKind, MessagesOfSpans) {
  const auto shape = one_of(mamba());
  for (const bool backward : {false, true}) {
    const auto messages = mamba().messages(shape, shape.layers[0], {8, 640, backward});
    EXPECT_THAT(messages.gathered,
                testing::ElementsAre(8 * 2 * 30, 8 * 2 * 14, 8 * 2 * 14, 8 * 30 * 7, 8 * 6));
    EXPECT_TRUE(messages.reduced.empty());
  }
}

}  // namespace
}  // namespace elastic::test
