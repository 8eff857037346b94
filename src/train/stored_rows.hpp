// SPDX-License-Identifier: Apache-2.0
// What a stored teacher (state/stored_teacher.hpp) says of the samples of a micro-batch.
#pragma once
#include <optional>

#include "kernels/losses/top_words.hpp"
#include "state/stored_teacher.hpp"
#include "train/micro_batches.hpp"

namespace elastic {

/// Identifies the tokens and documents of row b.
std::uint64_t sequence_identity(const Batch& batch, index_t b);

/// Rows of whole sequences [B*L], on the host.
struct TeacherBatch {
  index_t batch = 0;
  std::vector<token_t> ids;               ///< [B*L, k]
  std::vector<bfloat16> log_p, log_rest;  ///< [B*L, k], [B*L]
};

class StoredRows {
 public:
  explicit StoredRows(const RunConfig& config) : m_config(config) {}

  /// For these samples of a stage, whose tokens are `batch`; opens its file at first. Throws
  /// InputError as open_stored_teacher, and naming file and sequence if its block is damaged or of
  /// other tokens.
  TeacherBatch read(const Stage& stage, const std::vector<index_t>& samples, const Batch& batch);
  /// The rows of this rank on the device, until the next call. `rows` must stay until the caller
  /// has waited.
  kernels::TopWords load(const TeacherBatch& rows, const MicroBatches& batches);

 private:
  const RunConfig& m_config;
  std::optional<TeacherFile> m_file;
  std::uint64_t m_stream = 0;  // of m_file
  View1<token_t> m_ids;
  View1<bfloat16> m_log_p, m_log_rest;
};

}  // namespace elastic
