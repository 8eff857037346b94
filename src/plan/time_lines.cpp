// SPDX-License-Identifier: Apache-2.0
// The predicted times as text.
#include "elastic/cost_model.hpp"
#include "plan/saves.hpp"
#include "plan/time.hpp"
#include "plan/units.hpp"

namespace elastic {
namespace {

/// "12.3 s", "4.56 h", "78.9 days"
std::string duration(double seconds) {
  if (seconds < 120) return fmt::format("{:.3g} s", seconds);
  if (seconds < 7200) return fmt::format("{:.3g} min", seconds / 60);
  if (seconds < 48 * 3600.0) return fmt::format("{:.3g} h", seconds / 3600);
  return fmt::format("{:.4g} days", seconds / 86400);
}

/// A number of a column that is 9 wide.
std::string cell(double seconds) {
  if (seconds == 0) return fmt::format("{:>10}", "-");
  return fmt::format(" {:>9.4g}", seconds);
}

std::string heading() {
  std::string text = fmt::format("{:<12}", "stage");
  for (const char* name : {"step [s]", "teacher", "forward", "loss", "backward", "messages",
                           "waiting", "gradients", "update", "values"})
    text += fmt::format("{:>10}", name);
  return text + fmt::format("{:>11}{:>10}", "efficiency", "products");
}

/// `alone`: a step of one rank with all the work; `flops`: of the step, without recomputation.
std::string row(const std::string& name, const StepTime& time, const StepTime& alone, double flops,
                const Machine& machine, const Layout& layout) {
  const auto ranks = static_cast<double>(layout.ranks());
  std::string text = fmt::format("{:<12}", name);
  for (const double seconds :
       {time.total(), time.teacher, time.forward, time.loss, time.backward, time.messages,
        time.waiting, time.gradients, time.update, time.values})
    text += cell(seconds);
  return text + fmt::format("{:>11.3f}{:>9.1f}%", alone.total() / (ranks * time.total()),
                            100 * flops / (ranks * machine.rank.matrix_products * time.total()));
}

/// Times that `interval` divides steps of a stage, and the stage's end.
index_t times_due(const Stage& stage, index_t interval) {
  if (interval == 0) return 1;
  return stage.last_step() / interval - stage.first_step / interval +
         (stage.last_step() % interval == 0 ? 0 : 1);
}

struct RunTime {
  double steps = 0, full_steps = 0, validation = 0, checkpoints = 0;
};

}  // namespace

std::string time_lines(const RunConfig& config, const Machine& machine, const ModelShape& parent,
                       const ElasticPlan& elastic, const Layout& layout, double checkpoint_bytes) {
  std::string text = plan_line(
      "time", fmt::format("on {}: {} rank{} = {} tensor x {} context x {} data, {} to a node",
                          machine.file, layout.ranks(), layout.ranks() == 1 ? "" : "s",
                          layout.tensor, layout.context, layout.replicas, machine.ranks_per_node));
  if (config.job.deterministic)
    text += plan_line("", "times are of fast mode; job/deterministic takes about twice as long");
  if (config.precision.compute == Precision::bfloat16 &&
      machine.rank.precision == Precision::float32)
    text += plan_line("",
                      "times are of float32 products, as the rates in the file; bfloat16's are "
                      "not known");
  text += plan_line("", heading());
  RunConfig single = config;
  single.parallel.sequence_parallel = false;
  RunTime run;
  for (const auto& stage : make_curriculum(config).stages) {
    Stage once = stage;
    once.recomputed.clear();
    const auto add_row = [&](const std::string& name, const std::vector<SubmodelSpec>& specs) {
      const StepTime time = step_time(config, machine, parent, stage, elastic, specs, layout),
                     alone = step_time(single, machine, parent, stage, elastic, specs, {});
      text += plan_line(
          "", row(name, time, alone, stage_work(config, parent, once, specs).flops_per_step,
                  machine, layout));
      return static_cast<double>(stage.steps) * time.total();
    };
    const double steps = add_row(stage.config.name, elastic.specs);
    run.steps += steps;
    if (stage.elastic && narrows(config))
      run.full_steps +=
          add_row("  at first", std::vector<SubmodelSpec>(elastic.specs.size(), full_spec(parent)));
    else
      run.full_steps += steps;
    run.validation += static_cast<double>(times_due(stage, config.evaluate.every_steps)) *
                      validation_time(config, machine, parent, stage, elastic, layout);
    if (config.checkpoint.save)
      run.checkpoints += static_cast<double>(times_due(stage, config.checkpoint.every_steps)) *
                         plan_save(checkpoint_bytes, static_cast<int>(layout.ranks()), machine)
                             .delay(config.checkpoint.asynchronous);
  }
  return text +
         plan_line("",
                   fmt::format("in all {} to {} of steps, {} of ranking, {} of validation, {} of "
                               "checkpoints; slicing and evaluating come on top",
                               duration(run.steps), duration(run.full_steps),
                               duration(ranking_time(config, machine, parent, layout)),
                               duration(run.validation), duration(run.checkpoints)));
}

}  // namespace elastic
