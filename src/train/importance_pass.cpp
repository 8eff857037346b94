// SPDX-License-Identifier: Apache-2.0
#include "train/importance_pass.hpp"

#include <cmath>

#include "base/on_grid.hpp"
#include "base/region.hpp"
#include "comm/all_ranks_agree.hpp"
#include "comm/collectives.hpp"
#include "kernels/rows/activation_score.hpp"
#include "kernels/rows/logit_difference.hpp"
#include "kernels/update/global_norm.hpp"
#include "parallel/whole_tensors.hpp"
#include "train/token_sources.hpp"

namespace elastic {
namespace {
constexpr std::uint64_t calibration_stream = 1000001;  // no training stage reads these samples

/// Scores of some units, summed over batches on the host: L2 over sequences of mean activations.
struct Scores {
  explicit Scores(index_t count)
      : of_batch("elastic::scores", count), squares(of_batch.extent(0), 0.0) {}

  void end_batch() {
    const auto h_squares = Kokkos::create_mirror_view_and_copy(HostSpace(), of_batch);
    for (std::size_t i = 0; i < squares.size(); ++i) squares[i] += on_grid(h_squares(i));
    Kokkos::deep_copy(of_batch, 0.0f);
  }
  /// The sum over the sequences of all ranks.
  std::vector<double> total(const Communicator& comm) const {
    auto sums = squares;
    all_reduce_sum(comm, sums);
    for (double& s : sums) s = std::sqrt(s);
    return sums;
  }

  View1<Accumulate<Real>> of_batch;
  std::vector<double> squares;
};
}  // namespace

ImportancePass::ImportancePass(const ProcessGrid& grid, const RunConfig& config, Arena& arena)
    : m_grid(grid),
      m_config(config),
      m_arena(arena),
      m_source(make_source(config, calibration_stream)),
      m_batches(grid.data_context, config, arena) {}

template <class Body>
void ImportancePass::for_each_batch(const Body& body) {
  all_ranks_agree(m_grid.world, [&] {
    m_batches.for_each(
        *m_source, {.count = m_config.rank.samples, .seq_length = m_config.rank.seq_length}, body);
  });
}

ImportanceScores ImportancePass::width_scores(const LanguageModel<Real>& parent) {
  const ModelShape& shape = parent.shape();
  const auto widths = parent.full_widths();
  Scores hidden(shape.hidden_size);
  std::vector<Scores> layers;
  for (std::size_t l = 0; l < shape.layers.size(); ++l)
    layers.emplace_back(widths.layers[l].width * widths.layers[l].head_channels);
  for_each_batch([&](const MicroBatch& batch) {
    const auto& context = batch.context;
    const auto add_scores = [&](index_t l, const StackEntry<Real>& entry) {
      kernels::activation_score<Real>(context.exec, entry.mixed, context.seq_length,
                                      hidden.of_batch);
      kernels::activation_score<Real>(
          context.exec, parent.stack().layer(l).importance_activations(*entry.saved),
          context.seq_length, layers[static_cast<std::size_t>(l)].of_batch);
    };
    auto pass = parent.make_pass(Keep::nothing);
    parent.forward(context, widths, batch.tokens, pass, add_scores);
    hidden.end_batch();
    for (auto& layer : layers) layer.end_batch();
  });
  ImportanceScores scores{.hidden = hidden.total(m_grid.data_context), .layers = {}};
  for (std::size_t l = 0; l < layers.size(); ++l) {
    const auto mine = layers[l].total(m_grid.data_context);
    auto whole = gather_shards<double>(
        m_grid.tensor,
        {.columns = shape.layers[l].inner(), .column_unit = shape.layers[l].head_channels},
        mine.data());
    broadcast(m_grid.tensor, whole);
    scores.layers.push_back(std::move(whole));
  }
  return scores;
}

double ImportancePass::logit_error(const LanguageModel<Real>& parent, const SubmodelSpec& spec) {
  const ModelShape& shape = parent.shape();
  const auto full = parent.full_widths(), cut = parent.widths(spec);
  std::vector<double> sums(2, 0.0);
  for_each_batch([&](const MicroBatch& batch) {
    const auto& context = batch.context;
    auto full_pass = parent.make_pass(Keep::nothing), cut_pass = parent.make_pass(Keep::nothing);
    parent.forward(context, full, batch.tokens, full_pass);
    parent.forward(context, cut, batch.tokens, cut_pass);
    const index_t step = m_config.parallel.logit_chunk_tokens;
    for (index_t begin = 0; begin < context.num_tokens(); begin += step) {
      const Arena::Scope chunk(m_arena);
      const index_t end = std::min(context.num_tokens(), begin + step), count = end - begin;
      const auto a = m_arena.matrix<Real>(count, shape.vocab_size),
                 b = m_arena.matrix<Real>(count, shape.vocab_size);
      const auto difference = m_arena.vector<Accumulate<Real>>(count),
                 norm = m_arena.vector<Accumulate<Real>>(count);
      parent.all_logits(context.products(), m_arena, rows(full_pass.hidden, begin, end), a);
      parent.all_logits(context.products(), m_arena, rows(cut_pass.hidden, begin, end), b);
      kernels::squared_difference<Real>(context.exec, a, b, difference, norm);
      sums[0] += on_grid(kernels::sum<Accumulate<Real>>(context.exec, difference), 16);
      sums[1] += on_grid(kernels::sum<Accumulate<Real>>(context.exec, norm), 16);
    }
  });
  all_reduce_sum(m_grid.data_context, sums);
  return sums[0] / sums[1];
}

std::vector<index_t> ImportancePass::drop_order(const LanguageModel<Real>& parent, index_t count) {
  SubmodelSpec spec = full_spec(parent.shape());
  std::vector<index_t> order;
  while (static_cast<index_t>(order.size()) < count) {
    index_t least = -1;
    double least_error = 0;
    for (std::size_t l = 0; l < spec.layers.size(); ++l) {
      if (!spec.layers[l].keep) continue;
      spec.layers[l].keep = false;
      const double error = logit_error(parent, spec);
      spec.layers[l].keep = true;
      if (least < 0 || error < least_error) {
        least = static_cast<index_t>(l);
        least_error = error;
      }
    }
    spec.layers[static_cast<std::size_t>(least)].keep = false;
    order.push_back(least);
  }
  // Layers beyond those that may be dropped complete the list, so that it names every layer.
  for (std::size_t l = 0; l < spec.layers.size(); ++l)
    if (spec.layers[l].keep) order.push_back(static_cast<index_t>(l));
  return order;
}

Ranking ImportancePass::ranking(const LanguageModel<Real>& parent) {
  const Region region("rank");
  const ElasticSpace space = elastic_space(m_config, parent.shape());
  const auto& channels = space.mamba_head_channels.widths;
  const index_t kept_channels = channels.empty() ? m_config.model.mamba_head_dim : channels.back();
  Ranking ranking = rank_parent(parent.shape(), width_scores(parent), kept_channels);
  ranking.drop_order = drop_order(parent, space.depth.widths.back());
  return ranking;
}

}  // namespace elastic
