// SPDX-License-Identifier: Apache-2.0
#include "plan/ranking.hpp"

#include "plan/units.hpp"

namespace elastic {
namespace {

bool looks_at_data(const RankConfig& rank) {
  return rank.order == RankOrder::importance || rank.order == RankOrder::reversed;
}
index_t most_dropped(const RunConfig& config) {
  const auto& drops = config.elastic.drop_layers;
  return drops.empty() ? 0 : drops.back();
}

/// Counts passes layer by layer.
class Passes {
 public:
  explicit Passes(const ModelShape& local) : m_local(local), m_of_layer(local.layers.size(), 0.0) {}

  void all_layers() {
    for (double& passes : m_of_layer) passes += 1;
    m_plan.models += 1;
  }
  /// One round of logit_nmse in which the first `kept` layers are left.
  void round(index_t kept, index_t candidates) {
    all_layers();
    for (index_t l = 0; l < kept; ++l)  // of the candidates before it, and of the current stack
      m_of_layer[static_cast<std::size_t>(l)] += static_cast<double>(l) + (l + 1 < kept ? 1 : 0);
    const auto num_layers = static_cast<double>(m_of_layer.size()), k = static_cast<double>(kept);
    m_plan.from_beginning += k * (num_layers + k - 1);
    m_plan.models += k / 2 + 0.5;  // the stack is embedded, candidates are normed
    m_plan.logits += k + static_cast<double>((kept + candidates - 1) / candidates);
  }
  RankingPlan finish(index_t seq_length) {
    const PassOptions options{.seq_length = seq_length};
    ModelShape one = m_local;
    for (std::size_t l = 0; l < m_of_layer.size(); ++l) {
      one.layers = {m_local.layers[l]};
      m_plan.per_token += m_of_layer[l] * stack_work(one, options);
      m_plan.layer_passes += m_of_layer[l];
    }
    one.layers.clear();
    m_plan.per_token += m_plan.models * forward_work(one, options);
    m_plan.per_token += m_plan.logits * logits_work(m_local);
    return m_plan;
  }

 private:
  const ModelShape& m_local;
  std::vector<double> m_of_layer;
  RankingPlan m_plan;
};

std::string depth_text(const RunConfig& config) {
  const index_t drops = most_dropped(config);
  if (drops == 0) return "no layer is dropped";
  const char* how = "by the logits' error without them";
  if (!looks_at_data(config.rank))
    how = config.rank.order == RankOrder::random ? "at random" : "from the last on";
  else if (config.rank.depth_measure == DepthMeasure::cosine)
    how = "by how far they turn the stream";
  else if (config.rank.depth_measure == DepthMeasure::last_layers)
    how = "from the last on";
  return fmt::format("up to {} layer{} {}", drops, drops == 1 ? "" : "s", how);
}

}  // namespace

RankingPlan plan_ranking(const RunConfig& config, const ModelShape& local) {
  const RankConfig& rank = config.rank;
  const index_t num_layers = local.num_layers(), drops = most_dropped(config);
  Passes passes(local);
  if (!looks_at_data(rank)) return {};
  passes.all_layers();
  if (rank.depth_measure == DepthMeasure::logit_nmse)
    for (index_t r = 0; r < drops; ++r) passes.round(num_layers - r, rank.depth_candidates);
  if (rank.depth_measure == DepthMeasure::cosine && drops > 0) passes.all_layers();
  return passes.finish(rank.seq_length);
}

std::string ranking_text(const RunConfig& config) {
  const RankConfig& rank = config.rank;
  std::string widths = rank.order == RankOrder::random ? "at random" : "as they stand";
  if (looks_at_data(rank)) widths = "by " + describe(rank.measure);
  if (rank.order == RankOrder::reversed) widths += ", the most important last";
  return fmt::format("widths {}; {}", widths, depth_text(config));
}

std::string ranking_lines(const RunConfig& config, const ModelShape& parent, double bytes) {
  const RankConfig& rank = config.rank;
  const RankingPlan plan = plan_ranking(config, parent);
  std::string text = plan_line("ranking", ranking_text(config));
  if (plan.layer_passes == 0) return text;
  const double tokens = static_cast<double>(rank.samples * rank.seq_length);
  std::string passes = fmt::format("{} layer passes", grouped(plan.layer_passes));
  if (plan.from_beginning > 0)
    passes += fmt::format(" ({} without shared prefixes) and {} times logits",
                          grouped(plan.from_beginning + static_cast<double>(parent.num_layers())),
                          grouped(plan.logits));
  return text + plan_line("", fmt::format("{} on {} sequences of {} tokens: {} in all, {} of "
                                          "working memory per rank",
                                          passes, rank.samples, rank.seq_length,
                                          with_prefix(tokens * plan.per_token.flops(), "FLOP"),
                                          in_bytes(bytes)));
}

}  // namespace elastic
