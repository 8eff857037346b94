// SPDX-License-Identifier: Apache-2.0
#include "train/depth_search.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/on_grid.hpp"
#include "comm/all_ranks_agree.hpp"
#include "comm/collectives.hpp"
#include "elastic/importance.hpp"
#include "kernels/rows/cosine_similarity.hpp"
#include "kernels/rows/logit_difference.hpp"
#include "kernels/update/global_norm.hpp"

namespace elastic {
namespace {

std::vector<index_t> layers_from(index_t first, index_t end) {
  std::vector<index_t> layers(static_cast<std::size_t>(end - first));
  std::iota(layers.begin(), layers.end(), first);
  return layers;
}

/// sum_i w_i x_i
template <class A>
double weighted_sum(const View1<A>& x, const float* weights) {
  const auto h_x = Kokkos::create_mirror_view_and_copy(HostSpace(), x);
  double sum = 0;
  for (std::size_t i = 0; i < h_x.extent(0); ++i)
    if (weights[i] != 0) sum += static_cast<double>(weights[i]) * static_cast<double>(h_x(i));
  return sum;
}

/// Final states of a residual stream, [T, D], in memory that the caller holds.
template <class T>
void final_states(const LayerContext& context, const LanguageModel<T>& model,
                  const ActiveWidths<T>& widths, const View2<T>& stream, const View2<T>& to) {
  Arena& arena = *context.arena;
  const Arena::Scope scope(arena);
  const index_t mine = stream.extent_int(0);
  const bool all_here = mine == to.extent_int(0);
  const auto normed = all_here ? to : arena.matrix<T>(mine, stream.extent_int(1));
  const auto states =
      model.normalize(context, widths, stream, normed, arena.vector<Accumulate<T>>(mine));
  if (!all_here) Kokkos::deep_copy(context.exec, to, states);
}

}  // namespace

template <class T>
void DepthSearch<T>::compare(const LayerContext& context, const LanguageModel<T>& parent,
                             const View2<T>& full, const std::vector<View2<T>>& candidates,
                             const std::vector<float>& weights, double* differences, double& norm) {
  const index_t step = m_config.parallel.logit_chunk_tokens, tokens = context.num_tokens();
  for (index_t begin = 0; begin < tokens; begin += step) {
    const Arena::Scope chunk(m_arena);
    const index_t end = std::min(tokens, begin + step), count = end - begin;
    const auto a = m_arena.matrix<T>(count, parent.shape().vocab_size),
               b = m_arena.matrix<T>(count, parent.shape().vocab_size);
    const auto difference = m_arena.vector<Accumulate<T>>(count),
               square = m_arena.vector<Accumulate<T>>(count);
    const auto workspace = m_arena.vector<double>(kernels::norm_workspace(count));
    const auto sum = [&](const View1<Accumulate<T>>& of_rows) {
      if (!weights.empty()) return on_grid(weighted_sum(of_rows, &weights[begin]), 16);
      return on_grid(kernels::sum<Accumulate<T>>(context.exec, of_rows, workspace), 16);
    };
    parent.all_logits(context.products(), m_arena, rows(full, begin, end), a);
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      parent.all_logits(context.products(), m_arena, rows(candidates[i], begin, end), b);
      kernels::squared_difference<T>(context.exec, a, b, difference, square);
      differences[i] += sum(difference);
    }
    norm += sum(square);
  }
}

template <class T>
std::vector<double> DepthSearch<T>::logit_errors(const LanguageModel<T>& parent,
                                                 const std::vector<index_t>& kept) {
  const auto widths = parent.full_widths();
  const auto& stack = parent.stack();
  const std::size_t group = static_cast<std::size_t>(m_config.rank.depth_candidates);
  std::vector<double> sums(kept.size() + 1, 0.0);  // of each candidate, and of the parent's logits
  m_data.for_each_batch([&](const MicroBatch& batch) {
    const auto& context = batch.context;
    const index_t width = widths.hidden;
    const auto weights = m_data.weights(batch);
    auto full = parent.make_pass(Keep::nothing);
    parent.forward(context, widths, batch.tokens, full);
    const auto stream = parent.embed(context, widths, batch.tokens);
    for (std::size_t first = 0; first < kept.size(); first += group) {
      const Arena::Scope scope(m_arena);
      std::vector<View2<T>> candidates;
      for (std::size_t i = first; i < std::min(kept.size(), first + group); ++i) {
        agree_to_go_on(m_grid.tensor);  // a candidate of a large model takes its time
        candidates.push_back(m_arena.matrix<T>(context.num_tokens(), width));
        {
          const Arena::Scope candidate(m_arena);
          const auto without = m_arena.matrix<T>(stream.extent_int(0), width);
          Kokkos::deep_copy(context.exec, without, stream);
          stack.forward_some(context, widths,
                             {kept.begin() + static_cast<std::ptrdiff_t>(i) + 1, kept.end()},
                             without);
          final_states(context, parent, widths, without, candidates.back());
        }
        if (i + 1 < kept.size()) stack.forward_some(context, widths, {kept[i]}, stream);
      }
      double norm = 0;
      compare(context, parent, full.hidden, candidates, weights, &sums[first], norm);
      if (first == 0) sums.back() += norm;
    }
  });
  all_reduce_sum(m_grid.data_context, sums);
  if (m_data.has_mask()) m_data.require_weight(sums.back());
  std::vector<double> errors;
  for (std::size_t i = 0; i < kept.size(); ++i) {
    errors.push_back(sums[i] / sums.back());
    if (!std::isfinite(errors.back()))
      throw NumericsError(
          fmt::format("ranking: the logits without layer {} are not finite", kept[i]));
  }
  return errors;
}

template <class T>
std::vector<double> DepthSearch<T>::stream_turns(const LanguageModel<T>& parent) {
  const auto widths = parent.full_widths();
  const index_t num_layers = parent.shape().num_layers();
  std::vector<double> sums(static_cast<std::size_t>(num_layers) + 1, 0.0);  // and of tokens
  m_data.for_each_batch([&](const MicroBatch& batch) {
    const auto& context = batch.context;
    const auto stream = parent.embed(context, widths, batch.tokens);
    const index_t mine = stream.extent_int(0);
    const auto before = m_arena.matrix<T>(mine, widths.hidden);
    const auto weights = m_data.weights(batch);
    const auto first = parent.parallel().my_tokens(context.num_tokens()).first;
    const auto weight = [&](index_t t) {
      return weights.empty() ? 1.0 : weights[static_cast<std::size_t>(first + t)];
    };
    const auto cosine = m_arena.vector<Accumulate<T>>(mine);
    for (index_t l = 0; l < num_layers; ++l) {
      Kokkos::deep_copy(context.exec, before, stream);
      parent.stack().forward_some(context, widths, {l}, stream);
      kernels::cosine_similarity<T>(context.exec, before, stream, cosine);
      fence(context.exec, "elastic::stream_turns");
      const auto h_cosine = Kokkos::create_mirror_view_and_copy(HostSpace(), cosine);
      for (index_t t = 0; t < mine; ++t)
        if (weight(t) != 0)
          sums[static_cast<std::size_t>(l)] +=
              weight(t) * on_grid(1 - static_cast<double>(h_cosine(t)), 26);
    }
    for (index_t t = 0; t < mine; ++t) sums.back() += weight(t);
  });
  // With sequence parallelism every rank of a tensor group has the streams of its own tokens.
  if (parent.parallel().sequence_parallel()) all_reduce_sum(m_grid.tensor, sums);
  all_reduce_sum(m_grid.data_context, sums);
  if (m_data.has_mask()) m_data.require_weight(sums.back());
  std::vector<double> turns;
  for (index_t l = 0; l < num_layers; ++l) {
    turns.push_back(sums[static_cast<std::size_t>(l)] / sums.back());
    if (!std::isfinite(turns.back()))
      throw NumericsError(fmt::format("ranking: the stream after layer {} is not finite", l));
  }
  return turns;
}

template <class T>
std::vector<index_t> DepthSearch<T>::greedy_order(const LanguageModel<T>& parent, index_t count) {
  std::vector<index_t> kept = layers_from(0, parent.shape().num_layers()), order;
  while (static_cast<index_t>(order.size()) < count) {
    const auto errors = layers_in_order(m_config.rank.order, logit_errors(parent, kept), 0);
    const auto least = std::min_element(errors.begin(), errors.end()) - errors.begin();
    order.push_back(kept[static_cast<std::size_t>(least)]);
    kept.erase(kept.begin() + least);
  }
  order.insert(order.end(), kept.begin(), kept.end());
  return order;
}

template <class T>
std::vector<index_t> DepthSearch<T>::drop_order(const LanguageModel<T>& parent, index_t count) {
  const RankConfig& rank = m_config.rank;
  const index_t num_layers = parent.shape().num_layers();
  const bool measures = rank.order == RankOrder::importance || rank.order == RankOrder::reversed;
  if (measures && rank.depth_measure == DepthMeasure::logit_nmse)
    return greedy_order(parent, count);
  std::vector<double> importance;
  for (index_t l = 0; l < num_layers; ++l) importance.push_back(-static_cast<double>(l));
  if (measures && count > 0 && rank.depth_measure == DepthMeasure::cosine)
    importance = stream_turns(parent);
  return least_important(
      layers_in_order(rank.order, importance, static_cast<std::uint32_t>(m_config.job.seed)),
      count);
}

template class DepthSearch<float>;
template class DepthSearch<bfloat16>;

}  // namespace elastic
