// SPDX-License-Identifier: Apache-2.0
#include "plan/precision.hpp"

#include <fmt/format.h>

namespace elastic {

PrecisionConfig choose_precision(const RunConfig& config, const RankArithmetic& arithmetic) {
  const auto float32 = [](std::string reason) {
    return PrecisionConfig{Precision::float32, std::move(reason)};
  };
  const auto [ranks, fast] = arithmetic;
  const index_t width = config.model.hidden_size;
  if (config.job.deterministic)
    return float32("<job>/deterministic = true gives digits that depend on no processor");
  if (width < least_bfloat16_width)
    return float32(fmt::format("hidden_size {} is less than {}", width, least_bfloat16_width));
  if (fast == 0) return float32("no rank multiplies bfloat16 faster");
  if (fast < ranks)
    return float32(fmt::format("only {} of {} ranks multiply bfloat16 faster", fast, ranks));
  return {Precision::bfloat16,
          fmt::format("all ranks multiply it faster, and hidden_size {} is at least {}", width,
                      least_bfloat16_width)};
}

PrecisionConfig choose_precision(const RunConfig& config, const Machine& machine) {
  if (machine.rank.precision == Precision::float32)
    return {Precision::float32, fmt::format("{} has rates of float32", machine.file)};
  return choose_precision(config, RankArithmetic{.ranks = 1, .with_fast_bfloat16 = 1});
}

}  // namespace elastic
