// SPDX-License-Identifier: Apache-2.0
// Importance of units and layers in double, by plain loops over one calibration sequence after the
// other; and decks and parents to rank.
#pragma once
#include <numeric>

#include "train/importance_pass.hpp"
#include "unit_tests/train/masked_data.hpp"
#include "unit_tests/train/small_run.hpp"

namespace elastic::test {

using Overrides = std::vector<std::string>;
using Order = std::vector<index_t>;

inline Overrides with(Overrides overrides, const Overrides& more) {
  overrides.insert(overrides.end(), more.begin(), more.end());
  return overrides;
}
/// The small deck with five calibration sequences and weights that are large enough to matter.
inline ResolvedDeck ranked_deck(const Overrides& overrides = {}) {
  return small_deck(
      with({"rank/samples=5", "rank/seq_length=40", "model/init_std=0.3"}, overrides));
}
/// Overrides for MLPs alone.
inline const Overrides only_mlps = {"model/hybrid_layer_pattern=-----", "elastic/mamba_num_heads=",
                                    "elastic/mamba_head_dim=", "elastic/num_attention_heads="};
inline Ranking rank(const RunConfig& config, const LanguageModel<float>& parent) {
  const ProcessGrid grid(Communicator::self(), {});
  Arena arena;
  return ImportancePass<Real>(grid, config, arena).ranking(parent);
}

/// Rows of a projection that are multiples of one vector: activations are in the ratio of `scale`.
inline void plant(const LanguageModel<float>& model, const std::string& name,
                  const std::vector<double>& scale) {
  const View2<float> value = model.parameters().find(name)->value;
  const auto direction = random_values<float>(static_cast<index_t>(value.extent(1)), 5);
  std::vector<float> rows;
  for (const double s : scale)
    for (const float x : direction) rows.push_back(static_cast<float>(s) * x);
  assign(value, rows);
}
/// Multiplies a whole tensor.
inline void scale(const LanguageModel<float>& model, const std::string& name, float factor) {
  const View2<float> value = model.parameters().find(name)->value;
  auto values = to_host(value);
  for (float& x : values) x *= factor;
  assign(value, values);
}

/// Scores and logits of the calibration data in double.
class ImportanceReference {
 public:
  /// `stream`, `split`: of the sequences; the defaults are those of the ranking.
  ImportanceReference(const RunConfig& config, const LanguageModel<float>& parent,
                      std::uint64_t stream = 1000001, Split split = Split::train)
      : m_config(config), m_stream(stream), m_split(split), m_model(parent.shape(), true) {
    assign(m_model.parameters().values(), to_double(parent.parameters().values()));
  }

  /// Hidden channels: the scores of the normed inputs, summed over layers. Units: squares.
  ImportanceScores scores() {
    const auto layers = m_model.shape().layers.size();
    std::vector<Totals> streams(layers, Totals(m_model.shape().hidden_size)), units;
    for (const auto& layer : m_model.shape().layers) units.emplace_back(layer.inner());
    for_each_sequence([&](const LayerContext& context, const View1<token_t>& tokens) {
      auto pass = m_model.make_pass(Keep::nothing);
      m_model.forward(context, m_model.full_widths(), tokens, pass,
                      [&](index_t l, const StackEntry<double>& entry) {
                        const auto normed = to_host(entry.mixed);
                        add(streams[static_cast<std::size_t>(l)], normed);
                        add(units[static_cast<std::size_t>(l)],
                            activations(l, normed, to_host(context.segment)));
                      });
    });
    ImportanceScores scores;
    scores.hidden.assign(static_cast<std::size_t>(m_model.shape().hidden_size), 0);
    for (std::size_t l = 0; l < layers; ++l) {
      for (std::size_t i = 0; i < scores.hidden.size(); ++i)
        scores.hidden[i] += std::sqrt(squares(streams[l])[i]);
      scores.squares.push_back(squares(units[l]));
    }
    return scores;
  }
  /// sum (logits - logits_of(spec))^2 / sum logits^2
  double logit_error(const SubmodelSpec& spec) {
    double difference = 0, norm = 0;
    for_each_sequence([&](const LayerContext& context, const View1<token_t>& tokens) {
      const auto full = logits(context, tokens, full_spec(m_model.shape())),
                 cut = logits(context, tokens, spec);
      const std::size_t V = full.size() / m_weight.size();
      for (std::size_t i = 0; i < full.size(); ++i) {
        difference += m_weight[i / V] * std::pow(full[i] - cut[i], 2);
        norm += m_weight[i / V] * std::pow(full[i], 2);
      }
    });
    return difference / norm;
  }
  /// logit_error without the given layers.
  double error_without(const Order& layers) {
    SubmodelSpec spec = full_spec(m_model.shape());
    for (const index_t l : layers) spec.layers[static_cast<std::size_t>(l)].keep = false;
    return logit_error(spec);
  }
  /// 1 - mean cos(stream before, stream after) of every layer.
  std::vector<double> turns() {
    std::vector<double> turns(m_model.shape().layers.size(), 0.0);
    double tokens_in_all = 0;
    for_each_sequence([&](const LayerContext& context, const View1<token_t>& tokens) {
      auto pass = m_model.make_pass(Keep::nothing);
      tokens_in_all += weight_in_all();
      m_model.forward(context, m_model.full_widths(), tokens, pass,
                      [&](index_t l, const StackEntry<double>& entry) {
                        const auto before = to_host(entry.input), added = to_host(entry.output);
                        const auto width = static_cast<std::size_t>(m_model.shape().hidden_size);
                        for (std::size_t t = 0; t < before.size() / width; ++t) {
                          double product = 0, square = 0, square_after = 0;
                          for (std::size_t c = t * width; c < (t + 1) * width; ++c) {
                            const double after = before[c] + added[c];
                            product += before[c] * after;
                            square += before[c] * before[c];
                            square_after += after * after;
                          }
                          turns[static_cast<std::size_t>(l)] +=
                              m_weight[t] * (1 - product / std::sqrt(square * square_after));
                        }
                      });
    });
    for (double& turn : turns) turn /= tokens_in_all;
    return turns;
  }

 private:
  /// sum_b (mean_t |a|)^2 or sum_{b,t} |a| of each column.
  using Totals = std::vector<double>;

  template <class Body>
  void for_each_sequence(const Body& body) {
    const auto source = make_source(m_config, m_stream);
    for (index_t i = 0; i < m_config.rank.samples; ++i) {
      const Arena::Scope scope(m_arena);
      const Batch row = make_batch(*source, m_split, i, 1, m_config.rank.seq_length);
      // Where a mask says which tokens count, only they do.
      m_weight.assign(row.weight.size(), 1);
      if (source->has_mask()) m_weight.assign(row.weight.begin(), row.weight.end());
      body({.exec = {},
            .arena = &m_arena,
            .batch = 1,
            .seq_length = m_config.rank.seq_length,
            .segment = to_device(row.segment)},
           to_device(row.tokens));
    }
  }
  void add(Totals& totals, const std::vector<double>& a) const {
    const std::size_t columns = totals.size(), tokens = a.size() / columns;
    for (std::size_t c = 0; c < columns; ++c) {
      double sum = 0;
      for (std::size_t t = 0; t < tokens; ++t) sum += m_weight[t] * std::abs(a[t * columns + c]);
      const double mean = sum > 0 ? sum / weight_in_all() : 0;
      totals[c] += is_sum() ? sum : mean * mean;
    }
  }
  std::vector<double> squares(Totals totals) const {
    if (is_sum())
      for (double& s : totals) s *= s;
    return totals;
  }
  double weight_in_all() const { return std::accumulate(m_weight.begin(), m_weight.end(), 0.0); }
  bool is_sum() const { return m_config.rank.measure.aggregation == Aggregation::sum; }

  /// [T, rows] = normed W^T, by plain loops.
  std::vector<double> projected(index_t l, const std::string& part,
                                const std::vector<double>& normed) const {
    const auto weight =
        to_host(m_model.parameters().find(fmt::format("layers.{}.mixer.{}", l, part))->value);
    const index_t D = m_model.shape().hidden_size, T = static_cast<index_t>(normed.size()) / D,
                  rows = static_cast<index_t>(weight.size()) / D;
    std::vector<double> result;
    for (index_t t = 0; t < T; ++t)
      for (index_t i = 0; i < rows; ++i)
        result.push_back(
            std::inner_product(&normed[t * D], &normed[t * D] + D, &weight[i * D], 0.0));
    return result;
  }
  /// Causal attention inside documents, head by head. Head a reads the keys of a mod groups.
  std::vector<double> attended(const LayerShape& layer, index_t l,
                               const std::vector<double>& normed,
                               const std::vector<token_t>& segment) const {
    const auto q = projected(l, "q_proj", normed), k = projected(l, "k_proj", normed),
               v = projected(l, "v_proj", normed);
    const index_t C = layer.head_channels, A = layer.width, R = layer.num_groups,
                  T = static_cast<index_t>(segment.size());
    std::vector<double> heads(static_cast<std::size_t>(T * A * C), 0.0);
    for (index_t t = 0; t < T; ++t)
      for (index_t a = 0; a < A; ++a) {
        double norm = 0;
        for (index_t j = 0; j <= t; ++j) {
          if (segment[j] != segment[t]) continue;
          double score = 0;
          for (index_t c = 0; c < C; ++c)
            score += q[(t * A + a) * C + c] * k[(j * R + a % R) * C + c];
          const double weight = std::exp(score / std::sqrt(static_cast<double>(C)));
          norm += weight;
          for (index_t c = 0; c < C; ++c)
            heads[(t * A + a) * C + c] += weight * v[(j * R + a % R) * C + c];
        }
        for (index_t c = 0; c < C; ++c) heads[(t * A + a) * C + c] /= norm;
      }
    return heads;
  }
  /// [T, inner] of one layer: x of Mamba; queries or heads' outputs; neurons before or after
  /// their activation.
  std::vector<double> activations(index_t l, const std::vector<double>& normed,
                                  const std::vector<token_t>& segment) const {
    const LayerShape& layer = m_model.shape().layers[static_cast<std::size_t>(l)];
    const bool outputs = m_config.rank.measure.activations == UnitActivations::outputs;
    if (layer.kind == LayerKind::mamba) return projected(l, "in_proj.x", normed);
    if (layer.kind == LayerKind::attention)
      return outputs ? attended(layer, l, normed, segment) : projected(l, "q_proj", normed);
    auto neurons = projected(l, "up_proj", normed);
    if (outputs)
      for (double& a : neurons) a = a > 0 ? a * a : 0;
    return neurons;
  }
  std::vector<double> logits(const LayerContext& context, const View1<token_t>& tokens,
                             const SubmodelSpec& spec) {
    const Arena::Scope scope(m_arena);
    auto pass = m_model.make_pass(Keep::nothing);
    m_model.forward(context, m_model.widths(spec), tokens, pass);
    const auto out = m_arena.matrix<double>(context.num_tokens(), m_model.shape().vocab_size);
    m_model.all_logits(context.products(), m_arena, pass.hidden, out);
    return to_host(out);
  }

  std::vector<double> m_weight;  // of each token of the sequence
  const RunConfig& m_config;
  std::uint64_t m_stream;
  Split m_split;
  LanguageModel<double> m_model;
  Arena m_arena;
};

}  // namespace elastic::test
