// SPDX-License-Identifier: Apache-2.0
#include "train/micro_batches.hpp"

#include <algorithm>
#include <numeric>

#include "base/region.hpp"

namespace elastic {
namespace {

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

MicroBatches::MicroBatches(const Communicator& group, const RunConfig& config, Arena& arena,
                           std::optional<Spans> spans)
    : m_group(group),
      m_arena(arena),
      m_deterministic(config.job.deterministic),
      m_size(config.job.deterministic ? 1 : config.parallel.micro_batch_size),
      m_spans(std::move(spans)) {}

SequenceRange MicroBatches::part(const SequenceRange& range, index_t m) const {
  SequenceRange part = range;
  part.first += m * m_size;
  part.count = std::min(m_size, range.count - m * m_size);
  return part;
}

Batch MicroBatches::read(const TokenSource& source, Split split,
                         const std::vector<index_t>& samples, index_t seq_length) const {
  const Region region("data", Fenced::no);
  Batch whole(static_cast<index_t>(samples.size()), seq_length);
  for (std::size_t b = 0; b < samples.size(); ++b)
    source.fill(split, samples[b], whole.row(static_cast<index_t>(b)));
  return whole;
}

Batch MicroBatches::read(const TokenSource& source, const SequenceRange& range) const {
  std::vector<index_t> samples(static_cast<std::size_t>(range.count));
  std::iota(samples.begin(), samples.end(), range.first);
  return read(source, range.split, samples, range.seq_length);
}

std::vector<Batch> MicroBatches::read_all(const TokenSource& source, const SequenceRange& range) {
  std::vector<Batch> batches;
  for (index_t m = m_group.rank(); m < count(range); m += m_group.size())
    batches.push_back(read(source, part(range, m)));
  return batches;
}

MicroBatch MicroBatches::load(const Batch& whole, Host host) {
  const Region region("data", Fenced::no);
  upload_batch(whole);
  if (host == Host::passes) fence(m_exec, "elastic::batch_uploaded");
  MicroBatch batch{.context = {.exec = m_exec,
                               .deterministic = m_deterministic,
                               .arena = &m_arena,
                               .batch = whole.batch,
                               .seq_length = whole.seq_length,
                               .segment = {}},
                   .tokens = {},
                   .targets = {},
                   .weight_sum = std::accumulate(whole.weight.begin(), whole.weight.end(), 0.0)};
  LayerContext& context = batch.context;
  if (m_spans) {
    context.batch *= m_spans->num_here();
    context.seq_length /= m_spans->layout().num_spans;
    context.segment = m_spans->segment();
    context.spans = &*m_spans;
  } else {
    context.segment = prefix(m_segment, context.num_tokens());
  }
  batch.tokens = prefix(m_tokens, context.num_tokens());
  batch.targets = {prefix(m_targets, context.num_tokens()), prefix(m_weight, context.num_tokens())};
  return batch;
}

void MicroBatches::upload_batch(const Batch& batch) {
  if (m_spans)
    m_spans->set_segments(m_exec, batch.batch, batch.segment);
  else
    upload(m_exec, batch.segment, m_segment);
  upload_rows(batch.tokens, batch.batch, m_tokens);
  upload_rows(batch.targets, batch.batch, m_targets);
  upload_rows(batch.weight, batch.batch, m_weight);
}

template <class U>
index_t MicroBatches::upload_rows(const std::vector<U>& whole, index_t batch, View1<U>& to) const {
  if (!m_spans) {
    upload(m_exec, whole, to);
    return static_cast<index_t>(whole.size());
  }
  const std::vector<U> here = m_spans->rows_here(whole, batch);
  upload(m_exec, here, to);
  fence(m_exec, "elastic::rows_uploaded");  // they end here
  return static_cast<index_t>(here.size());
}
template index_t MicroBatches::upload_rows(const std::vector<token_t>&, index_t,
                                           View1<token_t>&) const;
template index_t MicroBatches::upload_rows(const std::vector<float>&, index_t, View1<float>&) const;
template index_t MicroBatches::upload_rows(const std::vector<bfloat16>&, index_t,
                                           View1<bfloat16>&) const;

}  // namespace elastic
