// SPDX-License-Identifier: Apache-2.0
// Tables and picture of the verb `front`.
#include <fmt/ranges.h>

#include <algorithm>

#include "base/error.hpp"
#include "io/drawing.hpp"
#include "io/durable_file.hpp"
#include "plan/units.hpp"
#include "verbs/front.hpp"
#include "verbs/front_script.hpp"
#include "verbs/verb_files.hpp"

namespace elastic {
namespace fs = std::filesystem;
namespace {

fs::path folder_of(const FrontOptions& options) {
  if (!options.out.empty())
    return options.out.has_filename() ? options.out : options.out.parent_path();
  fs::path folder = options.checkpoint;
  return folder.replace_filename(folder.stem().string() + "_front");
}

const char* mark(bool on) { return on ? "x" : ""; }

/// Points on the front of the loss and one cost, the largest first.
std::vector<const FrontPoint*> on_any_front(const Front& front) {
  std::vector<const FrontPoint*> shown;
  for (const auto& point : front.points)
    if (point.by_parameters || point.by_memory || point.by_seconds) shown.push_back(&point);
  std::stable_sort(shown.begin(), shown.end(),
                   [](const auto* a, const auto* b) { return a->parameters > b->parameters; });
  return shown;
}

std::string name_of(const FrontPoint& point) {
  return point.spec.name.empty() ? point.origin
                                 : fmt::format("{} {}", point.origin, point.spec.name);
}

/// "0.0123 lower", "the same".
std::string against_router(const Front& front, const FrontTarget& target) {
  if (!target.router) return "-";
  const double difference = front.points[*target.router].loss - front.points[*target.best].loss;
  if (difference == 0) return "its own choice";
  return fmt::format("{:.4f} {}", std::abs(difference), difference > 0 ? "lower" : "higher");
}

std::string targets_table(const Front& front) {
  std::string text =
      "| budget | best loss | router's loss | against the router | parameters | memory | seconds "
      "per token | best widths | router's widths |\n|:--|--:|--:|:--|--:|--:|--:|:--|:--|\n";
  for (const auto& target : front.targets) {
    if (!target.best) {
      text +=
          fmt::format("| {} | no point within the tolerance | | | | | | | |\n", target.budget.name);
      continue;
    }
    const auto& best = front.points[*target.best];
    const auto* router = target.router ? &front.points[*target.router] : nullptr;
    text +=
        fmt::format("| {} | {:.4f} | {} | {} | {} | {} | {} | {} | {} |\n", target.budget.name,
                    best.loss, router ? fmt::format("{:.4f}", router->loss) : "-",
                    against_router(front, target), grouped(best.parameters), in_bytes(best.memory),
                    in_seconds(best.seconds), best.widths, router ? router->widths : "-");
  }
  return text;
}

}  // namespace

std::string front_table(const Front& front) {
  std::string text =
      "origin,name,budget,parameters,memory_bytes,seconds_per_token,valid_loss,accuracy,on_front,"
      "front_parameters,front_memory,front_seconds,recommended_for,widths\n";
  for (std::size_t i = 0; i < front.points.size(); ++i) {
    const auto& p = front.points[i];
    std::vector<std::string> recommended;
    for (const auto& target : front.targets)
      if (target.best == i) recommended.push_back(target.budget.name);
    text += fmt::format(
        "{},{},{},{:.0f},{:.0f},{:.6e},{:.9g},{},{:d},{:d},{:d},{:d},{},\"{}\"\n", p.origin,
        p.spec.name, p.spec.name.empty() ? "" : fmt::format("{}", p.spec.budget), p.parameters,
        p.memory, p.seconds, p.loss, p.accuracy ? fmt::format("{:.6f}", *p.accuracy) : "",
        p.on_front, p.by_parameters, p.by_memory, p.by_seconds, fmt::join(recommended, " "),
        p.widths);
  }
  return text;
}

std::string front_report(const Front& front, const std::string& model) {
  const auto shown = on_any_front(front);
  std::string text = fmt::format(
      "# Front of {}\n\n{} submodels, all prefixes of one set of weights; {} of them on the front "
      "of "
      "loss, parameters, memory and time together. All of them: [front.csv](front.csv).\n{}\n\n"
      "![Held-out loss against parameters, memory and time](front.png)\n\n## Recommended "
      "widths\n\nThe point of least held-out loss that meets each trained budget within its "
      "tolerance, beside the router's choice.\n\n{}\n## Front\n\nPoints that no other beats in "
      "held-out loss [nats per token] and one cost (x: which).\n\n| point | loss | parameters | x "
      "| "
      "memory | x | seconds per token | x | widths |\n|:--|--:|--:|:--|--:|:--|--:|:--|:--|\n",
      model, front.points.size(),
      std::count_if(front.points.begin(), front.points.end(),
                    [](const auto& point) { return point.on_front; }),
      front.conditions, targets_table(front));
  for (const auto* p : shown)
    text +=
        fmt::format("| {} | {:.4f} | {} | {} | {} | {} | {} | {} | {} |\n", name_of(*p), p->loss,
                    grouped(p->parameters), mark(p->by_parameters), in_bytes(p->memory),
                    mark(p->by_memory), in_seconds(p->seconds), mark(p->by_seconds), p->widths);
  return text;
}

std::string describe(const Front& front) {
  std::string text = fmt::format(
      "{} submodels; front of held-out loss and parameters (p), memory (m), time (t):\n"
      "{:<17} {:>12} {:>10} {:>14} {:>11}  {:<5}  widths",
      front.points.size(), "point", "parameters", "memory", "per token", "valid loss", "front");
  for (const auto* p : on_any_front(front))
    text += fmt::format("\n{:<17} {:>12.0f} {:>10} {:>14} {:>11.6f}  {:<5}  {}", name_of(*p),
                        p->parameters, in_bytes(p->memory), in_seconds(p->seconds), p->loss,
                        fmt::format("{}{}{}", p->by_parameters ? "p" : "-",
                                    p->by_memory ? "m" : "-", p->by_seconds ? "t" : "-"),
                        p->widths);
  for (const auto& target : front.targets) {
    text += fmt::format("\nbudget {}: ", target.budget.name);
    if (!target.best) {
      text += "no point within the tolerance";
      continue;
    }
    const auto& best = front.points[*target.best];
    text += fmt::format("best {:.6f} by {}", best.loss, best.widths);
    if (target.router == target.best)
      text += ", as the router chose";
    else if (target.router)
      text += fmt::format("; the router's choice has {:.6f} (difference {:.6f}): {}",
                          front.points[*target.router].loss,
                          front.points[*target.router].loss - best.loss,
                          front.points[*target.router].widths);
  }
  return text;
}

void require_front_folder(const FrontOptions& options) {
  const fs::path folder = folder_of(options);
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored)) return require_output_folder(folder);
  for (const char* name : {"front.csv", "front.md", "front.png", "plot.py"})
    require_output_file(folder / name, options.force, {{options.checkpoint, "the checkpoint"}});
}

std::string write_front(const FrontOptions& options, const Front& front) {
  const fs::path folder = folder_of(options);
  make_folder(folder);
  write_file_durably(folder / "front.csv", front_table(front));
  write_file_durably(folder / "front.md",
                     front_report(front, options.checkpoint.filename().string()));
  std::error_code ignored;
  fs::remove(folder / "front.png", ignored);  // none of other points
  const auto why_not = draw_folder(folder, front_script_text, front_script_python);
  if (!why_not)
    return fmt::format("written: front.csv, front.md, front.png in {}", folder.string());
  return fmt::format("written: front.csv, front.md in {}; no picture: {} (later: python3 {})",
                     folder.string(), *why_not, (folder / "plot.py").string());
}

}  // namespace elastic
