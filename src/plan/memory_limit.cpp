// SPDX-License-Identifier: Apache-2.0
#include "plan/memory_limit.hpp"

#include <unistd.h>

#include <algorithm>

#include "plan/memory.hpp"
#include "plan/units.hpp"

namespace elastic {

double machine_memory() {
  return static_cast<double>(::sysconf(_SC_PHYS_PAGES)) *
         static_cast<double>(::sysconf(_SC_PAGESIZE));
}

void require_memory(const RunConfig& config, int ranks, double limit) {
  const auto sizes = parallel_sizes(config);
  const ModelShape shape = parent_shape(config);
  const PlanMemory plan =
      plan_memory(config, shape, 0, std::max(ranks, sizes.tensor * sizes.context));
  if (plan.total() <= limit) return;
  struct Part {
    const char* keys;
    double bytes;
  };
  Part largest{"weights, gradients and optimizer state: <model>, <parallel>/tensor_parallel_size",
               plan.state()};
  for (const Part& part :
       {Part{"activations of a step: seq_length of the stages, <parallel>/micro_batch_size",
             plan.step()},
        Part{"evaluation: seq_length of the last stage, <parallel>/logit_chunk_tokens",
             plan.copy + plan.evaluation},
        Part{"the ranking: <rank>/seq_length, <parallel>/micro_batch_size", plan.ranking}})
    if (part.bytes > largest.bytes) largest = part;
  throw InputError(fmt::format(
      "a rank of this run needs {} of memory, the machine has {}; the largest part, {}, is {}",
      in_bytes(plan.total()), in_bytes(limit), in_bytes(largest.bytes), largest.keys));
}

}  // namespace elastic
