// SPDX-License-Identifier: Apache-2.0
#include "train/teach_pass.hpp"

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/log.hpp"
#include "base/region.hpp"
#include "comm/collectives.hpp"
#include "comm/rounds.hpp"
#include "io/durable_file.hpp"
#include "train/stored_rows.hpp"
#include "train/token_sources.hpp"

namespace elastic {
namespace {
constexpr index_t blocks_at_once = 64;  // looked at between two questions whether to stop

template <class T>
std::vector<T> on_host(const View1<T>& view) {
  std::vector<T> values(view.extent(0));
  Kokkos::deep_copy(HostView1<T>(values.data(), values.size()), view);
  return values;
}
template <class T>
std::vector<T> on_host(const View2<T>& compact) {
  return on_host(View1<T>(compact.data(), compact.size()));
}
}  // namespace

template <class T>
std::vector<index_t> TeachPass<T>::missing(const TeacherFile& file) {
  const index_t ranks = m_grid.world.size(), samples = file.samples(),
                rounds = (samples + ranks * blocks_at_once - 1) / (ranks * blocks_at_once);
  std::vector<index_t> whole(static_cast<std::size_t>(samples), 0), gone;
  for_each_round(
      m_grid.world, 1, rounds,
      [&](index_t round) {
        const index_t first = (round * ranks + m_grid.world.rank()) * blocks_at_once;
        for (index_t s = first; s < std::min(first + blocks_at_once, samples); ++s)
          whole[static_cast<std::size_t>(s)] = file.holds(s) ? 1 : 0;
      },
      [](index_t) {});
  all_reduce_max(m_grid.world, whole.data(), samples);
  for (index_t s = 0; s < samples; ++s)
    if (whole[static_cast<std::size_t>(s)] == 0) gone.push_back(s);
  return gone;
}

/// What the teacher says of each sequence; equal on all ranks that share the model.
template <class T>
std::vector<TeacherBlock> TeachPass<T>::say(const LanguageModel<T>& teacher,
                                            const StoredTeacher& wanted, const Batch& whole,
                                            const std::vector<index_t>& samples) {
  const Arena::Scope scope(m_arena);
  const MicroBatch batch = m_batches.load(whole);
  const auto& context = batch.context;
  const index_t tokens = context.num_tokens(), k = wanted.layout.top_k, L = whole.seq_length,
                chunk = std::min(tokens, m_config.parallel.logit_chunk_tokens);
  const auto ids = m_arena.matrix<token_t>(tokens, k);
  const auto log_p = m_arena.matrix<bfloat16>(tokens, k);
  const auto log_rest = m_arena.vector<bfloat16>(tokens);
  auto pass = teacher.make_pass(Keep::nothing);
  teacher.forward(context, teacher.full_widths(), batch.tokens, pass);
  const auto logits = m_arena.matrix<T>(chunk, wanted.layout.vocab_size);
  for (index_t begin = 0; begin < tokens; begin += chunk) {
    const index_t end = std::min(tokens, begin + chunk);
    const auto here = rows(logits, 0, end - begin);
    teacher.all_logits(context.products(), m_arena, rows(pass.hidden, begin, end), here);
    kernels::top_words<T>(context.exec, here, m_config.distill.temperature,
                          {rows(ids, begin, end), rows(log_p, begin, end),
                           Kokkos::subview(log_rest, Range(begin, end))});
  }
  fence(context.exec, "elastic::taught");
  const auto h_ids = on_host(ids);
  const auto h_log_p = on_host(log_p), h_log_rest = on_host(log_rest);
  const auto bad = std::find_if(h_log_p.begin(), h_log_p.end(),
                                [](bfloat16 x) { return !std::isfinite(static_cast<float>(x)); });
  if (bad != h_log_p.end())
    throw NumericsError(
        fmt::format("teach ({}): what the parent says of token {} of sequence {} is not finite",
                    wanted.stage, (bad - h_log_p.begin()) / k % L,
                    samples[static_cast<std::size_t>((bad - h_log_p.begin()) / (k * L))]));
  std::vector<TeacherBlock> blocks;
  for (index_t b = 0; b < whole.batch; ++b) {
    const auto part = [&](const auto& all, index_t columns) {
      return std::vector(all.begin() + b * L * columns, all.begin() + (b + 1) * L * columns);
    };
    blocks.push_back({.identity = sequence_identity(whole, b),
                      .log_rest = part(h_log_rest, 1),
                      .log_p = part(h_log_p, k),
                      .ids = part(h_ids, k)});
  }
  return blocks;
}

template <class T>
void TeachPass<T>::run(const LanguageModel<T>& teacher, const StoredTeacher& wanted,
                       const std::string& parent, const std::function<void()>& go_on) {
  const Region region("teach");
  std::optional<TeacherFile> file;
  all_ranks_agree(m_grid.world, [&] {
    if (!m_grid.world.is_root()) return;
    make_folder(wanted.path.parent_path());
    file.emplace(
        TeacherFile::begin(wanted.path, wanted.fields_of(parent), wanted.layout, wanted.samples));
  });
  std::unique_ptr<TokenSource> source;
  all_ranks_agree(m_grid.world, [&] {
    if (!file) file.emplace(TeacherFile::join(wanted.path, wanted.layout));
    source = make_source(m_config, wanted.stream);
  });
  const std::vector<index_t> gone = missing(*file);
  const double start = wall_seconds();
  log::info("teach: {} of the {} sequences of {} are missing in {}", gone.size(), file->samples(),
            wanted.stage, file->path().string());

  const auto count = static_cast<index_t>(gone.size()), size = m_batches.size();
  const index_t replicas = m_grid.data_context.size(), each = replicas * size;
  std::vector<index_t> samples;
  std::vector<TeacherBlock> said;
  std::optional<Batch> batch;
  // Blocks are written before the next pass, where an error of one rank is agreed on.
  const auto write = [&] {
    if (m_grid.tensor.is_root())
      for (std::size_t i = 0; i < said.size(); ++i) file->write(samples[i], said[i]);
    said.clear();
  };
  for_each_round(
      m_grid.world, m_grid.tensor.size(), (count + each - 1) / each,
      [&](index_t round) {
        write();
        const index_t first = std::min(count, round * each + m_grid.data_context.rank() * size),
                      last = std::min(count, first + size);
        samples.assign(gone.begin() + first, gone.begin() + last);
        batch.reset();
        if (!samples.empty())
          batch = m_batches.read(*source, Split::train, samples, wanted.layout.seq_length);
      },
      [&](index_t round) {
        if (round > 0) go_on();
        if (batch) said = say(teacher, wanted, *batch, samples);
      });
  all_ranks_agree(m_grid.world, [&] {
    write();
    file->sync();
  });
  all_ranks_agree(m_grid.world, [&] {
    if (m_grid.world.is_root()) TeacherFile::finish(wanted.path);
  });
  log::info("teach: {} is complete: {:.1f} s", wanted.path.string(), wall_seconds() - start);
}

template class TeachPass<float>;
template class TeachPass<bfloat16>;

}  // namespace elastic
