// SPDX-License-Identifier: Apache-2.0
// The tensors of a training state as a checkpoint names them: which rank holds which elements, and
// how these get to the host and back. Files are written from this list and read into it.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "io/storage.hpp"
#include "optim/adamw.hpp"
#include "parallel/block_exchange.hpp"

namespace elastic {

/// How the ranks of a run share a model: tensor-parallel ranks have parts of its tensors, replicas
/// own slices of the optimizer's state of these parts.
struct Sharers {
  int tensor_ranks = 1, replicas = 1;
};

struct StateTensor {
  std::string name;  ///< in the file
  Extents extents;   ///< of the whole
  std::string axes;  ///< what the extents count
  StorageType type = StorageType::float32;
  HeldTensor held;
  Shard shard;  ///< which part this rank has, if ranks have parts
  /// True if every replica stores all elements although each owns some.
  bool stored_by_all = false;
  /// Elements of this rank's part, row by row, to the host and from it; `store` passes over
  /// elements that this rank does not hold.
  std::function<void(Range elements, char* out)> fetch;
  std::function<void(Range elements, const char* data)> store;
};
using StateTensors = std::vector<StateTensor>;

/// The values of a store under a prefix, as they are kept. The store and the optimizer must outlive
/// the lists.
template <class T>
StateTensors value_tensors(const std::string& prefix, const ParameterStore<T>& store);
/// The values before rounding (optim/adamw); where there are none, the values. Storing rounds all
/// of them into the values.
template <class T>
StateTensors master_tensors(const std::string& prefix, const ParameterStore<T>& store,
                            const AdamW<T>& optimizer, const Sharers& sharers);
/// AdamW's moments under prefix/m and prefix/v.
template <class T>
StateTensors moment_tensors(const std::string& prefix, const ParameterStore<T>& store,
                            const AdamW<T>& optimizer, const Sharers& sharers);

}  // namespace elastic
