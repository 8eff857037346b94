// SPDX-License-Identifier: Apache-2.0
// Rows of an indexed dataset.
#include "data/indexed_source.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "data/packing.hpp"
#include "data/permutation.hpp"

namespace elastic {

IndexedSource::IndexedSource(const IndexedSourceConfig& config, std::uint32_t seed,
                             std::uint64_t stream)
    : m_dataset(config.prefix, config.vocab_size, config.with_mask),
      m_key{seed, RandomPurpose::sample_order, stream} {
  const index_t every = config.validation_every, count = m_dataset.num_documents();
  if (every < 2)
    throw InputError(fmt::format("{}: every {}-th document is held out; expected 2 or more",
                                 m_dataset.path(), every));
  std::vector<index_t> shuffled(static_cast<std::size_t>(count));
  if (count > 0) {
    const Permutation permutation(count, random_subkey(m_key, 0));
    for (index_t i = 0; i < count; ++i) shuffled[static_cast<std::size_t>(i)] = permutation(i);
  }
  for (const index_t d : shuffled) {
    Order& order = d % every == every - 1 ? m_validation : m_train;
    order.document.push_back(d);
    order.start.push_back(order.start.back() + m_dataset.document_length(d));
  }
  for (const Order* order : {&m_train, &m_validation}) {
    const char* use = order == &m_train ? "training" : "validation";
    if (order->start.back() == 0)
      throw InputError(fmt::format(
          "{}: no tokens are left for {}: {} documents, of which every {}-th is held out",
          m_dataset.path(), use, count, every));
    if (std::none_of(order->document.begin(), order->document.end(),
                     [&](index_t d) { return m_dataset.has_target(d); }))
      throw InputError(
          fmt::format("{}: no token has a target for {}: each of its {} documents has {}",
                      m_dataset.mask() ? m_dataset.mask()->path() : m_dataset.path(), use,
                      order->document.size(),
                      m_dataset.mask() ? "only zeros behind its first token" : "one token"));
  }
}

index_t IndexedSource::rows_per_epoch(Split split, index_t seq_length) const {
  return (order(split).start.back() + seq_length - 1) / seq_length;
}

void IndexedSource::fill(Split split, index_t sample, Row row) const {
  ELASTIC_REQUIRE(sample >= 0, "sample {}", sample);
  const Order& joined = order(split);
  const index_t rows = rows_per_epoch(split, row.length());
  const auto epoch = static_cast<std::uint64_t>(sample / rows);
  const auto choice = 2 * (epoch + 1) + (split == Split::validation);
  const index_t r = Permutation(rows, random_subkey(m_key, choice))(sample % rows);

  RowPacker packer(row);
  index_t token = r * row.length();
  const auto after = std::upper_bound(joined.start.begin(), joined.start.end(), token);
  std::vector<token_t> piece;
  std::vector<float> counts;
  for (auto i = static_cast<std::size_t>(after - joined.start.begin()) - 1;
       i < joined.document.size() && packer.space() > 0; ++i) {
    const index_t begin = token - joined.start[i], left = joined.start[i + 1] - token;
    const index_t count = std::min(left, packer.space());
    piece.resize(static_cast<std::size_t>(std::min(left, count + 1)));
    m_dataset.read(joined.document[i], begin, piece);
    if (m_dataset.mask()) {
      counts.resize(piece.size());
      m_dataset.read_counts(joined.document[i], begin, counts);
    }
    packer.add_piece(piece, count, counts);
    token += count;
  }
  packer.finish(0);
}

}  // namespace elastic
