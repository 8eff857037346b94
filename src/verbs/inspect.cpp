// SPDX-License-Identifier: Apache-2.0
#include "verbs/inspect.hpp"

#include <algorithm>

#include "config/times_text.hpp"
#include "deck/text.hpp"
#include "elastic/cost_model.hpp"
#include "elastic/nesting.hpp"
#include "plan/units.hpp"
#include "state/checked_values.hpp"
#include "state/state_checkpoint.hpp"
#include "state/stored_model.hpp"
#include "state/stored_times.hpp"
#include "verbs/verb_files.hpp"

namespace elastic {
namespace {

std::string line(const char* name, const std::string& text) {
  return fmt::format("{:<12} {}\n", name, text);
}

/// Elements and bytes of the tensors whose names start with `prefix`.
struct Group {
  index_t tensors = 0, elements = 0;
  double bytes = 0;
};
Group group_of(const CheckpointReader& reader, const std::string& prefix) {
  Group group;
  for (const auto& tensor : reader.tensors()) {
    if (!tensor.name.starts_with(prefix)) continue;
    ++group.tensors;
    group.elements += tensor.extents.size();
    group.bytes +=
        static_cast<double>(tensor.extents.size()) * static_cast<double>(size_of(tensor.type));
  }
  return group;
}

std::string group_line(const CheckpointReader& reader, const char* name, const char* prefix) {
  const Group group = group_of(reader, prefix);
  if (group.tensors == 0) return line(name, "none");
  return line(name, fmt::format("{} tensors, {} values, {}", group.tensors, group.elements,
                                in_bytes(group.bytes)));
}

std::string shape_lines(const ModelShape& shape) {
  std::string text =
      line("model", fmt::format("{}: {} layers, hidden {}, vocabulary {}", shape.pattern(),
                                shape.num_layers(), shape.hidden_size, shape.vocab_size));
  text += line("widths", describe(shape, full_spec(shape)));
  return text + line("parameters", fmt::format("{:.0f}", parameter_count(shape)));
}

std::string submodel_lines(const CheckpointReader& reader, const ModelShape& shape) {
  const double full = parameter_count(shape);
  std::string text;
  const auto specs = stored_submodels(reader, shape);
  for (const auto& spec : specs) {
    const double part = parameter_count(shape, spec);
    text += line(text.empty() ? "submodels" : "",
                 fmt::format("{:<8} budget {:<6} {:>12.0f} parameters ({:5.1f}%)  {}", spec.name,
                             spec.budget, part, 100 * part / full, describe(shape, spec)));
  }
  if (text.empty()) return line("submodels", "no stored widths");
  const auto gaps = nesting_gaps(shape, specs);
  text += line("", gaps.empty() ? "nested: each is part of every larger one" : "not nested:");
  for (const auto& gap : gaps) text += line("", gap);
  return text;
}

/// What a sliced file was cut out as.
std::string origin_lines(const CheckpointReader& reader, const ModelShape& shape) {
  std::string text;
  for (const auto& name : stored_names(reader)) {
    const SubmodelSpec spec = checked_own_spec(reader, shape, name);
    const auto dropped = std::count_if(spec.layers.begin(), spec.layers.end(),
                                       [](const auto& layer) { return !layer.keep; });
    text +=
        line("cut as", fmt::format("{}: budget {}, hidden {} and {} dropped layers of the parent",
                                   name, spec.budget, spec.hidden_size, dropped));
  }
  return text;
}

/// Only as many layers as the deck may drop were scored; the others complete the stored order.
std::string ranking_line(const CheckpointReader& reader, const StoredModel& stored) {
  const Ranking ranking = read_ranking(reader, stored.shape);
  if (ranking.hidden.empty()) return line("ranking", "none: units are in their original order");
  const auto& drop_layers = stored.deck.config.elastic.drop_layers;
  const auto scored = drop_layers.empty() ? 0 : static_cast<std::size_t>(drop_layers.back());
  std::vector<std::string> drops;
  for (std::size_t i = 0; i < std::min(scored, ranking.drop_order.size()); ++i)
    drops.push_back(fmt::format("{}", ranking.drop_order[i]));
  return line("ranking",
              drops.empty()
                  ? "widths; no layer is dropped"
                  : fmt::format("widths; layers in the order they are dropped, least important "
                                "first: {}; no others are",
                                impl::join(drops)));
}

/// The inference whose measured time budgets count.
std::string times_line(const CheckpointReader& reader) {
  const std::string text = stored_times(reader);
  if (text.empty()) return text;
  const MeasuredTimes times = times_from_json(text);
  return line("seconds", fmt::format("measured for {} of {} x {} tokens by {}", times.pass,
                                     times.batch, times.seq_length, times.machine));
}

std::string tensor_lines(const CheckpointReader& reader) {
  std::string text = "tensors\n";
  for (const auto& tensor : reader.tensors())
    text += fmt::format("  {:<48} {:<9} {:<14} {:016x}\n", tensor.name, name_of(tensor.type),
                        to_string(tensor.extents), tensor.checksum);
  return text;
}

std::string head_lines(const CheckpointReader& reader) {
  const auto& path = reader.path();
  const auto bytes = std::filesystem::file_size(path);
  std::string text = line("file", fmt::format("{}, {} bytes ({})", path.string(), bytes,
                                              in_bytes(static_cast<double>(bytes))));
  text += line("kind", checked_kind(reader));
  if (reader.has_attribute("step"))
    text += line("step", fmt::format("{} ({})", checked_step(reader),
                                     checked_elastic(reader) ? "ranked, with router"
                                                             : "before the elastic phase"));
  return text;
}

}  // namespace

std::string inspect_checkpoint(const std::filesystem::path& path, const InspectOptions& options) {
  require_input_file({path, "the checkpoint"});
  const CheckpointReader reader(path);
  const StoredModel stored = read_stored_head(reader);
  const ModelShape& shape = stored.shape;
  std::string text = head_lines(reader) + shape_lines(shape);
  if (stored.kind == "submodel") {
    text += origin_lines(reader, shape);
  } else {
    text += submodel_lines(reader, shape) + times_line(reader) + ranking_line(reader, stored);
    text += group_line(reader, "router", "router/") + group_line(reader, "optimizer", "optimizer/");
  }
  text += group_line(reader, "values", "model/");
  if (options.tensors) text += tensor_lines(reader);
  if (options.verify) {
    reader.verify();
    text += line("verified",
                 fmt::format("the checksums of all {} tensors agree", reader.tensors().size()));
  }
  text.pop_back();
  return text;
}

}  // namespace elastic
