// SPDX-License-Identifier: Apache-2.0
// From the <data> block to a token source, and from a batch on the host to Views on the device.
#pragma once
#include <memory>
#include <optional>

#include "data/token_source.hpp"
#include "model/losses.hpp"
#include "config/run_config.hpp"

namespace elastic {

/// `stream`: sources of different streams give different samples.
/// Throws InputError naming a file that is wrong.
std::unique_ptr<TokenSource> make_source(const RunConfig& config, std::uint64_t stream);
/// The problem generator behind reasoning data, for answers by generation.
ReasoningConfig reasoning_config(const RunConfig& config);

/// A micro-batch on the device: whole sequences, or this rank's spans of them.
/// Its Views are reused from batch to batch.
class DeviceBatch {
 public:
  explicit DeviceBatch(std::optional<Spans> spans = {}) : m_spans(std::move(spans)) {}
  /// Copies a batch, or this rank's spans of it, to the device.
  void set(const ExecutionSpace& exec, const Batch& batch);
  LayerContext context(const ExecutionSpace& exec, Arena& arena) const;
  View1<const token_t> tokens() const { return prefix(m_tokens, m_num_tokens); }
  LossTargets<Real> targets() const {
    return {prefix(m_targets, m_num_tokens), prefix(m_weight, m_num_tokens)};
  }
  double weight_sum() const { return m_weight_sum; }  ///< tokens of whole sequences that count

 private:
  std::optional<Spans> m_spans;
  index_t m_batch = 0, m_seq_length = 0, m_num_tokens = 0;
  double m_weight_sum = 0;
  View1<token_t> m_tokens, m_targets, m_segment;
  View1<float> m_weight;
};

}  // namespace elastic
