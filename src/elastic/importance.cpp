// SPDX-License-Identifier: Apache-2.0
#include "elastic/importance.hpp"

#include <algorithm>
#include <numeric>

#include "base/random.hpp"

namespace elastic {
namespace {

constexpr std::uint64_t hidden_stream = 0, depth_stream = 1, first_layer_stream = 2;

std::vector<double> ordered(RankOrder order, std::vector<double> scores, std::uint32_t seed,
                            std::uint64_t stream) {
  const RandomKey key{seed, RandomPurpose::ranking, stream};
  for (std::size_t i = 0; i < scores.size(); ++i) switch (order) {
      case RankOrder::importance:
        break;
      case RankOrder::random:
        scores[i] = random_uniform(key, i);
        break;
      case RankOrder::reversed:
        scores[i] = -scores[i];
        break;
      case RankOrder::identity:
        scores[i] = 0;
        break;
    }
  return scores;
}

}  // namespace

std::string describe(const ImportanceMeasure& measure) {
  return fmt::format("{} of {}", measure.aggregation == Aggregation::sum ? "sums" : "mean/L2",
                     measure.activations == UnitActivations::outputs ? "outputs" : "projections");
}

ImportanceScores scores_in_order(RankOrder order, const ModelShape& shape,
                                 const ImportanceScores& measured, std::uint32_t seed) {
  ImportanceScores scores = measured;
  scores.hidden.resize(static_cast<std::size_t>(shape.hidden_size));
  scores.squares.resize(shape.layers.size());
  scores.hidden = ordered(order, scores.hidden, seed, hidden_stream);
  for (std::size_t l = 0; l < shape.layers.size(); ++l) {
    scores.squares[l].resize(static_cast<std::size_t>(shape.layers[l].inner()));
    scores.squares[l] = ordered(order, scores.squares[l], seed, first_layer_stream + l);
  }
  return scores;
}

std::vector<double> layers_in_order(RankOrder order, const std::vector<double>& measured,
                                    std::uint32_t seed) {
  if (order != RankOrder::identity) return ordered(order, measured, seed, depth_stream);
  std::vector<double> scores;
  for (std::size_t l = 0; l < measured.size(); ++l) scores.push_back(-static_cast<double>(l));
  return scores;
}

std::vector<index_t> least_important(const std::vector<double>& importance, index_t count) {
  std::vector<index_t> order(importance.size());
  std::iota(order.begin(), order.end(), index_t{0});
  std::stable_sort(order.begin(), order.end(), [&](index_t a, index_t b) {
    return importance[static_cast<std::size_t>(a)] < importance[static_cast<std::size_t>(b)];
  });
  std::sort(order.begin() + count, order.end());
  return order;
}

}  // namespace elastic
