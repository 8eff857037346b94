// SPDX-License-Identifier: Apache-2.0
#include "plan/messages.hpp"

#include <algorithm>
#include <cmath>

#include "arch/layer_kind.hpp"
#include "state/train_state.hpp"

namespace elastic {
namespace {

/// Rounds of messages in which a number reaches all ranks.
double doublings(index_t ranks) { return std::ceil(std::log2(static_cast<double>(ranks))); }

double ring(const Traffic& traffic, index_t ranks, const Link& link) {
  const auto others = static_cast<double>(ranks - 1);
  return others * (traffic.calls * link.latency +
                   traffic.bytes / static_cast<double>(ranks) / link.bandwidth);
}
}  // namespace

Layout Layout::of(const RunConfig& config, index_t ranks) {
  const ParallelSizes sizes = parallel_sizes(config);
  const index_t model = index_t{sizes.tensor} * sizes.context;
  return {sizes.tensor, sizes.context, std::max<index_t>(1, ranks / model)};
}

double small_all_reduce(index_t ranks, const Link& link) {
  return ranks == 1 ? 0 : doublings(ranks) * link.latency;
}

double seconds(const Collectives& collectives, index_t ranks, const Link& link) {
  if (ranks == 1) return 0;
  const Traffic& reduced = collectives.all_reduce;
  const double by_doubling =
      doublings(ranks) * (reduced.calls * link.latency + reduced.bytes / link.bandwidth);
  return std::min(2 * ring(reduced, ranks, link), by_doubling) +
         ring(collectives.reduce_scatter, ranks, link) + ring(collectives.all_gather, ranks, link);
}

/// Sums of partial results over units, [T, D].
void TensorTraffic::add_sums(Collectives& all, double count) const {
  (sequence_parallel ? all.reduce_scatter : all.all_reduce).add(count, sum_bytes * tokens * hidden);
}
/// Gathers of the tokens of all ranks, [T, D].
void TensorTraffic::add_gathers(Collectives& all, double count) const {
  if (sequence_parallel) all.all_gather.add(count, value_bytes * tokens * hidden);
}

Collectives TensorTraffic::stack() const {
  Collectives all;
  add_sums(all, static_cast<double>(layers));
  add_gathers(all, static_cast<double>(layers));
  return all;
}
Collectives TensorTraffic::forward() const {
  Collectives all = stack();
  add_sums(all, 1);     // embedding
  add_gathers(all, 1);  // final hidden states
  return all;
}
Collectives TensorTraffic::backward() const { return forward(); }  // the same places, reversed

Collectives TensorTraffic::loss(index_t tokens_per_chunk, bool distills) const {
  const double chunks = std::ceil(tokens / static_cast<double>(tokens_per_chunk));
  Collectives all;
  all.all_reduce.add(chunks, sum_bytes * (distills ? 2 : 1) * tokens / chunks);
  all.all_reduce.add(chunks, sum_bytes * (distills ? 3 : 2) * tokens / chunks);
  return all;
}

Collectives ContextTraffic::layers(const ModelShape& local, bool backward) const {
  Collectives all;
  if (ranks == 1) return all;
  const MessageFacts facts{.spans = 2 * static_cast<double>(ranks) * sequences,
                           .tokens = tokens,
                           .backward = backward,
                           .sum_size = sum_bytes / value_bytes};
  for (const auto& layer : local.layers) {
    const auto& kind = description_of(layer);
    if (!kind.messages) continue;
    const LayerMessages mixer = kind.messages(local, layer, facts);
    for (const double elements : mixer.gathered) all.all_gather.add(1, value_bytes * elements);
    for (const double elements : mixer.reduced) all.reduce_scatter.add(1, value_bytes * elements);
  }
  return all;
}
Collectives ContextTraffic::forward(const ModelShape& local) const { return layers(local, false); }
Collectives ContextTraffic::backward(const ModelShape& local) const { return layers(local, true); }

ReplicaTraffic router_traffic(const ModelShape& local, const std::vector<index_t>& choices,
                              bool sequence_parallel) {
  const auto padded = [](index_t count) { return (count + 15) / 16 * 16; };  // as SoftWidths
  // The mask of the stream, the scale of its norm, gates.
  const index_t shared = padded(local.hidden_size) + (1 + local.num_layers()) * padded(1);
  index_t masks = shared;
  for (const auto& layer : local.layers)
    masks += padded(layer.inner()) + padded(layer.width) + padded(layer.num_groups);
  ReplicaTraffic all;
  all.context.all_reduce.add(1, sum_bytes * static_cast<double>(masks));
  if (sequence_parallel) all.tensor.all_reduce.add(1, sum_bytes * static_cast<double>(shared));
  for (const index_t count : choices)
    all.tensor.all_reduce.add(1, sizeof(double) * static_cast<double>(count));
  return all;
}

Collectives shared_gradient_traffic(const ModelShape& shape) {
  Collectives all;
  all.all_reduce.add(static_cast<double>(shape.num_layers() + 1),
                     sum_bytes * static_cast<double>(shape.hidden_size));
  return all;
}

OwnerTraffic owner_traffic(index_t elements, index_t owners, double value_bytes) {
  if (owners == 1 || elements == 0) return {};
  const auto slices = optimizer_slices(elements, static_cast<int>(owners));
  const auto calls = static_cast<double>(slices.num_buckets());
  OwnerTraffic traffic;
  traffic.gradients.reduce_scatter.add(calls, sum_bytes * static_cast<double>(elements) / calls);
  traffic.values.all_gather.add(calls, value_bytes * static_cast<double>(elements) / calls);
  return traffic;
}

}  // namespace elastic
