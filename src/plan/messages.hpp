// SPDX-License-Identifier: Apache-2.0
// Messages of a training step, counted from the shape, and the time they take. They are what
// model/hybrid_stack, model/losses, train/train_step and optim/gradient_buckets send.
//
// With p ranks, arrays of n bytes in all, latency a and bandwidth b:
//
//   reduce-scatter, all-gather   (p-1) a + (p-1)/p n/b         ring
//   all-reduce                   2 (p-1) a + 2 (p-1)/p n/b     ring, or
//                                ceil(log2 p) (a + n/b)        recursive doubling: the smaller
//
// Gradients travel directly from every rank to the owner of each slice:
// as much as a reduce-scatter per bucket.
#pragma once
#include "plan/machine.hpp"
#include "config/run_config.hpp"

namespace elastic {

/// How the ranks of a run share its work.
struct Layout {
  index_t tensor = 1, context = 1, replicas = 1;
  index_t ranks() const { return tensor * context * replicas; }
  /// The layout of a run on at least the ranks of one replica.
  static Layout of(const RunConfig& config, index_t ranks);
};

/// Calls of one kind of collective, and the bytes of their whole arrays together.
struct Traffic {
  double calls = 0, bytes = 0;
  void add(double count, double bytes_each) {
    calls += count;
    bytes += count * bytes_each;
  }
  void add(double factor, const Traffic& other) {
    calls += factor * other.calls;
    bytes += factor * other.bytes;
  }
};
struct Collectives {
  Traffic all_reduce, reduce_scatter, all_gather;
  void add(double factor, const Collectives& other) {
    all_reduce.add(factor, other.all_reduce);
    reduce_scatter.add(factor, other.reduce_scatter);
    all_gather.add(factor, other.all_gather);
  }
};
/// Seconds that collectives take, by the formulas above.
double seconds(const Collectives& collectives, index_t ranks, const Link& link);
/// Seconds of an all-reduce that only costs its latency.
double small_all_reduce(index_t ranks, const Link& link);

/// Messages inside a tensor-parallel group, for one micro-batch.
struct TensorTraffic {
  double tokens;           ///< of a rank's micro-batch
  double hidden;           ///< D
  index_t layers;          ///< that are not dropped
  bool sequence_parallel;  ///< parallel/sequence_parallel
  double value_bytes;      ///< of a stored value

  Collectives forward() const;
  /// Messages of the layers alone: what recomputation repeats.
  Collectives stack() const;
  Collectives backward() const;
  /// Maxima and sums of the softmax:
  /// [T] and [T, 2] for cross-entropy, [T, 2] and [T, 3] for the KL.
  Collectives loss(index_t tokens_per_chunk, bool distills) const;

 private:
  void add_sums(Collectives& all, double count) const;
  void add_gathers(Collectives& all, double count) const;
};
/// Messages inside a context-parallel group, for one micro-batch in fast mode. Every rank holds two
/// spans of each sequence; it gathers their edges (the inputs of convolutions next to other spans),
/// the states, and all keys and values.
struct ContextTraffic {
  double sequences, tokens;  ///< of the group's micro-batch
  index_t ranks;
  double value_bytes;  ///< of a stored value

  Collectives forward(const ModelShape& local) const;
  Collectives backward(const ModelShape& local) const;

 private:
  Collectives layers(const ModelShape& local, bool backward) const;
};
/// Messages inside a replica.
struct ReplicaTraffic {
  Collectives tensor, context;
  void add(double factor, const ReplicaTraffic& other) {
    tensor.add(factor, other.tensor);
    context.add(factor, other.context);
  }
};

/// Messages after each budget: gradients of the masks, summed over those who share its tokens,
/// and those of the router. `choices`: widths of each of its decisions.
ReplicaTraffic router_traffic(const ModelShape& local, const std::vector<index_t>& choices,
                              bool sequence_parallel);
/// Messages once per step with sequence parallelism:
/// gradients of tensors that every rank of the group holds.
Collectives shared_gradient_traffic(const ModelShape& shape);

/// Messages of `elements` gradients to their owners, and of values back from them, over
/// the ranks that hold equal parameters.
struct OwnerTraffic {
  Collectives gradients, values;
};
OwnerTraffic owner_traffic(index_t elements, index_t owners, double value_bytes);

}  // namespace elastic
