// SPDX-License-Identifier: Apache-2.0
#include "elastic/ranking.hpp"

#include <algorithm>
#include <numeric>

#include "arch/layer_kind.hpp"

namespace elastic {
namespace {

using Order = std::vector<index_t>;

Order identity(index_t count) {
  Order order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), index_t{0});
  return order;
}

/// `members` by falling score, ties by index.
Order sorted(Order members, const std::vector<double>& score) {
  std::stable_sort(members.begin(), members.end(),
                   [&](index_t a, index_t b) { return score[a] > score[b]; });
  return members;
}

/// Units sorted inside their groups u % groups, interleaved across groups.
Order sorted_in_groups(const std::vector<double>& score, index_t groups) {
  const auto count = static_cast<index_t>(score.size());
  Order order(score.size());
  for (index_t g = 0; g < groups; ++g) {
    Order members;
    for (index_t u = g; u < count; u += groups) members.push_back(u);
    members = sorted(members, score);
    for (std::size_t place = 0; place < members.size(); ++place)
      order[static_cast<index_t>(place) * groups + g] = members[place];
  }
  return order;
}

/// Squared L2 norms over heads (per channel) or over the given channels (per head).
std::vector<double> channel_scores(const LayerShape& shape, const std::vector<double>& squares) {
  std::vector<double> score(static_cast<std::size_t>(shape.head_channels), 0.0);
  for (index_t i = 0; i < shape.inner(); ++i) score[i % shape.head_channels] += squares[i];
  return score;
}
std::vector<double> head_scores(const LayerShape& shape, const std::vector<double>& squares,
                                const Order& channels, index_t kept_channels) {
  std::vector<double> score(static_cast<std::size_t>(shape.width), 0.0);
  for (index_t h = 0; h < shape.width; ++h)
    for (index_t c = 0; c < kept_channels; ++c)
      score[h] += squares[h * shape.head_channels + channels[c]];
  return score;
}

Order inverted(const Order& order) {
  Order result(order.size());
  for (std::size_t j = 0; j < order.size(); ++j) result[order[j]] = static_cast<index_t>(j);
  return result;
}
Order composed(const Order& first, const Order& second) {
  ELASTIC_REQUIRE(first.size() == second.size(), "rankings of {} and {} units", first.size(),
                  second.size());
  Order result;
  for (const index_t j : second) result.push_back(first[j]);
  return result;
}

bool is_identity(const Order& order) { return std::is_sorted(order.begin(), order.end()); }

template <class T>
void permute(const View2<T>& value, const Order& rows, const Order& columns) {
  if (is_identity(rows) && is_identity(columns)) return;
  const auto host = Kokkos::create_mirror_view(value);
  Kokkos::deep_copy(host, value);
  const auto width = columns.size();
  const auto result =
      permuted(std::vector<T>(host.data(), host.data() + rows.size() * width), rows, columns);
  std::copy(result.begin(), result.end(), host.data());
  Kokkos::deep_copy(value, host);
}

}  // namespace

template <class T>
std::vector<T> permuted(const std::vector<T>& values, const std::vector<index_t>& rows,
                        const std::vector<index_t>& columns) {
  std::vector<T> result;
  result.reserve(values.size());
  for (const index_t i : rows)
    for (const index_t j : columns)
      result.push_back(values[i * static_cast<index_t>(columns.size()) + j]);
  return result;
}
template std::vector<bfloat16> permuted(const std::vector<bfloat16>&, const std::vector<index_t>&,
                                        const std::vector<index_t>&);
template std::vector<float> permuted(const std::vector<float>&, const std::vector<index_t>&,
                                     const std::vector<index_t>&);
template std::vector<double> permuted(const std::vector<double>&, const std::vector<index_t>&,
                                      const std::vector<index_t>&);

bool ranks_channels(const LayerShape& layer) {
  return description_of(layer).channel_axis.has_value();
}

Ranking identity_ranking(const ModelShape& shape) {
  Ranking ranking;
  ranking.hidden = identity(shape.hidden_size);
  for (const auto& layer : shape.layers) {
    ranking.units.push_back(identity(layer.width));
    ranking.channels.push_back(identity(ranks_channels(layer) ? layer.head_channels : 0));
  }
  return ranking;
}

Ranking rank_parent(const ModelShape& shape, const ImportanceScores& scores,
                    index_t kept_channels) {
  ELASTIC_REQUIRE(static_cast<index_t>(scores.hidden.size()) == shape.hidden_size,
                  "{} hidden scores", scores.hidden.size());
  ELASTIC_REQUIRE(static_cast<index_t>(scores.squares.size()) == shape.num_layers(),
                  "scores of {} layers", scores.squares.size());
  Ranking ranking = identity_ranking(shape);
  ranking.hidden = sorted(ranking.hidden, scores.hidden);
  for (index_t l = 0; l < shape.num_layers(); ++l) {
    const auto& layer = shape.layers[l];
    const auto& squares = scores.squares[l];
    ELASTIC_REQUIRE(static_cast<index_t>(squares.size()) == layer.inner(),
                    "layer {}: {} scores, expected {}", l, squares.size(), layer.inner());
    Order channels = identity(layer.head_channels);
    index_t kept = layer.head_channels;
    if (ranks_channels(layer)) {
      kept = std::min(kept_channels, layer.head_channels);
      channels = sorted(channels, channel_scores(layer, squares));
      ranking.channels[l] = channels;
    }
    ranking.units[l] =
        sorted_in_groups(head_scores(layer, squares, channels, kept), layer.num_groups);
  }
  return ranking;
}

std::vector<index_t> permutation(const ModelShape& shape, const Ranking& ranking, Dim dim,
                                 index_t layer, index_t fixed_extent) {
  if (dim == Dim::fixed) return identity(fixed_extent);
  if (dim == Dim::hidden) return ranking.hidden;
  const index_t block = shape.extent(dim, layer) / shape.layers[layer].width;
  const bool by_channel = ranks_channels(shape.layers[layer]) && block > 1;
  const Order channels = by_channel ? ranking.channels[layer] : identity(block);
  Order order;
  for (const index_t unit : ranking.units[layer])
    for (const index_t c : channels) order.push_back(unit * block + c);
  return order;
}

template <class T>
void apply_ranking(const ModelShape& shape, const Ranking& ranking,
                   const ParameterStore<T>& parameters) {
  for (const auto& p : parameters) {
    const auto& info = p.info;
    const auto rows = permutation(shape, ranking, info.row_dim, info.layer, info.rows);
    const auto columns = permutation(shape, ranking, info.column_dim, info.layer, info.columns);
    with_values(p, [&](const auto& values) {
      require_shape("apply_ranking", info.name.c_str(), values, static_cast<index_t>(rows.size()),
                    static_cast<index_t>(columns.size()));
      permute(values, rows, columns);
    });
  }
}
template void apply_ranking<bfloat16>(const ModelShape&, const Ranking&,
                                      const ParameterStore<bfloat16>&);
template void apply_ranking<float>(const ModelShape&, const Ranking&, const ParameterStore<float>&);
template void apply_ranking<double>(const ModelShape&, const Ranking&,
                                    const ParameterStore<double>&);

Ranking inverse(const Ranking& ranking) {
  Ranking result = ranking;
  result.hidden = inverted(ranking.hidden);
  for (auto& order : result.units) order = inverted(order);
  for (auto& order : result.channels) order = inverted(order);
  return result;
}

Ranking compose(const Ranking& first, const Ranking& second) {
  ELASTIC_REQUIRE(first.units.size() == second.units.size(), "rankings of {} and {} layers",
                  first.units.size(), second.units.size());
  Ranking result = second.drop_order.empty() ? first : second;
  result.hidden = composed(first.hidden, second.hidden);
  for (std::size_t l = 0; l < first.units.size(); ++l) {
    result.units[l] = composed(first.units[l], second.units[l]);
    result.channels[l] = composed(first.channels[l], second.channels[l]);
  }
  return result;
}

}  // namespace elastic
