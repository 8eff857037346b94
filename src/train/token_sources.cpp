// SPDX-License-Identifier: Apache-2.0
#include "train/token_sources.hpp"

#include <cmath>
#include <numeric>

#include "data/blended_source.hpp"
#include "data/indexed_source.hpp"
#include "data/reasoning_source.hpp"

namespace elastic {
namespace {

std::unique_ptr<TokenSource> make_indexed(const DataConfig& data, std::uint32_t seed,
                                          std::uint64_t stream) {
  std::vector<std::unique_ptr<TokenSource>> sources;
  for (const auto& file : data.train)
    sources.push_back(std::make_unique<IndexedSource>(
        IndexedSourceConfig{
            .prefix = file,
            .vocab_size = data.vocab_size,
            .validation_every = static_cast<index_t>(std::lround(1 / data.validation_fraction))},
        seed, stream));
  if (sources.size() == 1) return std::move(sources.front());
  auto weights = data.weights;
  if (weights.empty()) weights.assign(sources.size(), 1.0);
  return std::make_unique<BlendedSource>(std::move(sources), weights);
}

/// Copies to a View that grows when it must.
template <class T>
void upload(const ExecutionSpace& exec, const std::vector<T>& from, View1<T>& to) {
  if (to.extent(0) < from.size())
    to = View1<T>(Kokkos::view_alloc("elastic::batch", Kokkos::WithoutInitializing), from.size());
  const Kokkos::View<const T*, HostSpace, Kokkos::MemoryTraits<Kokkos::Unmanaged>> h_from(
      from.data(), from.size());
  Kokkos::deep_copy(exec, prefix(to, static_cast<index_t>(from.size())), h_from);
}

}  // namespace

ReasoningConfig reasoning_config(const RunConfig& config) {
  ReasoningConfig reasoning = config.data.reasoning;
  reasoning.families.clear();
  for (const auto& name : config.data.families)
    reasoning.families.push_back(family_from_name(name));
  return reasoning;
}

std::unique_ptr<TokenSource> make_source(const RunConfig& config, std::uint64_t stream) {
  const auto seed = static_cast<std::uint32_t>(config.job.seed);
  switch (config.data.source) {
    case SourceKind::reasoning:
      return std::make_unique<ReasoningSource>(reasoning_config(config), seed, stream);
    case SourceKind::text:
      return std::make_unique<TextSource>(
          TextSourceConfig{.files = config.data.train,
                           .validation_fraction = config.data.validation_fraction},
          seed, stream);
    case SourceKind::indexed:
      return make_indexed(config.data, seed, stream);
  }
  throw_contract("unknown token source");
}

void DeviceBatch::set(const ExecutionSpace& exec, const Batch& batch) {
  m_batch = batch.batch;
  m_seq_length = batch.seq_length;
  if (m_spans) {
    m_batch *= m_spans->num_here();
    m_seq_length /= m_spans->layout().num_spans;
    m_spans->set_segments(exec, batch.batch, batch.segment);
  } else {
    upload(exec, batch.segment, m_segment);
  }
  m_num_tokens = m_batch * m_seq_length;
  m_weight_sum = std::accumulate(batch.weight.begin(), batch.weight.end(), 0.0);
  const auto upload_rows = [&](const auto& whole, auto& to) {
    if (!m_spans) return upload(exec, whole, to);
    upload(exec, m_spans->rows_here(whole, batch.batch), to);
    fence(exec, "elastic::rows_uploaded");  // they end here
  };
  upload_rows(batch.tokens, m_tokens);
  upload_rows(batch.targets, m_targets);
  upload_rows(batch.weight, m_weight);
  fence(exec, "elastic::batch_uploaded");
}

LayerContext DeviceBatch::context(const ExecutionSpace& exec, Arena& arena) const {
  LayerContext context{
      .exec = exec, .arena = &arena, .batch = m_batch, .seq_length = m_seq_length, .segment = {}};
  if (m_spans) {
    context.segment = m_spans->segment();
    context.spans = &*m_spans;
  } else {
    context.segment = prefix(m_segment, m_num_tokens);
  }
  return context;
}

}  // namespace elastic
