// SPDX-License-Identifier: Apache-2.0
// A run that no machine of this size can hold is refused before anything is allocated.
#include "plan/memory_limit.hpp"

#include "plan/memory.hpp"
#include "plan/recomputation.hpp"
#include "unit_tests/train/small_run.hpp"

namespace elastic::test {
namespace {

std::string refusal(const std::vector<std::string>& overrides, double limit, int ranks = 1) {
  const auto deck = small_deck(overrides);
  return message_of<InputError>([&] { require_memory(deck.config, ranks, limit); });
}

TEST(MemoryLimit, TheMachineHasSome) {
  EXPECT_GT(machine_memory(), 1e8);
  EXPECT_NO_THROW(require_memory(small_deck().config, 1, machine_memory()));
}

TEST(MemoryLimit, ThePlanDecides) {
  const RunConfig config = small_deck().config;
  const ModelShape shape = parent_shape(config);
  const double needed = plan_memory(config, shape, router_size(config, shape), 1).total();
  EXPECT_NO_THROW(require_memory(config, 1, needed));
  contains(refusal({}, needed - 1), "a rank of this run needs ");
}

TEST(MemoryLimit, TheLargestPartIsNamed) {
  const double limit = 1e12;
  contains(refusal({"mlp/ffn_hidden_size=200000000", "model/hidden_size=2400",
                    "elastic/ffn_hidden_size=", "elastic/hidden_size=", "elastic/per_layer="},
                   limit),
           "weights, gradients and optimizer state: <model>");
  contains(refusal({"pretrain/seq_length=16777216", "parallel/micro_batch_size=1024",
                    "pretrain/global_batch_size=1024"},
                   limit),
           "seq_length of the stages, <parallel>/micro_batch_size");
  contains(refusal({"rank/seq_length=16777216", "rank/samples=1000000",
                    "parallel/micro_batch_size=1024", "pretrain/global_batch_size=1024"},
                   limit),
           "<rank>/seq_length");
}

TEST(MemoryLimit, TheDeckMaySayLess) {
  const RunConfig config = small_deck().config;
  const double needed = plan_memory(config, parent_shape(config), 0, 1).total();
  const auto limit = [&](double part) {
    return fmt::format("parallel/memory_limit={}", part * needed / 1e9);
  };
  contains(refusal({limit(0.1)}, 1e12), "<parallel>/memory_limit is ");
  EXPECT_NO_THROW(require_memory(small_deck({limit(1.1)}).config, 1, 1e12));
}

/// The nearest choice fits when it is made, and the keys before it are tried first.
TEST(MemoryLimit, TheNearestChoiceFits) {
  const std::vector<std::string> large = {"pretrain/seq_length=512", "stage1/seq_length=512",
                                          "parallel/micro_batch_size=4", "evaluate/samples=1",
                                          "rank/seq_length=64"};
  const RunConfig config = small_deck(large).config;
  const ModelShape shape = parent_shape(config);
  const index_t router = router_size(config, shape);
  const auto bytes = [&](std::vector<std::string> more, int ranks) {
    more.insert(more.begin(), large.begin(), large.end());
    return plan_memory(small_deck(more).config, shape, router, ranks).total();
  };
  const double recomputed = bytes({"parallel/recompute=true"}, 1);
  const auto nearest = [&](double limit) { return nearest_fit(config, shape, 1, limit); };
  contains(nearest(1.0001 * recomputed), "nearest that fits: <parallel>/recompute = true: ");
  contains(nearest(0.9999 * recomputed),
           "<parallel>/recompute = true, <parallel>/micro_batch_size = 2: ");
  contains(nearest(1000), "no choice of <parallel> fits; the least is ");
}

}  // namespace
}  // namespace elastic::test
