// SPDX-License-Identifier: Apache-2.0
// Ranks that share out the calibration sequences, or the tensors of the parent, rank it as one rank
// alone: in deterministic mode the scores have the same bits.
#include <unistd.h>

#include <filesystem>

#include "unit_tests/train/importance_reference.hpp"

namespace elastic::test {
namespace {

void expect_equal(const Ranking& a, const Ranking& b, const std::string& what) {
  EXPECT_EQ(a.hidden, b.hidden) << what;
  EXPECT_EQ(a.units, b.units) << what;
  EXPECT_EQ(a.channels, b.channels) << what;
  EXPECT_EQ(a.drop_order, b.drop_order) << what;
}

/// Ranks with all ranks of the world and alone.
void check(const Overrides& layout, const Overrides& measure) {
  const ResolvedDeck deck = ranked_deck(with(measure, layout)), single = ranked_deck(measure);
  auto world = Communicator::world();
  world.set_deterministic(deck.config.job.deterministic);
  const ProcessGrid grid(world, parallel_sizes(deck.config));
  Arena arena;
  const TrainState<Real> together = make_parent<Real>(deck.config, grid, Weights::initial),
                         alone = make_parent<Real>(single.config);
  ImportancePass<Real> pass(grid, deck.config, arena);
  const std::string what = testing::PrintToString(layout) + " " + testing::PrintToString(measure);
  expect_equal(pass.ranking(*together.model), rank(single.config, *alone.model), what);

  const ProcessGrid self(Communicator::self(), {});
  const auto shared = pass.width_scores(*together.model),
             whole = ImportancePass<Real>(self, single.config, arena).width_scores(*alone.model);
  EXPECT_EQ(shared.hidden, whole.hidden) << what;
  EXPECT_EQ(shared.squares, whole.squares) << what;
}

/// Each rank writes files of its own, all alike.
class MaskedData {
 public:
  MaskedData() { std::filesystem::create_directories(m_folder); }
  ~MaskedData() { std::filesystem::remove_all(m_folder); }
  Overrides overrides() const { return masked_data((m_folder / "data").string()); }

 private:
  std::filesystem::path m_folder =
      std::filesystem::temp_directory_path() / fmt::format("elastic_masked_{}", ::getpid());
};

TEST(ImportancePassOnRanks, RankTheParentAsOneRankDoes) {
  const index_t ranks = Communicator::world().size();
  for (const Overrides& layout : {Overrides{},
                                  {fmt::format("parallel/context_parallel_size={}", ranks)},
                                  {fmt::format("parallel/tensor_parallel_size={}", ranks)},
                                  {fmt::format("parallel/tensor_parallel_size={}", ranks),
                                   "parallel/sequence_parallel=true"}})
    for (const Overrides& measure :
         {Overrides{},
          {"rank/aggregation=sum", "rank/activations=projections", "rank/depth_measure=cosine"},
          {"rank/order=reversed", "rank/depth_candidates=2"},
          {"rank/order=random"}})
      check(layout, with({"job/deterministic=true"}, measure));
}

TEST(ImportancePassOnRanks, RankByTheSameTargetsAsOneRankDoes) {
  const index_t ranks = Communicator::world().size();
  const MaskedData files;
  const Overrides data = files.overrides();
  for (const Overrides& layout : {Overrides{},
                                  {fmt::format("parallel/tensor_parallel_size={}", ranks),
                                   "parallel/sequence_parallel=true"}})
    for (const char* measure : {"logit_nmse", "cosine"})
      check(layout,
            with(data, {"job/deterministic=true", fmt::format("rank/depth_measure={}", measure)}));
}

TEST(ImportancePassOnRanks, EveryRankOfAReplicaSeesAnErrorOfOne) {
  const index_t ranks = Communicator::world().size();
  const ResolvedDeck deck = ranked_deck({fmt::format("parallel/tensor_parallel_size={}", ranks)});
  const ProcessGrid grid(Communicator::world(), parallel_sizes(deck.config));
  Arena arena;
  const TrainState<Real> state = make_parent<Real>(deck.config, grid, Weights::initial);
  if (grid.world.rank() == 0)
    scale(*state.model, "layers.3.mixer.in_proj.x", std::numeric_limits<float>::infinity());
  EXPECT_THROW(ImportancePass<Real>(grid, deck.config, arena).ranking(*state.model), NumericsError);
}

}  // namespace
}  // namespace elastic::test
