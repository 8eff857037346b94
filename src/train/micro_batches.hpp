// SPDX-License-Identifier: Apache-2.0
// The one way from a token source to passes on the device, for training, validation and ranking:
// sequences are cut into micro-batches, which the ranks of a group take in turn.
//
//   MicroBatches batches(grid.data, config, arena);
//   batches.for_each(source, {.count = 16, .seq_length = 256}, [&](const MicroBatch& batch) {
//     model.forward(batch.context, widths, batch.tokens, pass);
//   });
//
// Where passes hold collectives of a model that is spread over ranks: for_each_together, or read
// everything, agree, and pass over it.
//
// Micro-batch m of a range (m = 0, 1, ... over all ranks) goes to rank m % ranks of the group. In
// deterministic mode a micro-batch is one sequence, so that its size in the deck does not matter.
#pragma once
#include <optional>

#include "comm/rounds.hpp"
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
    for (index_t m = m_group.rank(); m < count(range); m += m_group.size())
      pass(range, m, read(source, part(range, m)), body);
  }
  /// For passes with collectives: a micro-batch is read, and all ranks agree that it could
  /// be read, before its pass begins. Collective over `all`; `team_size`: see comm/rounds.hpp.
  /// Throws Stopped on all ranks if one was asked to stop.
  template <class Body>
  void for_each_together(const Communicator& all, int team_size, const TokenSource& source,
                         const SequenceRange& range, const Body& body) {
    const index_t ranks = m_group.size();
    std::optional<Batch> next;
    const auto mine = [&](index_t round) { return round * ranks + m_group.rank(); };
    for_each_round(
        all, team_size, (count(range) + ranks - 1) / ranks,
        [&](index_t round) {
          next.reset();
          if (mine(round) < count(range)) next = read(source, part(range, mine(round)));
        },
        [&](index_t round) {
          if (next) pass(range, mine(round), *next, body);
        });
  }

  /// The micro-batches of this rank, on the host; and a pass over them, which must stay until the
  /// caller has waited for the last one.
  std::vector<Batch> read_all(const TokenSource& source, const SequenceRange& range);
  template <class Body>
  void for_each(const std::vector<Batch>& batches, const SequenceRange& range, const Body& body) {
    for (std::size_t i = 0; i < batches.size(); ++i)
      pass(range, m_group.rank() + static_cast<index_t>(i) * m_group.size(), batches[i], body,
           Host::stays);
  }

  /// Sequences of a full micro-batch.
  index_t size() const { return m_size; }
  /// These samples of a split, `seq_length` tokens of each, on the host.
  Batch read(const TokenSource& source, Split split, const std::vector<index_t>& samples,
             index_t seq_length) const;
  /// All of a range.
  Batch read(const TokenSource& source, const SequenceRange& range) const;
  /// A batch on the device. Waits until it is there, unless `whole` stays until the caller waits.
  enum class Host { passes, stays };
  MicroBatch load(const Batch& whole, Host host = Host::passes);
  /// Numbers of whole sequences [B*L, n], flattened, on the device: those of the tokens of this
  /// rank. `to` grows where it must. Returns how many there are. `whole` must stay until the next
  /// fence, which is the caller's. U = token_t, float, bfloat16.
  template <class U>
  index_t upload_rows(const std::vector<U>& whole, index_t batch, View1<U>& to) const;

 private:
  index_t count(const SequenceRange& range) const { return (range.count + m_size - 1) / m_size; }
  SequenceRange part(const SequenceRange& range, index_t m) const;
  template <class Body>
  void pass(const SequenceRange& range, index_t m, const Batch& whole, const Body& body,
            Host host = Host::passes) {
    const Arena::Scope scope(m_arena);
    MicroBatch batch = load(whole, host);
    batch.number = m;
    batch.count = count(range);
    batch.last = m + m_group.size() >= batch.count;
    body(batch);
  }
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
