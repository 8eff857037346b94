// SPDX-License-Identifier: Apache-2.0
#include "verbs/logits.hpp"

#include <algorithm>
#include <cmath>

#include "io/checkpoint_file.hpp"
#include "state/stored_model.hpp"
#include "verbs/sequence_pass.hpp"
#include "verbs/token_text.hpp"
#include "verbs/verb_files.hpp"

namespace elastic {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t most_tokens = std::size_t(1) << 20;

std::vector<token_t> sequence_of(const fs::path& path, index_t vocab_size) {
  std::vector<token_t> tokens;
  for (const auto& line : read_token_lines(path, vocab_size))
    tokens.insert(tokens.end(), line.begin(), line.end());
  if (tokens.size() > most_tokens)
    throw InputError(fmt::format("{}: a sequence of {} tokens, expected at most {}", path.string(),
                                 tokens.size(), most_tokens));
  return tokens;
}

template <class Matrix>
void require_finite_row(const Matrix& logits, index_t row, index_t token) {
  for (std::size_t v = 0; v < logits.extent(1); ++v)
    if (!std::isfinite(widen(logits(row, v))))
      throw NumericsError(fmt::format("logits: after token {} the logit of word {} is {}", token, v,
                                      logits(row, v)));
}

/// Writes rows of logits to the dataset, `rows_at_once` of them in memory.
void write_rows(const LayerContext& context, const LanguageModel<Real>& model,
                const View2<Real>& hidden, index_t rows_at_once, CheckpointWriter& file) {
  const index_t length = context.num_tokens(), vocab = model.shape().vocab_size;
  const auto place = file.place("logits", Extents::matrix(length, vocab), StorageType::float32);
  const auto logits = context.arena->matrix<Real>(std::min(length, rows_at_once), vocab);
  for (index_t begin = 0; begin < length; begin += rows_at_once) {
    const index_t end = std::min(length, begin + rows_at_once);
    const auto chunk = rows(logits, 0, end - begin);
    model.logits(context.products(), rows(hidden, begin, end), chunk);
    const auto h_chunk = Kokkos::create_mirror_view_and_copy(HostSpace(), chunk);
    fence(context.exec, "elastic::logits");
    for (index_t t = begin; t < end; ++t) require_finite_row(h_chunk, t - begin, t);
    file.write_rows(place, {begin, end}, h_chunk.data());
  }
}

}  // namespace

std::string write_logits(const LogitsOptions& options) {
  const VerbInput checkpoint{options.checkpoint, "the checkpoint"},
      sequence{options.tokens, "the file of token ids"};
  require_input_file(checkpoint);
  require_output_file(options.out, options.force, {checkpoint, sequence});
  const CheckpointReader reader(options.checkpoint);
  reader.verify();
  const StoredModel stored = read_stored_model(reader);
  const auto& model = *stored.model;
  const ModelShape& shape = model.shape();
  const SubmodelSpec spec =
      options.budget.empty() ? full_spec(shape) : find_submodel(reader, stored, options.budget);
  const auto tokens = sequence_of(options.tokens, shape.vocab_size);
  const auto length = static_cast<index_t>(tokens.size());

  Arena arena;
  const SequencePass pass = read_sequence(stored, prefix_widths<Real>(shape, spec), tokens, arena);

  CheckpointWriter file(options.out);
  file.attribute("kind", "logits");
  const std::vector<index_t> wide(tokens.begin(), tokens.end());
  file.vector("tokens", wide.data(), length);
  const auto row_bytes = sizeof(Real) * static_cast<std::size_t>(shape.vocab_size);
  write_rows(pass.context, model, pass.hidden,
             static_cast<index_t>(std::max<std::size_t>(1, options.bytes_at_once / row_bytes)),
             file);
  file.commit();
  return fmt::format("{}: logits [{}, {}] of {}; {}", options.out.string(), length,
                     shape.vocab_size, options.checkpoint.string(), describe(shape, spec));
}

}  // namespace elastic
