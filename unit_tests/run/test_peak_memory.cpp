// SPDX-License-Identifier: Apache-2.0
// What the operating system says a run took, against the plan.
#include "run/peak_memory.hpp"

#include <gmock/gmock.h>

#include <fstream>

#include "plan/memory.hpp"
#include "run/run.hpp"
#include "unit_tests/train/small_run.hpp"

namespace elastic::test {
namespace {

/// Extents of a model whose parameters are nearly all in the vocabulary and the MLPs.
struct Size {
  const char* pattern;
  int hidden, ffn, vocab;
};
constexpr Size ten_million = {"M-*-", 256, 4096, 12000};
constexpr Size thirty_million = {"M-*-", 384, 12288, 16000};

class PeakMemory : public InFolder {
 protected:
  void SetUp() override {
#ifdef __SANITIZE_ADDRESS__
    GTEST_SKIP() << "the sanitizer keeps freed memory";
#endif
    InFolder::SetUp();
  }
  ResolvedDeck deck(const Size& size, std::vector<std::string> overrides) const {
    for (const char* more :
         {"elastic/budgets=1,0.5", "elastic/budget_names=large,small", "elastic/drop_layers=0",
          "pretrain/steps=1", "stage1/steps=1", "pretrain/seq_length=128", "stage1/seq_length=128",
          "rank/samples=1", "rank/seq_length=64", "checkpoint/save=false", "evaluate/samples=1",
          "evaluate/problems=0", "parallel/logit_chunk_tokens=32"})
      overrides.emplace_back(more);
    overrides.push_back(fmt::format("model/hybrid_layer_pattern={}", size.pattern));
    overrides.push_back(fmt::format("model/hidden_size={}", size.hidden));
    overrides.push_back(fmt::format("mlp/ffn_hidden_size={}", size.ffn));
    overrides.push_back(fmt::format("data/vocab_size={}", size.vocab));
    overrides.push_back(fmt::format("elastic/hidden_size={},{}", size.hidden, size.hidden / 2));
    overrides.push_back(fmt::format("elastic/ffn_hidden_size={},{}", size.ffn, size.ffn / 4));
    overrides.push_back("job/folder=" + (folder / "run").string());
    return small_deck(overrides);
  }
  static PlanMemory plan_of(const ResolvedDeck& deck, index_t router_parameters) {
    return plan_memory(deck.config, parent_shape(deck.config), router_parameters);
  }
  /// Runs the deck; the peak beyond what was held before.
  static double measured(const ResolvedDeck& deck) {
    std::ofstream("/proc/self/clear_refs") << "5\n";  // the peak starts anew
    const double before = resident_bytes();
    const Communicator self = Communicator::self();
    elastic::Run<Real>(self, deck, {}).execute();
    return peak_resident_bytes() - before;
  }
  /// The run against the plan, besides code and buffers of libraries that the first products and
  /// files touch: less than one copy of the parameters.
  static void check(const ResolvedDeck& deck) {
    constexpr double libraries = 30e6;
    const PlanMemory plan = plan_of(deck, 0);
    ASSERT_GT(plan.weights, libraries);
    const double peak = measured(deck);
    EXPECT_GT(peak, 0.98 * plan.total());
    EXPECT_LT(peak, 1.02 * plan.total() + libraries);
  }
};

TEST_F(PeakMemory, OfPretraining) { check(deck(ten_million, {"job/phases=pretrain"})); }

TEST_F(PeakMemory, WithoutMoments) {
  check(deck(ten_million, {"job/phases=pretrain", "pretrain/learning_rate=0"}));
}

TEST_F(PeakMemory, OfAllPhases) {
  // So large that all that is not an array, libraries included, is less than a twentieth.
  const ResolvedDeck all =
      deck(thirty_million, {"job/phases=pretrain,rank,elastic,slice,evaluate"});
  const PlanMemory plan = plan_of(all, 1000);
  ASSERT_GT(plan.total(), 0.7e9);
  ASSERT_LT(plan.total(), 1e9);
  EXPECT_NEAR(measured(all) / plan.total(), 1, 0.05);
}

TEST_F(PeakMemory, LineForPeople) {
  const Communicator self = Communicator::self();
  const std::string line = peak_memory_line(self, 0, 2 * peak_resident_bytes());
  EXPECT_THAT(line, testing::HasSubstr("(-50.0%)"));
  EXPECT_GE(peak_resident_bytes(), resident_bytes());
}

}  // namespace
}  // namespace elastic::test
