// SPDX-License-Identifier: Apache-2.0
#include "train/importance_pass.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/on_grid.hpp"
#include "base/region.hpp"
#include "comm/collectives.hpp"
#include "kernels/rows/activation_score.hpp"
#include "parallel/whole_tensors.hpp"

namespace elastic {
namespace {

/// What a layer's activations, or their parts on this rank, add up to over the calibration data.
template <class T>
class ActivationTotals {
 public:
  ActivationTotals(Aggregation aggregation, index_t count)
      : m_aggregation(aggregation),
        m_of_batch("elastic::scores", count),
        m_totals(m_of_batch.extent(0), 0.0) {}

  /// [in] activations [T, count] of a micro-batch, shares [T] of its tokens or nothing
  void add(const LayerContext& context, const View2<const T>& activations,
           const View1<const float>& shares) {
    if (m_aggregation == Aggregation::sum)
      kernels::activation_sum<T>(context.exec, activations, m_of_batch, shares);
    else
      kernels::activation_score<T>(context.exec, activations, context.seq_length, m_of_batch,
                                   shares);
  }
  void end_batch() {
    const auto h_totals = Kokkos::create_mirror_view_and_copy(HostSpace(), m_of_batch);
    // Sums over tokens are larger than sums of squared means: a coarser grid holds them.
    const int bits = m_aggregation == Aggregation::sum ? 20 : 30;
    for (std::size_t i = 0; i < m_totals.size(); ++i) m_totals[i] += on_grid(h_totals(i), bits);
    Kokkos::deep_copy(m_of_batch, 0);
  }
  /// Squares of the scores of all units, over the sequences of all ranks.
  std::vector<double> squares(const Communicator& comm) const {
    auto squares = m_totals;
    all_reduce_sum(comm, squares);
    if (m_aggregation == Aggregation::sum)
      for (double& s : squares) s *= s;
    return squares;
  }

 private:
  Aggregation m_aggregation;
  View1<Accumulate<T>> m_of_batch;
  std::vector<double> m_totals;
};

/// Shares of the tokens in a score: their weights, or parts of the mean over their sequence.
View1<const float> shares_of(Aggregation aggregation, index_t seq_length,
                             std::vector<float> weights) {
  const auto length = static_cast<std::size_t>(seq_length);
  for (std::size_t first = 0; aggregation != Aggregation::sum && first < weights.size();
       first += length) {
    const auto begin = weights.begin() + static_cast<std::ptrdiff_t>(first),
               end = begin + seq_length;
    const float sum = std::accumulate(begin, end, 0.0f);
    for (auto w = begin; sum > 0 && w != end; ++w) *w /= sum;
  }
  const View1<float> shares("elastic::shares", weights.size());
  Kokkos::deep_copy(shares,
                    Kokkos::View<const float*, HostSpace, Kokkos::MemoryTraits<Kokkos::Unmanaged>>(
                        weights.data(), weights.size()));
  return shares;
}

void require_finite(const std::vector<double>& squares, const char* what, std::size_t layer) {
  if (!std::all_of(squares.begin(), squares.end(), [](double s) { return std::isfinite(s); }))
    throw NumericsError(fmt::format("ranking: {} of layer {} are not finite", what, layer));
}

}  // namespace

template <class T>
ImportanceScores ImportancePass<T>::width_scores(const LanguageModel<T>& parent) {
  const ModelShape& shape = parent.shape();
  const ImportanceMeasure& measure = m_config.rank.measure;
  const auto widths = parent.full_widths();
  std::vector<ActivationTotals<T>> streams, units;
  for (std::size_t l = 0; l < shape.layers.size(); ++l) {
    streams.emplace_back(measure.aggregation, shape.hidden_size);
    units.emplace_back(measure.aggregation,
                       widths.layers[l].width * widths.layers[l].head_channels);
  }
  double counted = 0;
  m_data.for_each_batch([&](const MicroBatch& batch) {
    const auto& context = batch.context;
    const auto weights = m_data.weights(batch);
    const auto shares = shares_of(measure.aggregation, context.seq_length, weights);
    counted += std::accumulate(weights.begin(), weights.end(), 0.0);
    auto pass = parent.make_pass(Keep::nothing);
    parent.forward(context, widths, batch.tokens, pass, [&](index_t l, const StackEntry<T>& entry) {
      streams[static_cast<std::size_t>(l)].add(context, entry.mixed, shares);
      units[static_cast<std::size_t>(l)].add(
          context,
          parent.stack().layer(l).importance_activations(*entry.saved, measure.activations),
          shares);
    });
    for (auto* totals : {&streams, &units})
      for (auto& of_layer : *totals) of_layer.end_batch();
  });
  if (m_data.has_mask()) m_data.require_weight(all_reduce_sum(m_grid.data_context, counted));
  ImportanceScores scores;
  scores.hidden.assign(static_cast<std::size_t>(shape.hidden_size), 0.0);
  for (std::size_t l = 0; l < shape.layers.size(); ++l) {
    const auto stream = streams[l].squares(m_grid.data_context);
    require_finite(stream, "normed inputs", l);
    for (std::size_t i = 0; i < stream.size(); ++i) scores.hidden[i] += std::sqrt(stream[i]);
    const auto mine = units[l].squares(m_grid.data_context);
    auto whole = gather_shards<double>(
        m_grid.tensor,
        {.columns = shape.layers[l].inner(), .column_unit = shape.layers[l].head_channels},
        mine.data());
    broadcast(m_grid.tensor, whole);
    require_finite(whole, "activations", l);
    scores.squares.push_back(std::move(whole));
  }
  return scores;
}

template <class T>
Ranking ImportancePass<T>::ranking(const LanguageModel<T>& parent) {
  const Region region("rank");
  const RankConfig& rank = m_config.rank;
  const ModelShape& shape = parent.shape();
  const ElasticSpace space = elastic_space(m_config, shape);
  const auto& channels = space.mamba_head_channels.widths;
  const index_t kept_channels = channels.empty() ? m_config.model.mamba_head_dim : channels.back();
  ImportanceScores scores;
  if (rank.order == RankOrder::importance || rank.order == RankOrder::reversed)
    scores = width_scores(parent);
  Ranking ranking = rank_parent(
      shape,
      scores_in_order(rank.order, shape, scores, static_cast<std::uint32_t>(m_config.job.seed)),
      kept_channels);
  ranking.drop_order = m_depth.drop_order(parent, space.depth.widths.back());
  return ranking;
}

template class ImportancePass<float>;
template class ImportancePass<bfloat16>;

}  // namespace elastic
