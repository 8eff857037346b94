// SPDX-License-Identifier: Apache-2.0
// From the third step of a stage on, nothing is allocated by Kokkos, in any kind of training.
#include <gmock/gmock.h>

#include "unit_tests/train/followed_run.hpp"

namespace elastic::test {
namespace {

/// What Kokkos allocates while one of these lives, by name.
class Allocations {
 public:
  Allocations() {
    names().clear();
    Kokkos::Tools::Experimental::set_allocate_data_callback(
        [](Kokkos_Profiling_SpaceHandle, const char* name, const void*, std::uint64_t bytes) {
          names().push_back(fmt::format("{} ({} bytes)", name, bytes));
        });
  }
  ~Allocations() { Kokkos::Tools::Experimental::set_allocate_data_callback(nullptr); }
  Allocations(const Allocations&) = delete;
  Allocations& operator=(const Allocations&) = delete;

  static std::vector<std::string>& names() {
    static std::vector<std::string> instance;
    return instance;
  }
};

template <class T>
struct SteadyRun {
  explicit SteadyRun(const ResolvedDeck& resolved)
      : deck(resolved),
        curriculum(make_curriculum(deck.config)),
        state(make_parent<T>(deck.config)) {}

  void step() { train.run(state); }
  void begin_elastic() {
    elastic::begin_elastic(deck.config, random_ranking(state.model->shape()), state);
  }
  /// Two steps, then two more that allocate nothing.
  void check(const std::string& what) {
    SCOPED_TRACE(what);
    step();
    step();
    const Allocations allocations;
    step();
    step();
    EXPECT_THAT(allocations.names(), testing::IsEmpty());
  }

  ResolvedDeck deck;
  Curriculum curriculum;
  TrainState<T> state;
  ProcessGrid grid{Communicator::self(), {}};
  Arena arena;
  TrainStep<T> train{grid, deck.config, curriculum, arena};
};

/// Four steps of the parent and four of each elastic stage, of several micro-batches and budgets.
template <class T>
void check_run(const Overrides& overrides) {
  SteadyRun<T> run(read_run_config(
      small_deck_text + second_stage, "small.in",
      joined({"optimizer/clip_grad_norm=0.5", "pretrain/steps=4", "stage1/steps=4",
              "stage2/steps=4", "stage1/budgets_per_sample=3", "stage2/budgets_per_sample=2",
              "distill/distillation_weight=0.7", "distill/cross_entropy_weight=0.3",
              "router/hard_sample_probability=0.3", "parallel/micro_batch_size=1",
              "parallel/logit_chunk_tokens=32"},
             overrides)));
  run.check("parent");
  run.begin_elastic();
  run.check("first stage");
  run.check("second stage");
}

template <class T>
class SteadySteps : public testing::Test {};
using Types = testing::Types<float, bfloat16>;
TYPED_TEST_SUITE(SteadySteps, Types);

TYPED_TEST(SteadySteps, WithAFrozenTeacher) { check_run<TypeParam>({}); }
TYPED_TEST(SteadySteps, WithATrainableTeacherAndRecomputation) {
  check_run<TypeParam>({"stage1/teacher=trainable", "stage1/teacher_cross_entropy_weight=0.5",
                        "stage2/teacher=trainable", "stage2/teacher_cross_entropy_weight=0.5",
                        "parallel/recompute=true"});
}
TYPED_TEST(SteadySteps, WithFixedWidths) {
  check_run<TypeParam>({"router/widths=homogeneous", "elastic/per_layer="});
}
TYPED_TEST(SteadySteps, InDeterministicMode) { check_run<TypeParam>({"job/deterministic=true"}); }

}  // namespace
}  // namespace elastic::test
