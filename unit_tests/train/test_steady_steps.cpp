// SPDX-License-Identifier: Apache-2.0
// From the third step of a stage on, Kokkos allocates nothing, in any kind of training; and a
// micro-batch waits for the device once.
#include <fmt/ranges.h>
#include <gmock/gmock.h>

#include "unit_tests/train/followed_run.hpp"

namespace elastic::test {
namespace {

/// What Kokkos allocates and waits for while one of these lives, by name.
class Recorder {
 public:
  using Names = std::vector<std::string>;
  Recorder() {
    namespace tools = Kokkos::Tools::Experimental;
    allocations().clear();
    fences().clear();
    tools::set_allocate_data_callback(
        [](Kokkos_Profiling_SpaceHandle, const char* name, const void*, std::uint64_t bytes) {
          allocations().push_back(fmt::format("{} ({} bytes)", name, bytes));
        });
    tools::set_begin_fence_callback([](const char* name, std::uint32_t, std::uint64_t* handle) {
      *handle = 0;
      // Copies of Kokkos may wait of their own accord, as its versions see fit.
      if (std::string(name).rfind("elastic::", 0) == 0) fences().push_back(name);
    });
  }
  ~Recorder() {
    namespace tools = Kokkos::Tools::Experimental;
    tools::set_allocate_data_callback(nullptr);
    tools::set_begin_fence_callback(nullptr);
  }
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  static Names& allocations() {
    static Names instance;
    return instance;
  }
  static Names& fences() {
    static Names instance;
    return instance;
  }
};

template <class T>
struct SteadyRun {
  explicit SteadyRun(const ResolvedDeck& resolved)
      : deck(resolved),
        curriculum(make_curriculum(deck.config)),
        state(make_parent<T>(deck.config)) {}

  void begin_elastic() {
    elastic::begin_elastic(deck.config, random_ranking(state.model->shape()), state);
  }
  /// Two steps, then two more that allocate nothing and wait `per_step` times and once for each
  /// micro-batch. `other_fences`: of a micro-batch, besides.
  void check(const std::string& what, int per_step, int other_fences) {
    SCOPED_TRACE(what);
    train.run(state);
    train.run(state);
    const Recorder recorder;
    for (int i = 0; i < 2; ++i) {
      recorder.fences().clear();
      train.run(state);
      const auto micro_batches =
          std::count(recorder.fences().begin(), recorder.fences().end(), "elastic::readback");
      EXPECT_GE(micro_batches, 2);
      EXPECT_EQ(recorder.fences().size(),
                static_cast<std::size_t>(per_step + (1 + other_fences) * micro_batches))
          << fmt::format("{}", fmt::join(recorder.fences(), "\n"));
    }
    EXPECT_THAT(recorder.allocations(), testing::IsEmpty());
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
void check_run(const Overrides& overrides, int other_fences = 0) {
  SteadyRun<T> run(read_run_config(
      small_deck_text + second_stage, "small.in",
      joined({"optimizer/clip_grad_norm=0.5", "pretrain/steps=4", "stage1/steps=4",
              "stage2/steps=4", "stage1/budgets_per_sample=3", "stage2/budgets_per_sample=2",
              "distill/distillation_weight=0.7", "distill/cross_entropy_weight=0.3",
              "router/hard_sample_probability=0.3", "parallel/micro_batch_size=1",
              "parallel/logit_chunk_tokens=32"},
             overrides)));
  // Both ends of the regions of a step, the norm, and the check of values in T and of exact ones.
  const int regions = 2 * 6, plain = regions + 1 + 2;
  run.check("parent", plain, other_fences);
  run.begin_elastic();
  // The region of the deal, the draws of all passes, and what belongs to the router's parameters.
  const bool learns = run.state.elastic->learns_widths();
  const int elastic = plain + 2 + (learns ? 1 + 2 + 2 : 0);
  run.check("first stage", elastic, other_fences);
  run.check("second stage", elastic, other_fences);
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
/// The rows of spans are uploaded from memory that passes.
TYPED_TEST(SteadySteps, InDeterministicMode) {
  check_run<TypeParam>({"job/deterministic=true"}, 4);
}

}  // namespace
}  // namespace elastic::test
