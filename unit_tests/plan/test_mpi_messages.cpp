// SPDX-License-Identifier: Apache-2.0
// The plan's messages against those that a training step sends: every MPI call on more than one
// rank is counted on its way (MPI's profiling interface).
#include <gtest/gtest.h>
#include <mpi.h>

#include <numeric>

#include "parallel/process_grid.hpp"
#include "elastic/elastic_space.hpp"
#include "plan/memory.hpp"
#include "plan/time.hpp"
#include "train/train_step.hpp"
#include "unit_tests/plan/machine_for_tests.hpp"
#include "unit_tests/train/small_run.hpp"

namespace elastic::test {
namespace {

/// What this rank sent.
struct Sent {
  Collectives large;  // arrays of floats, and of router probabilities
  Traffic small;      // other all-reduces
  Traffic direct;     // messages between two ranks
};
Sent sent;

int size_of(MPI_Comm comm) {
  int size = 1;
  PMPI_Comm_size(comm, &size);
  return size;
}
double bytes_of(MPI_Datatype type) {
  int bytes = 0;
  PMPI_Type_size(type, &bytes);
  return bytes;
}

}  // namespace
}  // namespace elastic::test

extern "C" {
int MPI_Allreduce(const void* in, void* out, int count, MPI_Datatype type, MPI_Op op,
                  MPI_Comm comm) {
  using namespace elastic::test;
  if (size_of(comm) > 1) {
    const bool is_float = type == MPI_FLOAT, is_router = type == MPI_DOUBLE && count > 1;
    (is_float || is_router ? sent.large.all_reduce : sent.small).add(1, count * bytes_of(type));
  }
  return PMPI_Allreduce(in, out, count, type, op, comm);
}
int MPI_Reduce_scatter(const void* in, void* out, const int counts[], MPI_Datatype type, MPI_Op op,
                       MPI_Comm comm) {
  using namespace elastic::test;
  sent.large.reduce_scatter.add(
      1, std::accumulate(counts, counts + size_of(comm), 0.0) * bytes_of(type));
  return PMPI_Reduce_scatter(in, out, counts, type, op, comm);
}
int MPI_Allgatherv(const void* in, int count, MPI_Datatype in_type, void* out, const int counts[],
                   const int begins[], MPI_Datatype type, MPI_Comm comm) {
  using namespace elastic::test;
  sent.large.all_gather.add(1,
                            std::accumulate(counts, counts + size_of(comm), 0.0) * bytes_of(type));
  return PMPI_Allgatherv(in, count, in_type, out, counts, begins, type, comm);
}
int MPI_Isend(const void* data, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm,
              MPI_Request* request) {
  using namespace elastic::test;
  sent.direct.add(1, count * bytes_of(type));
  return PMPI_Isend(data, count, type, to, tag, comm, request);
}
}

namespace elastic::test {
namespace {

void expect_equal(const Traffic& actual, const Traffic& planned, const std::string& what) {
  EXPECT_EQ(actual.calls, planned.calls) << what;
  // Slices are rounded, masks padded; numbers for the record (TrainSums) are few.
  EXPECT_NEAR(actual.bytes, planned.bytes, 0.01 * planned.bytes + 200) << what;
}

/// One stage: pretraining, or an elastic one with all budgets at full widths.
RunConfig config_of(bool elastic, const ParallelSizes& sizes, std::vector<std::string> overrides) {
  overrides.push_back(fmt::format("parallel/tensor_parallel_size={}", sizes.tensor));
  overrides.push_back(fmt::format("parallel/context_parallel_size={}", sizes.context));
  overrides.push_back("elastic/choice_epsilon=0");
  overrides.push_back("stage1/budgets_per_sample=3");
  overrides.push_back("stage1/global_batch_size=8");
  overrides.push_back(elastic ? "job/phases=rank,elastic" : "job/phases=pretrain");
  if (elastic) overrides.push_back("job/parent=p.h5");
  return small_deck(overrides).config;
}

/// Runs the first step and compares.
void check_step(bool elastic, const ParallelSizes& sizes,
                const std::vector<std::string>& overrides = {}) {
  const Communicator world = Communicator::world();
  const std::string name = testing::PrintToString(overrides);
  const RunConfig config = config_of(elastic, sizes, overrides);
  const Curriculum curriculum = make_curriculum(config);
  const ProcessGrid grid(world, sizes);
  TrainState<Real> state = make_parent<Real>(config, grid, Weights::initial);
  if (elastic) begin_elastic(config, identity_ranking(state.model->shape()), state);
  Arena arena;
  TrainStep<Real> step(grid, config, curriculum, arena);
  sent = {};
  step.run(state);
  const Sent actual = sent;

  const ModelShape shape = parent_shape(config);
  ElasticPlan plan{.specs = std::vector<SubmodelSpec>(3, full_spec(shape)),
                   .router_parameters = 0,
                   .choices = {}};
  if (elastic) {
    plan.router_parameters = state.elastic->router->parameters().num_elements();
    for (const auto& decision : state.elastic->decisions)
      plan.choices.push_back(static_cast<index_t>(decision.widths.size()));
  }
  const Layout layout = Layout::of(config, world.size());
  ASSERT_EQ(layout.ranks(), world.size());
  const ReplicaTraffic inside =
      step_time(config, machine_for_tests(), shape, curriculum.stages[0], plan, plan.specs, layout)
          .sent;
  Collectives planned;
  if (layout.tensor > 1) planned.add(1, inside.tensor);
  if (layout.context > 1) planned.add(1, inside.context);
  if (config.parallel.sequence_parallel) planned.add(1, shared_gradient_traffic(shape));
  Traffic direct;
  const index_t owners = layout.replicas * layout.context;
  for (const index_t elements :
       {state.model->parameters().num_elements(), plan.router_parameters}) {
    const OwnerTraffic traffic = owner_traffic(elements, owners, sizeof(Real));
    planned.all_gather.add(1, traffic.values.all_gather);
    const auto parts = static_cast<double>(owners - 1);
    direct.calls += parts * traffic.gradients.reduce_scatter.calls;
    direct.bytes += parts / static_cast<double>(owners) * traffic.gradients.reduce_scatter.bytes;
  }
  if (owners > 1) planned.all_reduce.calls += 1;  // TrainSums
  EXPECT_GT(planned.all_reduce.bytes + direct.bytes, 0) << name;
  expect_equal(actual.large.all_reduce, planned.all_reduce, name);
  expect_equal(actual.large.reduce_scatter, planned.reduce_scatter, name);
  expect_equal(actual.large.all_gather, planned.all_gather, name);
  expect_equal(actual.direct, direct, name);
  // Agreement on data, norm, whether gradients and values are finite; and on who computes what.
  EXPECT_EQ(actual.small.calls, elastic && grid.num_replicas() > 1 ? 5 : 4) << name;
}

class PlanMessages : public testing::TestWithParam<bool> {
 protected:
  const int all = Communicator::world().size();
};

TEST_P(PlanMessages, Replicas) { check_step(GetParam(), {}); }
TEST_P(PlanMessages, TensorParallel) { check_step(GetParam(), {.tensor = all}); }
TEST_P(PlanMessages, TensorParallelInChunksOfLogits) {
  check_step(GetParam(), {.tensor = all},
             {"parallel/logit_chunk_tokens=40", "distill/cross_entropy_weight=0.5"});
}
TEST_P(PlanMessages, Recomputation) {
  check_step(GetParam(), {.tensor = all}, {"parallel/recompute=true"});
}
TEST_P(PlanMessages, SequenceParallel) {
  check_step(GetParam(), {.tensor = all}, {"parallel/sequence_parallel=true"});
  check_step(GetParam(), {.tensor = all},
             {"parallel/sequence_parallel=true", "parallel/recompute=true"});
}
TEST_P(PlanMessages, ContextParallel) {
  check_step(GetParam(), {.context = all});
  check_step(GetParam(), {.context = all}, {"parallel/recompute=true"});
}

INSTANTIATE_TEST_SUITE_P(PretrainingAndElastic, PlanMessages, testing::Bool(),
                         [](const auto& info) { return info.param ? "Elastic" : "Pretraining"; });

}  // namespace
}  // namespace elastic::test
