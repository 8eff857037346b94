// SPDX-License-Identifier: Apache-2.0
// The one way from a token source to passes on the device, for training, validation and ranking:
// sequences are cut into micro-batches, which the ranks of a group take in turn.
//
//   MicroBatches batches(grid.data, config, arena);
//   batches.for_each(source, {.count = 16, .seq_length = 256}, [&](const MicroBatch& batch) {
//     model.forward(batch.context, widths, batch.tokens, pass);
//   });
//
// Micro-batch m of a range (m = 0, 1, ... over all ranks) goes to rank m % ranks of the group. In
// deterministic mode a micro-batch is one sequence, so that its size in the deck does not matter.
#pragma once
#include <optional>

#include "config/run_config.hpp"
#include "data/token_source.hpp"
#include "model/losses.hpp"

namespace elastic {

/// Samples first, ..., first + count - 1 of a source, for all ranks together.
struct SequenceRange {
  Split split = Split::train;
  index_t first = 0, count = 0;
  index_t seq_length = 0;  ///< tokens of each
};

/// Whole sequences, or this rank's spans of them, on the device until the next micro-batch.
struct MicroBatch {
  LayerContext context;
  View1<const token_t> tokens;  ///< [T]
  LossTargets targets;
  double weight_sum = 0;  ///< tokens of whole sequences that count
  index_t number = 0;     ///< m of a range
  index_t count = 1;      ///< micro-batches of a range for all ranks together
  bool last = true;       ///< of this rank
};

class MicroBatches {
 public:
  /// `group`: the ranks that share out sequences. `spans`: how each sequence is cut up; without:
  /// not at all.
  MicroBatches(const Communicator& group, const RunConfig& config, Arena& arena,
               std::optional<Spans> spans = {});
  /// body(batch) for each micro-batch of this rank, in order. What a body takes from the arena is
  /// given back after it. Throws InputError where a data file is found to be wrong.
  template <class Body>
  void for_each(const TokenSource& source, const SequenceRange& range, const Body& body) {
    const index_t count = (range.count + m_size - 1) / m_size;
    for (index_t m = m_group.rank(); m < count; m += m_group.size()) {
      const Arena::Scope scope(m_arena);
      MicroBatch batch = load(source, part(range, m));
      batch.number = m;
      batch.count = count;
      batch.last = m + m_group.size() >= count;
      body(batch);
    }
  }
  /// All of a range as one micro-batch.
  MicroBatch load(const TokenSource& source, const SequenceRange& range);
  /// These samples of a split, `seq_length` tokens of each, as one micro-batch.
  MicroBatch load(const TokenSource& source, Split split, const std::vector<index_t>& samples,
                  index_t seq_length);

 private:
  SequenceRange part(const SequenceRange& range, index_t m) const;
  void upload_batch(const Batch& batch);

  const Communicator& m_group;
  Arena& m_arena;
  bool m_deterministic;
  index_t m_size;  // sequences of a micro-batch
  std::optional<Spans> m_spans;
  ExecutionSpace m_exec;
  // They grow when they must, and are reused from batch to batch.
  View1<token_t> m_tokens, m_targets, m_segment;
  View1<float> m_weight;
};

}  // namespace elastic
