// SPDX-License-Identifier: Apache-2.0
// What the operating system says a run took, against the plan.
#include "train/peak_memory.hpp"

#include <gmock/gmock.h>

#include <fstream>

#include "train/plan_memory.hpp"
#include "train/run.hpp"
#include "unit_tests/train/small_run.hpp"

namespace elastic::test {
namespace {

class PeakMemory : public InFolder {
 protected:
  /// Ten million parameters, nearly all in the vocabulary and the MLP.
  ResolvedDeck deck(const std::string& name, std::vector<std::string> overrides) const {
    for (const char* more :
         {"model/hybrid_layer_pattern=M-*-", "model/hidden_size=256", "mlp/ffn_hidden_size=4096",
          "data/vocab_size=12000", "elastic/hidden_size=256,128",
          "elastic/ffn_hidden_size=4096,1024", "elastic/budgets=1,0.42",
          "elastic/budget_names=large,small", "elastic/drop_layers=0", "pretrain/steps=1",
          "stage1/steps=1", "pretrain/seq_length=128", "stage1/seq_length=128", "rank/samples=1",
          "rank/seq_length=64", "checkpoint/save=false", "evaluate/samples=1",
          "evaluate/problems=0", "parallel/logit_chunk_tokens=32"})
      overrides.emplace_back(more);
    overrides.push_back("job/folder=" + (folder / name).string());
    return small_deck(overrides);
  }
  /// Runs the deck; the peak beyond what was held before, against the plan.
  void check(const ResolvedDeck& deck, index_t router_parameters) {
    // Code and buffers of libraries that the first products and files touch; less than one copy of
    // the parameters.
    constexpr double libraries = 30e6;
    std::ofstream("/proc/self/clear_refs") << "5\n";  // the peak starts anew
    const double before = resident_bytes();
    const Communicator self = Communicator::self();
    elastic::Run(self, deck, false).execute();
    const PlanMemory plan = plan_memory(deck.config, parent_shape(deck.config), router_parameters);
    ASSERT_GT(plan.weights, libraries);
    const double measured = peak_resident_bytes() - before;
    EXPECT_GT(measured, 0.98 * plan.total());
    EXPECT_LT(measured, 1.02 * plan.total() + libraries);
  }
};

TEST_F(PeakMemory, OfPretraining) { check(deck("run", {"job/phases=pretrain"}), 0); }

TEST_F(PeakMemory, WithoutMoments) {
  check(deck("run", {"job/phases=pretrain", "pretrain/learning_rate=0"}), 0);
}

TEST_F(PeakMemory, LineForPeople) {
  const Communicator self = Communicator::self();
  const std::string line = peak_memory_line(self, 0, 2 * peak_resident_bytes());
  EXPECT_THAT(line, testing::HasSubstr("(-50.0%)"));
  EXPECT_GE(peak_resident_bytes(), resident_bytes());
}

}  // namespace
}  // namespace elastic::test
