// SPDX-License-Identifier: Apache-2.0
#include "train/importance_pass.hpp"

#include <algorithm>
#include <cmath>

#include "base/region.hpp"
#include "comm/all_ranks_agree.hpp"
#include "comm/collectives.hpp"
#include "kernels/activation_score.hpp"
#include "kernels/global_norm.hpp"
#include "kernels/logit_difference.hpp"

namespace elastic {
namespace {
constexpr std::uint64_t kCalibrationStream = 1000001;  // no training stage reads these samples

/// Device accumulators of one list of scores.
std::vector<double> to_scores(const Communicator& comm, const View1<float>& squares) {
  const auto h_squares = Kokkos::create_mirror_view_and_copy(HostSpace(), squares);
  std::vector<double> scores(h_squares.data(), h_squares.data() + h_squares.extent(0));
  all_reduce_sum(comm, scores);
  for (double& s : scores) s = std::sqrt(s);
  return scores;
}
}  // namespace

ImportancePass::ImportancePass(const Communicator& comm, const RunConfig& config, Arena& arena)
    : m_comm(comm),
      m_config(config),
      m_arena(arena),
      m_source(make_source(config, kCalibrationStream)) {}

template <class Body>
void ImportancePass::for_each_batch(const Body& body) {
  const index_t size = std::min(m_config.parallel.micro_batch_size, m_config.rank.samples);
  all_ranks_agree(m_comm, [&] {
    for (index_t b = m_comm.rank(); b * size < m_config.rank.samples; b += m_comm.size()) {
      const Arena::Scope scope(m_arena);
      const index_t count = std::min(size, m_config.rank.samples - b * size);
      m_batch.set(m_exec,
                  make_batch(*m_source, Split::train, b * size, count, m_config.rank.seq_length));
      body(m_batch.context(m_exec, m_arena));
    }
  });
}

ImportanceScores ImportancePass::width_scores(const LanguageModel<float>& parent) {
  const ModelShape& shape = parent.shape();
  const auto widths = parent.full_widths();
  View1<float> hidden("elastic::hidden_score", shape.hidden_size);
  std::vector<View1<float>> layers;
  for (const auto& layer : shape.layers) layers.emplace_back("elastic::layer_score", layer.inner());
  for_each_batch([&](const LayerContext& context) {
    auto pass = parent.make_pass(Keep::nothing);
    parent.forward(
        context, widths, m_batch.tokens(), pass, [&](index_t l, const StackEntry<float>& entry) {
          kernels::activation_score<float>(m_exec, entry.normed, context.seq_length, hidden);
          kernels::activation_score<float>(
              m_exec, parent.stack().layer(l).importance_activations(*entry.saved),
              context.seq_length, layers[static_cast<std::size_t>(l)]);
        });
  });
  ImportanceScores scores{.hidden = to_scores(m_comm, hidden), .layers = {}};
  for (const auto& layer : layers) scores.layers.push_back(to_scores(m_comm, layer));
  return scores;
}

double ImportancePass::logit_error(const LanguageModel<float>& parent, const SubmodelSpec& spec) {
  const ModelShape& shape = parent.shape();
  const auto full = parent.full_widths(), cut = parent.widths(spec);
  std::vector<double> sums(2, 0.0);
  for_each_batch([&](const LayerContext& context) {
    auto full_pass = parent.make_pass(Keep::nothing), cut_pass = parent.make_pass(Keep::nothing);
    parent.forward(context, full, m_batch.tokens(), full_pass);
    parent.forward(context, cut, m_batch.tokens(), cut_pass);
    const index_t step = m_config.parallel.logit_chunk_tokens;
    for (index_t begin = 0; begin < context.num_tokens(); begin += step) {
      const Arena::Scope chunk(m_arena);
      const index_t end = std::min(context.num_tokens(), begin + step), count = end - begin;
      const auto a = m_arena.matrix<float>(count, shape.vocab_size),
                 b = m_arena.matrix<float>(count, shape.vocab_size);
      const auto difference = m_arena.vector<float>(count), norm = m_arena.vector<float>(count);
      parent.all_logits(m_exec, m_arena, rows(full_pass.hidden, begin, end), a);
      parent.all_logits(m_exec, m_arena, rows(cut_pass.hidden, begin, end), b);
      kernels::squared_difference<float>(m_exec, a, b, difference, norm);
      sums[0] += kernels::sum<float>(m_exec, difference);
      sums[1] += kernels::sum<float>(m_exec, norm);
    }
  });
  all_reduce_sum(m_comm, sums);
  return sums[0] / sums[1];
}

std::vector<index_t> ImportancePass::drop_order(const LanguageModel<float>& parent, index_t count) {
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

Ranking ImportancePass::rank(const LanguageModel<float>& parent) {
  const Region region("rank");
  const ElasticSpace space = elastic_space(m_config, parent.shape());
  const auto& channels = space.mamba_head_channels.widths;
  const index_t kept_channels = channels.empty() ? m_config.model.mamba_head_dim : channels.back();
  Ranking ranking = rank_parent(parent.shape(), width_scores(parent), kept_channels);
  ranking.drop_order = drop_order(parent, space.depth.widths.back());
  return ranking;
}

}  // namespace elastic
