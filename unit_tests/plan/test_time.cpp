// SPDX-License-Identifier: Apache-2.0
// Predicted times: limits, sums by hand, and what may never make a step faster.
#include "plan/time.hpp"

#include <gmock/gmock.h>

#include <cmath>

#include "elastic/cost_model.hpp"
#include "plan/memory.hpp"
#include "plan/run_plan.hpp"
#include "unit_tests/plan/machine_for_tests.hpp"
#include "unit_tests/train/small_run.hpp"

namespace elastic::test {
namespace {

using testing::HasSubstr;

/// A deck, its stages and full-width budgets.
struct Problem {
  explicit Problem(const std::vector<std::string>& overrides = {})
      : config(small_deck(overrides).config),
        parent(parent_shape(config)),
        stages(make_curriculum(config).stages),
        elastic{.specs = std::vector<SubmodelSpec>(3, full_spec(parent)),
                .router_parameters = 100,
                .choices = {4, 2, 3}} {}
  StepTime time(const Machine& machine, std::size_t stage, const Layout& layout) const {
    return step_time(config, machine, parent, stages[stage], elastic, elastic.specs, layout);
  }
  double convolution_flops_per_token() const {
    double flops = 0;
    for (const auto& layer : parent.layers)
      if (layer.kind == LayerKind::mamba)
        flops += 2 * static_cast<double>(
                         parent.mamba_d_conv *
                         (layer.inner() + 2 * layer.num_groups * parent.mamba_state_dim));
    return flops;
  }

  RunConfig config;
  ModelShape parent;
  std::vector<Stage> stages;
  ElasticPlan elastic;
};

TEST(PlanTime, OnlyArithmeticIsForwardOperationsOverTheRate) {
  const Problem problem;
  const Machine machine = machine_of_pure_arithmetic(1e9);
  const double tokens = static_cast<double>(problem.stages[0].tokens_per_step());
  const double forward = tokens *
                         (forward_flops_per_token(problem.parent, full_spec(problem.parent),
                                                  problem.stages[0].config.seq_length) -
                          problem.convolution_flops_per_token()) /
                         1e9;
  const StepTime one = problem.time(machine, 0, {});
  EXPECT_NEAR(one.forward + one.loss / 3, forward, 1e-12 * forward);
  EXPECT_NEAR(one.total(), one.forward + one.loss + one.backward, 1e-15);
  EXPECT_GT(one.backward, 2 * one.forward);  // attention and scan take somewhat more
  EXPECT_LT(one.backward, 2.5 * one.forward);
  // Everything is shared out evenly, however it is laid out; there are 2 micro-batches.
  for (const Layout& layout : {Layout{.replicas = 2}, Layout{.tensor = 2}})
    EXPECT_NEAR(problem.time(machine, 0, layout).total(), one.total() / 2, 1e-12 * one.total());
  EXPECT_NEAR(problem.time(machine, 0, {.tensor = 2, .replicas = 2}).total(), one.total() / 4,
              1e-12 * one.total());
  // A third replica has nothing to do.
  EXPECT_NEAR(problem.time(machine, 0, {.replicas = 3}).total(), one.total() / 2,
              1e-12 * one.total());
}

TEST(PlanTime, ElasticStages) {
  const Machine machine = machine_of_pure_arithmetic(1e9);
  const Problem all({"stage1/budgets_per_sample=3"}), single;
  const StepTime three = all.time(machine, 1, {}), drawn = single.time(machine, 1, {});
  EXPECT_GT(three.teacher, 0);
  // The loss of a single budget is its logits forward and backward and those of the teacher, which
  // are kept for three.
  EXPECT_NEAR(three.teacher, drawn.teacher + drawn.loss / 4, 1e-12 * three.teacher);
  EXPECT_NEAR(three.loss, 3 * drawn.loss * 3 / 4, 1e-12 * three.loss);
  EXPECT_NEAR(three.forward, 3 * drawn.forward, 1e-12 * three.forward);
  EXPECT_EQ(three.waiting, 0);
  EXPECT_EQ(drawn.waiting, 0);  // one replica
  const Problem recompute({"stage1/budgets_per_sample=3", "parallel/recompute=true"});
  const StepTime again = recompute.time(machine, 1, {});
  EXPECT_EQ(again.forward, three.forward);
  EXPECT_NEAR(again.backward, three.backward + three.forward, 1e-12 * three.backward);
  const Problem both({"stage1/budgets_per_sample=3", "distill/cross_entropy_weight=1"});
  EXPECT_NEAR(both.time(machine, 1, {}).loss, 2 * three.loss, 1e-12 * three.loss);
  const Problem plain({"stage1/budgets_per_sample=3", "distill/cross_entropy_weight=1",
                       "distill/distillation_weight=0"});
  EXPECT_EQ(plain.time(machine, 1, {}).teacher, 0);
  EXPECT_NEAR(plain.time(machine, 1, {}).loss, three.loss, 1e-12 * three.loss);
}

TEST(PlanTime, ReplicasWaitOnlyForWhatCannotBeSharedOutEvenly) {
  const Machine machine = machine_of_pure_arithmetic(1e9);
  const auto waits = [&](std::vector<std::string> overrides, index_t replicas) {
    overrides.push_back("pretrain/global_batch_size=8");
    Problem problem(overrides);
    problem.elastic.specs[1].hidden_size = 20;
    problem.elastic.specs[2].hidden_size = 12;
    const StepTime time = problem.time(machine, 1, {.replicas = replicas});
    return time.waiting / time.total();
  };
  EXPECT_EQ(waits({}, 1), 0);
  // Three pieces for two: the wide one alone waits for the two others, or they for it.
  EXPECT_GT(waits({"stage1/global_batch_size=3", "parallel/micro_batch_size=1"}, 2), 0.1);
  // 24 samples of each budget: nobody waits.
  EXPECT_LT(waits({"stage1/global_batch_size=72", "parallel/micro_batch_size=1"}, 8), 0.03);
  EXPECT_GT(waits({"stage1/global_batch_size=72", "parallel/micro_batch_size=8"}, 8), 0.03);
}

TEST(PlanTime, AMicroBatchHasNoMoreThanTheSamplesOfADraw) {
  const Machine machine = machine_of_pure_arithmetic(1e9);
  const auto forward = [&](const char* draws) {
    const Problem problem({"stage1/global_batch_size=16", "parallel/micro_batch_size=4",
                           "pretrain/global_batch_size=16", "stage1/budgets_per_sample=3", draws});
    return problem.time(machine, 1, {.replicas = 4}).forward;
  };
  EXPECT_NEAR(forward("router/samples_per_draw=4"), forward("router/samples_per_draw=2"),
              1e-12);  // pure arithmetic: the size does not matter, the sum of samples does
  const RunConfig config = small_deck({"router/samples_per_draw=1"}).config;
  const auto stages = make_curriculum(config).stages;
  EXPECT_EQ(micro_batch_samples(config, stages[0]), 2);
  EXPECT_EQ(micro_batch_samples(config, stages[1]), 1);
}

TEST(PlanTime, UpdateAndGradientsByHand) {
  const Problem problem;
  const Machine machine = machine_for_tests();
  const auto count = parameter_count(problem.parent, expected_widths(full_spec(problem.parent)));
  const double memory = machine.rank.memory_bandwidth;
  EXPECT_NEAR(problem.time(machine, 0, {}).update, 4 * count * (1 + 1 + 7) / memory, 1e-15);

  const StepTime two = problem.time(machine, 0, {.replicas = 2});
  EXPECT_EQ(two.messages, 0);
  EXPECT_NEAR(two.update, 4 * count * (1 + 0.5 + 3.5) / memory + 5 * machine.node.latency, 1e-15);
  const auto buckets =
      static_cast<double>(optimizer_slices(static_cast<index_t>(count), 2).num_buckets());
  const double travelling = buckets * machine.node.latency + 4 * count / 2 / machine.node.bandwidth;
  EXPECT_NEAR(two.gradients, travelling + 4 * count * (4 + 3) / 2 / memory, 1e-15);
  EXPECT_NEAR(two.values, travelling, 1e-15);

  // On 8 ranks the network: half of it is hidden by backward passes that are long enough.
  Machine slow = machine;
  slow.rank.matrix_products = 1e6;
  const double sent =
      7 * (static_cast<double>(optimizer_slices(static_cast<index_t>(count), 8).num_buckets()) *
               machine.network.latency +
           4 * count / 8 / machine.network.bandwidth);
  const double last = static_cast<double>(problem.parent.vocab_size) * 24 / count;
  const StepTime eight = problem.time(slow, 0, {.replicas = 8});
  EXPECT_NEAR(eight.gradients, sent - 0.5 * sent * (1 - last) + 4 * count * (4 + 21) / 8 / memory,
              1e-15);
  EXPECT_NEAR(eight.values, sent, 1e-15);
}

TEST(PlanTime, MessagesInsideAReplicaByHand) {
  const Problem problem({"parallel/tensor_parallel_size=2"});
  const Machine machine = machine_for_tests();
  const double tokens = 2 * 48, batches = 2;
  const StepTime time = problem.time(machine, 0, {.tensor = 2});
  // 5 layers and the embedding forward, the same backward; maxima and sums of one chunk.
  const double calls = batches * (2 * 6 + 2), bytes = batches * 4 * tokens * (2 * 6 * 24 + 3);
  EXPECT_EQ(time.sent.tensor.all_reduce.calls, calls);
  EXPECT_EQ(time.sent.tensor.all_reduce.bytes, bytes);
  EXPECT_NEAR(time.messages, calls * machine.node.latency + bytes / machine.node.bandwidth, 1e-15);
  EXPECT_EQ(time.gradients, 0);
  EXPECT_EQ(time.values, 0);
}

TEST(PlanTime, BetterMachinesAreNeverSlower) {
  Draw draw(3);
  const auto scaled = [&](double& number, double factor, const auto& check) {
    const double before = number;
    number *= factor;
    check();
    number = before;
  };
  for (int i = 0; i < 20; ++i) {
    const Layout layout{
        .tensor = index_t{1} << draw.between(0, 1), .context = 1, .replicas = draw.between(1, 9)};
    const Problem problem(
        {fmt::format("parallel/tensor_parallel_size={}", layout.tensor),
         fmt::format("parallel/sequence_parallel={}", layout.tensor == 2 && i % 2)});
    Machine machine = machine_for_tests();
    const auto stage = static_cast<std::size_t>(i % 2);
    const double before = problem.time(machine, stage, layout).total();
    ASSERT_TRUE(std::isfinite(before) && before > 0);
    const auto slower = [&] { EXPECT_GE(problem.time(machine, stage, layout).total(), before); };
    const auto faster = [&] { EXPECT_LE(problem.time(machine, stage, layout).total(), before); };
    for (double* rate : {&machine.rank.matrix_products, &machine.rank.attention, &machine.rank.scan,
                         &machine.rank.kernel_bandwidth, &machine.rank.memory_bandwidth,
                         &machine.node.bandwidth, &machine.network.bandwidth}) {
      scaled(*rate, 2, faster);
      scaled(*rate, 0.5, slower);
    }
    for (double* latency : {&machine.node.latency, &machine.network.latency})
      scaled(*latency, 3, slower);
    scaled(machine.network.overlap, 2, faster);
  }
}

TEST(PlanTime, SumsAndCollectives) {
  const Link link{.latency = 1e-6, .bandwidth = 1e9, .overlap = 0};
  Collectives sum;
  sum.all_reduce.add(3, 64000);
  EXPECT_EQ(seconds(sum, 1, link), 0);
  EXPECT_NEAR(seconds(sum, 2, link), 3 * (1e-6 + 64e-6), 1e-15);
  EXPECT_NEAR(seconds(sum, 8, link), 3 * (2 * 7 * 1e-6 + 2 * 7.0 / 8 * 64e-6), 1e-15);
  EXPECT_NEAR(seconds(sum, 64, link), 3 * 2 * 63 * (1e-6 + 1e-6), 1e-15);
  Collectives many;
  many.all_reduce.add(3, 4000);
  EXPECT_NEAR(seconds(many, 64, link), 3 * 6 * (1e-6 + 4e-6), 1e-15);  // latency counts: doubling
  Collectives parts;
  parts.reduce_scatter.add(2, 8000);
  parts.all_gather.add(1, 4000);
  EXPECT_NEAR(seconds(parts, 4, link), 9e-6 + 3.0 / 4 * 20e-6, 1e-15);
  EXPECT_EQ(small_all_reduce(1, link), 0);
  EXPECT_NEAR(small_all_reduce(5, link), 3e-6, 1e-15);
}

TEST(PlanTime, LinesOfThePlan) {
  const Machine machine = machine_for_tests();
  const ResolvedDeck deck = small_deck();
  const std::string text = run_plan(deck, 4, &machine);
  for (const char* part :
       {"time     on machine.in: 4 ranks = 1 tensor x 1 context x 4 data", "pretrain", "stage1",
        "at first", "efficiency", "products", "waiting", "of checkpoints"})
    EXPECT_THAT(text, HasSubstr(part));
  EXPECT_THAT(run_plan(deck, 4), testing::Not(HasSubstr("machine.in")));
  Machine island = machine;
  island.has_network = false;
  EXPECT_NO_THROW(run_plan(deck, 4, &island));
  EXPECT_THROW(run_plan(deck, 8, &island), InputError);
}

TEST(PlanTime, Validation) {
  const Machine machine = machine_of_pure_arithmetic(1e9);
  const Problem problem({"evaluate/samples=5"});  // 3 micro-batches of 2 sequences at most
  const auto time = [&](std::size_t stage, index_t replicas) {
    return validation_time(problem.config, machine, problem.parent, problem.stages[stage],
                           problem.elastic, {.replicas = replicas});
  };
  const StepTime step = problem.time(machine, 0, {});
  EXPECT_NEAR(time(0, 1), 3 * (step.forward + step.loss / 3) / 2, 1e-12);
  EXPECT_NEAR(time(0, 2), time(0, 1) * 2 / 3, 1e-12);
  EXPECT_NEAR(time(0, 8), time(0, 1) / 3, 1e-12);
  EXPECT_GT(time(1, 1), 5 * time(0, 1));  // three budgets, each with its teacher
}

}  // namespace
}  // namespace elastic::test
