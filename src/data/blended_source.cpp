// SPDX-License-Identifier: Apache-2.0
// Blending by the largest deficit.
#include "data/blended_source.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.hpp"

namespace elastic {
namespace {
constexpr index_t snapshot_every = 1024;

/// The sum in the order of numpy.sum, by which Megatron-LM normalises weights: eight sums side by
/// side, halves of more than 128 terms apart.
double pairwise_sum(const double* terms, std::size_t count) {
  double sum = 0;
  if (count < 8) {
    for (std::size_t i = 0; i < count; ++i) sum += terms[i];
    return sum;
  }
  if (count > 128) {
    const std::size_t half = count / 2 - count / 2 % 8;
    return pairwise_sum(terms, half) + pairwise_sum(terms + half, count - half);
  }
  std::array<double, 8> lane{};
  std::copy_n(terms, 8, lane.begin());
  std::size_t i = 8;
  for (; i < count - count % 8; i += 8)
    for (std::size_t k = 0; k < 8; ++k) lane[k] += terms[i + k];
  sum = ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
  for (; i < count; ++i) sum += terms[i];
  return sum;
}
}  // namespace

BlendedSource::BlendedSource(std::vector<std::unique_ptr<TokenSource>> sources,
                             std::vector<double> weights)
    : m_sources(std::move(sources)), m_weights(std::move(weights)) {
  if (m_sources.empty() || m_sources.size() != m_weights.size())
    throw InputError(fmt::format("blending: {} sources and {} weights; expected one weight each",
                                 m_sources.size(), m_weights.size()));
  for (std::size_t i = 0; i < m_sources.size(); ++i) {
    if (!(m_weights[i] > 0) || !std::isfinite(m_weights[i]))
      throw InputError(fmt::format("blending: weight {} of source {}; expected a positive number",
                                   m_weights[i], i));
    if (m_sources[i]->vocab_size() != vocab_size())
      throw InputError(fmt::format("blending: source {} has a vocabulary of {}, source 0 of {}", i,
                                   m_sources[i]->vocab_size(), vocab_size()));
  }
  const double sum = pairwise_sum(m_weights.data(), m_weights.size());
  for (double& w : m_weights) w /= sum;
  m_snapshots.emplace_back(m_sources.size(), 0);
}

// Compiled without contraction (CMakeLists.txt): a fused w n - taken rounds once instead of twice,
// and breaks other ties.
std::size_t BlendedSource::best(index_t n, const std::vector<index_t>& taken) const {
  const auto deficit = [&](std::size_t i) {
    return m_weights[i] * static_cast<double>(std::max<index_t>(n, 1)) -
           static_cast<double>(taken[i]);
  };
  std::size_t result = 0;
  for (std::size_t i = 1; i < m_weights.size(); ++i)
    if (deficit(i) > deficit(result)) result = i;
  return result;
}

std::vector<index_t> BlendedSource::snapshot_before(index_t sample) const {
  const auto wanted = static_cast<std::size_t>(sample / snapshot_every);
  const std::lock_guard lock(m_mutex);
  while (m_snapshots.size() <= wanted) {
    auto taken = m_snapshots.back();
    const index_t first = static_cast<index_t>(m_snapshots.size() - 1) * snapshot_every;
    for (index_t n = first; n < first + snapshot_every; ++n) ++taken[best(n, taken)];
    m_snapshots.push_back(std::move(taken));
  }
  return m_snapshots[wanted];
}

BlendedSource::Pick BlendedSource::pick(index_t sample) const {
  ELASTIC_REQUIRE(sample >= 0, "sample {}", sample);
  auto taken = snapshot_before(sample);
  for (index_t n = sample / snapshot_every * snapshot_every; n < sample; ++n)
    ++taken[best(n, taken)];
  const std::size_t source = best(sample, taken);
  return {static_cast<index_t>(source), taken[source]};
}

bool BlendedSource::has_mask() const {
  return std::any_of(m_sources.begin(), m_sources.end(),
                     [](const auto& source) { return source->has_mask(); });
}

void BlendedSource::fill(Split split, index_t sample, Row row) const {
  const Pick picked = pick(sample);
  m_sources[static_cast<std::size_t>(picked.source)]->fill(split, picked.sample, row);
}

}  // namespace elastic
