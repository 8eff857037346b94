// SPDX-License-Identifier: Apache-2.0
// Coordinates of a rank, and the refusal of sizes that do not fit the number of ranks.
#include "parallel/process_grid.hpp"

#include "base/error.hpp"
#include "comm/collectives.hpp"

namespace elastic {

namespace {

std::string divisors(int number) {
  std::string list;
  for (int d = 1; d <= number; ++d)
    if (number % d == 0) list += fmt::format("{}{}", list.empty() ? "" : ", ", d);
  return list;
}

const Communicator& checked(const Communicator& world, const ParallelSizes& sizes) {
  if (sizes.tensor < 1 || sizes.context < 1)
    throw InputError(fmt::format("tensor x context parallelism is {} x {}; both must be at least 1",
                                 sizes.tensor, sizes.context));
  const index_t ranks = world.size(), model = index_t(sizes.tensor) * sizes.context;
  if (ranks % model != 0) {
    const index_t below = ranks / model * model;
    throw InputError(fmt::format(
        "{} ranks cannot be laid out as tensor x context = {} x {} = {} ranks per model replica; "
        "start {}{} ranks, or choose sizes whose product is one of {}",
        ranks, sizes.tensor, sizes.context, model, below > 0 ? fmt::format("{} or ", below) : "",
        below + model, divisors(world.size())));
  }
  return world;
}

}  // namespace

ProcessGrid::ProcessGrid(const Communicator& all, const ParallelSizes& sizes)
    : world(checked(all, sizes).split(0)),
      tensor(world.split(world.rank() / sizes.tensor)),
      context(world.split(world.rank() / (sizes.tensor * sizes.context) * sizes.tensor +
                          world.rank() % sizes.tensor)),
      data(world.split(world.rank() % (sizes.tensor * sizes.context))),
      data_context(world.split(world.rank() % sizes.tensor)),
      model(world.split(world.rank() / (sizes.tensor * sizes.context))),
      m_tensor_groups_on_one_node(
          all_reduce_min(world, tensor.split_by_node().size() == tensor.size() ? 1 : 0) == 1) {}

}  // namespace elastic
