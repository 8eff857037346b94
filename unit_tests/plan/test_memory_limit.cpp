// SPDX-License-Identifier: Apache-2.0
// A run that no machine of this size can hold is refused before anything is allocated.
#include "plan/memory_limit.hpp"

#include "plan/memory.hpp"
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
  const double needed = plan_memory(config, parent_shape(config), 0, 1).total();
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

}  // namespace
}  // namespace elastic::test
