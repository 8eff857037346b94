// SPDX-License-Identifier: Apache-2.0
// Batches of rows.
#include "data/token_source.hpp"

#include "base/error.hpp"

namespace elastic {

Batch::Batch(index_t batch_size, index_t length) : batch(batch_size), seq_length(length) {
  ELASTIC_REQUIRE(batch_size > 0 && length > 0, "batch {}, length {}", batch_size, length);
  const auto count = static_cast<std::size_t>(batch_size * length);
  tokens.resize(count);
  targets.resize(count);
  segment.resize(count);
  weight.resize(count);
}

Row Batch::row(index_t b) {
  ELASTIC_REQUIRE(b >= 0 && b < batch, "row {} of {}", b, batch);
  const auto begin = static_cast<std::size_t>(b * seq_length);
  const auto length = static_cast<std::size_t>(seq_length);
  return {std::span(tokens).subspan(begin, length), std::span(targets).subspan(begin, length),
          std::span(segment).subspan(begin, length), std::span(weight).subspan(begin, length)};
}

Batch make_batch(const TokenSource& source, Split split, index_t first_sample, index_t batch,
                 index_t seq_length) {
  Batch result(batch, seq_length);
  for (index_t b = 0; b < batch; ++b) source.fill(split, first_sample + b, result.row(b));
  return result;
}

}  // namespace elastic
