// SPDX-License-Identifier: Apache-2.0
#include "plan/memory_limit.hpp"

#include <unistd.h>

#include <algorithm>
#include <functional>
#include <limits>

#include "arch/layer_kind.hpp"
#include "plan/memory.hpp"
#include "plan/recomputation.hpp"
#include "plan/units.hpp"

namespace elastic {
namespace {

/// A run as it could be.
struct Candidate {
  RunConfig config;
  int ranks;
};
/// A key with one of its values, as text and as what it changes.
struct Change {
  std::string key, value;
  std::function<void(Candidate&)> apply;
};

PlanMemory memory_of(const Candidate& run, const ModelShape& parent, index_t router) {
  return plan_memory(with_recomputation(run.config, parent, router, run.ranks), parent, router,
                     run.ranks);
}

bool divides_groups(const ModelShape& parent, index_t tensor_ranks) {
  return std::all_of(parent.layers.begin(), parent.layers.end(), [&](const LayerShape& layer) {
    return !description_of(layer).deck.num_groups || layer.num_groups % tensor_ranks == 0;
  });
}

/// What needs less memory, by the time that it costs.
std::vector<Change> changes_of(const RunConfig& config, const ModelShape& parent, int ranks) {
  constexpr index_t least_chunk = 128;
  const index_t most_tensor_ranks = config.job.deterministic ? sum_classes : 64;
  constexpr int most_ranks = 256;
  const auto& parallel = config.parallel;
  std::vector<Change> changes;
  if (parallel.recompute == Recompute::none || parallel.memory_limit == 0)
    changes.push_back({"<parallel>/recompute", "true",
                       [](Candidate& run) { run.config.parallel.recompute = Recompute::all; }});
  for (index_t size = parallel.micro_batch_size - 1; size > 0; --size)
    if (parallel.micro_batch_size % size == 0)
      changes.push_back({"<parallel>/micro_batch_size", std::to_string(size),
                         [size](Candidate& run) { run.config.parallel.micro_batch_size = size; }});
  for (index_t size = parallel.logit_chunk_tokens / 2; size >= least_chunk; size /= 2)
    changes.push_back({"<parallel>/logit_chunk_tokens", std::to_string(size),
                       [size](Candidate& run) { run.config.parallel.logit_chunk_tokens = size; }});
  const auto context = static_cast<int>(parallel.context_parallel_size);
  for (index_t size = parallel.tensor_parallel_size;
       size <= most_tensor_ranks && divides_groups(parent, size); size *= 2) {
    if (size == 1) continue;
    const int needed = static_cast<int>(size) * context;
    if (ranks > needed && ranks % needed != 0) break;
    changes.push_back({"<parallel>/tensor_parallel_size",
                       fmt::format("{} with sequence_parallel = true", size),
                       [size, needed](Candidate& run) {
                         run.config.parallel.tensor_parallel_size = size;
                         run.config.parallel.sequence_parallel = true;
                         run.ranks = std::max(run.ranks, needed);
                       }});
  }
  for (int factor = 2; factor * ranks <= most_ranks; factor *= 2)
    changes.push_back({"ranks", fmt::format("{} times as many", factor),
                       [factor](Candidate& run) { run.ranks *= factor; }});
  return changes;
}

}  // namespace

double machine_memory() {
  return static_cast<double>(::sysconf(_SC_PHYS_PAGES)) *
         static_cast<double>(::sysconf(_SC_PAGESIZE));
}

std::string nearest_fit(const RunConfig& config, const ModelShape& parent, int ranks,
                        double limit) {
  const index_t router = router_size(config, parent);
  std::vector<Change> made;  // one per key
  const auto bytes_with = [&](const std::vector<Change>& changes) {
    Candidate run{config, ranks};
    for (const auto& change : changes) change.apply(run);
    return memory_of(run, parent, router).total();
  };
  const auto add = [&](const Change& change) {
    if (!made.empty() && made.back().key == change.key) made.pop_back();
    made.push_back(change);
  };
  double least = std::numeric_limits<double>::max();
  for (const auto& change : changes_of(config, parent, ranks)) {
    add(change);
    least = std::min(least, bytes_with(made));
    if (least <= limit) break;
  }
  if (least > limit)
    return fmt::format("no choice of <parallel> fits; the least is {}", in_bytes(least));
  for (std::size_t i = made.size(); i-- > 0;) {  // what turns out not to be needed
    auto without = made;
    without.erase(without.begin() + static_cast<std::ptrdiff_t>(i));
    if (bytes_with(without) <= limit) made = without;
  }
  std::string text;
  for (const auto& change : made)
    text += fmt::format("{}{} = {}", text.empty() ? "" : ", ", change.key, change.value);
  return fmt::format("nearest that fits: {}: {}", text, in_bytes(bytes_with(made)));
}

std::string limit_lines(const RunConfig& config, const ModelShape& parent, int ranks,
                        double needed) {
  const double limit = 1e9 * config.parallel.memory_limit;
  if (limit == 0) return "";
  if (needed <= limit) return plan_line("", fmt::format("fits into {} of a rank", in_bytes(limit)));
  return plan_line("", fmt::format("does not fit into {} of a rank; {}", in_bytes(limit),
                                   nearest_fit(config, parent, ranks, limit)));
}

void require_memory(const RunConfig& config, int ranks, double limit) {
  const auto sizes = parallel_sizes(config);
  const ModelShape shape = parent_shape(config);
  const Candidate run{config, std::max(ranks, sizes.tensor * sizes.context)};
  const PlanMemory plan = memory_of(run, shape, router_size(config, shape));
  const double said = 1e9 * config.parallel.memory_limit;
  const bool says = said > 0 && said < limit;
  if (says) limit = said;
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
  throw InputError(
      fmt::format("a rank of this run needs {} of memory, {} {}; the largest part, {}, is {}; {}",
                  in_bytes(plan.total()), says ? "<parallel>/memory_limit is" : "the machine has",
                  in_bytes(limit), in_bytes(largest.bytes), largest.keys,
                  nearest_fit(config, shape, run.ranks, limit)));
}

}  // namespace elastic
