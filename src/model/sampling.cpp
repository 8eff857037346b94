// SPDX-License-Identifier: Apache-2.0
#include "model/sampling.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "base/error.hpp"
#include "model/decoder.hpp"

namespace elastic {
namespace {

/// exp((logit - max) / temperature) in falling order, with the tokens they belong to.
struct Candidates {
  std::vector<token_t> tokens;
  std::vector<double> weights;
};
template <class T>
Candidates candidates_of(std::span<const T> logits, double temperature) {
  Candidates result;
  result.tokens.resize(logits.size());
  std::iota(result.tokens.begin(), result.tokens.end(), 0);
  std::stable_sort(result.tokens.begin(), result.tokens.end(),
                   [&](token_t a, token_t b) { return widen(logits[a]) > widen(logits[b]); });
  const auto largest = static_cast<double>(logits[result.tokens.front()]);
  for (const token_t token : result.tokens)
    result.weights.push_back(
        std::exp((static_cast<double>(logits[token]) - largest) / temperature));
  return result;
}

/// Length of the shortest row of weights whose sum reaches this part of the sum of all.
std::size_t nucleus(const std::vector<double>& weights, double top_p) {
  const double wanted = top_p * std::accumulate(weights.begin(), weights.end(), 0.0);
  double sum = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    sum += weights[i];
    if (sum >= wanted) return i + 1;
  }
  return weights.size();
}

}  // namespace

void check_sampling(const SamplingConfig& config) {
  if (!(config.temperature >= 0 && std::isfinite(config.temperature)))
    throw InputError(fmt::format("temperature {}: expected 0 (the most likely token) or more",
                                 config.temperature));
  if (!(config.top_p > 0 && config.top_p <= 1))
    throw InputError(fmt::format("top-p {}: expected a number in (0, 1]", config.top_p));
}

template <class T>
token_t sample_token(std::span<const T> logits, const SamplingConfig& config, double uniform) {
  for (std::size_t v = 0; v < logits.size(); ++v)
    if (!std::isfinite(widen(logits[v])))
      throw NumericsError(fmt::format("the logit of token {} is {}", v, widen(logits[v])));
  if (config.temperature == 0) {
    const auto less = [](T a, T b) { return widen(a) < widen(b); };
    return static_cast<token_t>(std::max_element(logits.begin(), logits.end(), less) -
                                logits.begin());
  }
  const auto candidates = candidates_of(logits, config.temperature);
  const auto kept = static_cast<std::ptrdiff_t>(nucleus(candidates.weights, config.top_p));
  const auto begin = candidates.weights.begin();
  double left = uniform * std::accumulate(begin, begin + kept, 0.0);
  for (std::ptrdiff_t i = 0; i + 1 < kept; ++i) {
    left -= begin[i];
    if (left < 0) return candidates.tokens[static_cast<std::size_t>(i)];
  }
  return candidates.tokens[static_cast<std::size_t>(kept - 1)];
}

template <class T>
std::vector<token_t> choose_tokens(const ExecutionSpace& exec, View2<const T> logits,
                                   const SamplingConfig& config, index_t first_sequence,
                                   index_t position) {
  if (config.temperature == 0) return most_likely<T>(exec, logits);
  const auto h_logits = Kokkos::create_mirror_view_and_copy(HostSpace(), logits);
  std::vector<token_t> result;
  for (index_t b = 0; b < logits.extent_int(0); ++b) {
    const RandomKey key{config.seed, RandomPurpose::sampling,
                        static_cast<std::uint64_t>(first_sequence + b)};
    result.push_back(sample_token<T>({&h_logits(b, 0), h_logits.extent(1)}, config,
                                     random_uniform(key, static_cast<std::uint64_t>(position))));
  }
  return result;
}

#define ELASTIC_INSTANTIATE(T)                                                          \
  template token_t sample_token<T>(std::span<const T>, const SamplingConfig&, double);  \
  template std::vector<token_t> choose_tokens<T>(const ExecutionSpace&, View2<const T>, \
                                                 const SamplingConfig&, index_t, index_t);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
