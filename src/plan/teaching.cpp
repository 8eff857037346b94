// SPDX-License-Identifier: Apache-2.0
#include "plan/teaching.hpp"

#include "elastic/cost_model.hpp"
#include "plan/units.hpp"
#include "state/stored_teacher.hpp"

namespace elastic {
namespace {

std::string state_of(const RunConfig& config, const StoredTeacher& file,
                     const std::string& parent) {
  if (!config.job.has(Phase::teach)) {
    if (config.job.has(Phase::elastic)) open_stored_teacher(file, parent);
    return "there";
  }
  return is_stored(file, parent) ? "there already" : "to be written";
}

}  // namespace

double teaching_flops(const RunConfig& config, const ModelShape& parent) {
  if (!config.job.has(Phase::teach)) return 0;
  double flops = 0;
  for (const StoredTeacher& file : stored_teachers(config))
    flops += static_cast<double>(file.samples * file.layout.seq_length) *
             forward_flops_per_token(parent, full_spec(parent), file.layout.seq_length);
  return flops;
}

std::string teaching_lines(const RunConfig& config, const ModelShape& parent, double bytes,
                           double seconds) {
  std::string identity, text;
  const auto files = stored_teachers(config);
  if (!files.empty() && std::filesystem::exists(config.job.parent))
    identity = parent_identity(config.job.parent, config.precision.compute);
  for (const StoredTeacher& file : files)
    text += plan_line(
        text.empty() ? "teacher" : "",
        fmt::format("{}: {} sequences of {} tokens, {} words each: {} in {}, {}", file.stage,
                    file.samples, file.layout.seq_length, file.layout.top_k, in_bytes(file.bytes()),
                    file.path.string(), state_of(config, file, identity)));
  if (files.empty() || !config.job.has(Phase::teach)) return text;
  const std::string time = seconds > 0 ? fmt::format(", {:.3g} s", seconds) : "";
  return text + plan_line("", fmt::format("the phase teach: {} in all{}, {} of working memory per "
                                          "rank",
                                          with_prefix(teaching_flops(config, parent), "FLOP"), time,
                                          in_bytes(bytes)));
}

}  // namespace elastic
