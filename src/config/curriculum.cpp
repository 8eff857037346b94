// SPDX-License-Identifier: Apache-2.0
#include "config/curriculum.hpp"

#include <algorithm>

namespace elastic {

LrSchedule Stage::schedule(double peak) const {
  return {.kind = config.decay,
          .peak = peak,
          .warmup_steps = std::min(config.warmup_steps, steps),
          .final_fraction = config.final_fraction,
          .total_steps = steps,
          .decay_fraction = config.decay_fraction};
}

const Stage& Curriculum::stage_of(index_t step) const {
  for (const auto& stage : stages)
    if (step <= stage.last_step()) return stage;
  throw_contract(fmt::format("step {} lies behind the plan of {} steps", step, total_steps));
}

index_t Curriculum::tokens_after(index_t step) const {
  index_t tokens = 0;
  for (const auto& stage : stages)
    tokens +=
        std::clamp<index_t>(step - stage.first_step, 0, stage.steps) * stage.tokens_per_step();
  return tokens;
}

double Curriculum::router_progress(index_t step) const {
  const double last = static_cast<double>(std::max<index_t>(1, elastic_steps() - 1));
  return std::clamp(static_cast<double>(step - elastic_begin - 1) / last, 0.0, 1.0);
}

namespace {
std::vector<bool> recomputed_layers(const RunConfig& config, const StageConfig& stage) {
  switch (config.parallel.recompute) {
    case Recompute::none:
      return {};
    case Recompute::all:
      return std::vector<bool>(parent_shape(config).layers.size(), true);
    case Recompute::fit:
      return stage.recomputed;
  }
  return {};
}
}  // namespace

Curriculum make_curriculum(const RunConfig& config) {
  Curriculum plan;
  const auto add = [&](const StageConfig& stage, bool elastic) {
    plan.stages.push_back({.config = stage,
                           .elastic = elastic,
                           .first_step = plan.total_steps,
                           .steps = stage.num_steps(),
                           .stream = plan.stages.size() + 1,
                           .recomputed = recomputed_layers(config, stage)});
    auto& probability = plan.stages.back().config.budget_probability;
    if (elastic && probability.empty()) probability.assign(config.elastic.budgets.size(), 1.0);
    plan.total_steps += stage.num_steps();
  };
  if (config.job.has(Phase::pretrain)) add(config.pretrain, false);
  plan.elastic_begin = plan.total_steps;
  if (config.job.has(Phase::elastic))
    for (const auto& stage : config.stages) add(stage, true);
  return plan;
}

bool changes_model(const Curriculum& curriculum) {
  return std::any_of(curriculum.stages.begin(), curriculum.stages.end(),
                     [](const Stage& stage) { return stage.config.learning_rate > 0; });
}

BudgetDealConfig budget_deal_of(const RunConfig& config, const Stage& stage) {
  return {.seed = static_cast<std::uint32_t>(config.job.seed),
          .stage = stage.stream,
          .probabilities = stage.config.budget_probability,
          .samples = stage.config.global_batch_size,
          .budgets_per_sample = stage.config.budgets_per_sample,
          .samples_per_draw = config.router.samples_per_draw};
}

TrainingPasses training_passes(const RunConfig& config, const Stage& stage) {
  TrainingPasses passes{.distills = false, .cross_entropy = true, .recomputed = stage.recomputed};
  if (!stage.elastic) return passes;
  passes.distills = config.distill.distillation_weight != 0;
  passes.cross_entropy = config.distill.cross_entropy_weight != 0;
  passes.trains_teacher = stage.config.teacher == TeacherKind::trainable;
  passes.reads_teacher = stage.config.teacher == TeacherKind::stored;
  passes.keeps_logits =
      passes.distills && !passes.reads_teacher && stage.config.budgets_per_sample > 1;
  return passes;
}

index_t micro_batch_samples(const RunConfig& config, const Stage& stage) {
  const index_t most = std::min(config.parallel.micro_batch_size, stage.config.global_batch_size);
  return stage.elastic ? std::min(most, config.router.samples_per_draw) : most;
}

bool keeps_frozen_teacher(const Curriculum& curriculum) {
  const auto is = [](TeacherKind kind) {
    return [kind](const Stage& stage) { return stage.elastic && stage.config.teacher == kind; };
  };
  const auto& stages = curriculum.stages;
  return std::any_of(stages.begin(), stages.end(), is(TeacherKind::frozen)) ||
         std::none_of(stages.begin(), stages.end(), [&](const Stage& stage) {
           return is(TeacherKind::trainable)(stage) || is(TeacherKind::stored)(stage);
         });
}

index_t last_seq_length(const Curriculum& curriculum, const RunConfig& config) {
  return curriculum.stages.empty() ? config.rank.seq_length
                                   : curriculum.stages.back().config.seq_length;
}

std::string describe(const Curriculum& curriculum, const RunConfig& config) {
  std::string text =
      "plan     stage       steps      tokens  seq_length  batch   learning rate  budgets\n";
  for (const auto& stage : curriculum.stages) {
    std::string budgets = "parent";
    if (stage.elastic) {
      const auto shares =
          budget_shares(stage.config.budget_probability, stage.config.budgets_per_sample);
      budgets.clear();
      for (std::size_t i = 0; i < shares.size(); ++i)
        budgets +=
            fmt::format("{}{} x {:.2f}", i ? ", " : "", config.elastic.budget_name(i), shares[i]);
      if (stage.config.teacher == TeacherKind::trainable) budgets += "; trainable teacher";
      if (stage.config.teacher == TeacherKind::stored) budgets += "; stored teacher";
    }
    text += fmt::format("         {:<10} {:>6} {:>11} {:>11} {:>6} {:>15}  {}\n", stage.config.name,
                        stage.steps, stage.steps * stage.tokens_per_step(), stage.config.seq_length,
                        stage.config.global_batch_size, stage.config.learning_rate, budgets);
  }
  return text + fmt::format("         in all     {:>6} {:>11}", curriculum.total_steps,
                            curriculum.tokens_after(curriculum.total_steps));
}

}  // namespace elastic
