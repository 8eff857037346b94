// SPDX-License-Identifier: Apache-2.0
// Where training tokens come from: a row of tokens is a pure function of (source, split, sample
// index, length). Nothing is remembered between calls, so a run resumes by its sample index alone
// and any rank may produce any row.
#pragma once
#include <span>
#include <vector>

#include "base/types.hpp"

namespace elastic {

/// Training tokens and held-out tokens never overlap.
enum class Split { train, validation };

/// A text whose tokens may see each other.
struct Document {
  std::vector<token_t> tokens;
  std::vector<float> weight;  ///< loss weight of predicting token i (i >= 1; weight[0] is not used)
};

/// One sequence of L tokens, seen as part of a batch. Every span has L elements.
struct Row {
  std::span<token_t> tokens;   ///< ids in [0, V)
  std::span<token_t> targets;  ///< the next token of the same document; 0 where there is none
  /// Document of each token: 0, 1, 2, ...; padding has the last id of its own.
  std::span<token_t> segment;
  /// Loss weight of each target; 0 at the last token of a document and on padding.
  std::span<float> weight;
  index_t length() const { return static_cast<index_t>(tokens.size()); }
};

/// B rows of L tokens, flattened to [B*L].
struct Batch {
  Batch() = default;
  Batch(index_t batch_size, index_t length);
  /// Row b of the batch.
  Row row(index_t b);

  index_t batch = 0, seq_length = 0;
  std::vector<token_t> tokens, targets, segment;
  std::vector<float> weight;
};

/// The interface of all sources.
class TokenSource {
 public:
  virtual ~TokenSource() = default;
  /// V: every token lies in [0, V).
  virtual index_t vocab_size() const = 0;
  /// Writes row number `sample` (>= 0; sources are endless) of a split into all elements of `row`.
  /// A pure function: equal arguments give equal rows in any order of calls. Throws InputError
  /// where a data file is found to be wrong.
  virtual void fill(Split split, index_t sample, Row row) const = 0;
  /// Whether a mask says which tokens count as targets (LossMask). The parent is then ranked by
  /// what it does where they do; otherwise by what it does everywhere.
  virtual bool has_mask() const { return false; }
};

/// Rows first_sample, ..., first_sample + batch - 1.
Batch make_batch(const TokenSource& source, Split split, index_t first_sample, index_t batch,
                 index_t seq_length);

}  // namespace elastic
