// SPDX-License-Identifier: Apache-2.0
#include "train/stored_rows.hpp"

#include "base/region.hpp"
#include "io/content_hash.hpp"

namespace elastic {

std::uint64_t sequence_identity(const Batch& batch, index_t b) {
  const auto first = static_cast<std::size_t>(b * batch.seq_length),
             bytes = static_cast<std::size_t>(batch.seq_length) * sizeof(token_t);
  ContentHasher hasher;
  hasher.add(batch.tokens.data() + first, bytes);
  hasher.add(batch.segment.data() + first, bytes);
  return hasher.value();
}

TeacherBatch StoredRows::read(const Stage& stage, const std::vector<index_t>& samples,
                              const Batch& batch) {
  const Region region("teacher", Fenced::no);
  if (!m_file || m_stream != stage.stream) {
    m_file.emplace(open_stored_teacher(stored_teacher(m_config, stage)));
    m_stream = stage.stream;
  }
  TeacherBatch rows{.batch = batch.batch, .ids = {}, .log_p = {}, .log_rest = {}};
  const auto append = [](auto& to, const auto& from) {
    to.insert(to.end(), from.begin(), from.end());
  };
  for (std::size_t b = 0; b < samples.size(); ++b) {
    const TeacherBlock block = m_file->read(samples[b]);
    if (block.identity != sequence_identity(batch, static_cast<index_t>(b)))
      throw InputError(
          fmt::format("{}: is of other data: its sequence {} has other tokens than that of this "
                      "deck; expected those of the same <data> and the same files",
                      m_file->path().string(), samples[b]));
    append(rows.ids, block.ids);
    append(rows.log_p, block.log_p);
    append(rows.log_rest, block.log_rest);
  }
  return rows;
}

kernels::TopWords StoredRows::load(const TeacherBatch& rows, const MicroBatches& batches) {
  const Region region("teacher", Fenced::no);
  const auto k = static_cast<std::size_t>(m_config.teach.top_k);
  const auto tokens = batches.upload_rows(rows.log_rest, rows.batch, m_log_rest);
  batches.upload_rows(rows.log_p, rows.batch, m_log_p);
  batches.upload_rows(rows.ids, rows.batch, m_ids);
  const auto count = static_cast<std::size_t>(tokens);
  return {.ids = View2<const token_t>(m_ids.data(), count, k),
          .log_p = View2<const bfloat16>(m_log_p.data(), count, k),
          .log_rest = prefix(m_log_rest, tokens)};
}

}  // namespace elastic
