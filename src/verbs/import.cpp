// SPDX-License-Identifier: Apache-2.0
#include "verbs/import.hpp"

#include <cctype>

#include "arch/layer_kind.hpp"
#include "base/log.hpp"
#include "elastic/cost_model.hpp"
#include "interop/hf_import.hpp"
#include "plan/units.hpp"
#include "config/run_config.hpp"
#include "state/state_checkpoint.hpp"
#include "verbs/verb_files.hpp"

namespace elastic {
namespace fs = std::filesystem;
namespace {

/// The block of a deck that describes the layers of a kind; empty if there is nothing to say.
std::string block_of(const ModelShape& shape, const LayerDescription& kind) {
  std::string lines;
  for (const auto& [key, extent] : kind.deck.of_model)
    lines += fmt::format("{} = {}\n", key, shape.*extent);
  if (const auto* layer = first_of_kind(shape, kind))
    for (const auto& [key, extent] : {std::pair{kind.deck.width, layer->width},
                                      {kind.deck.head_channels, layer->head_channels},
                                      {kind.deck.num_groups, layer->num_groups}})
      if (key) lines += fmt::format("{} = {}\n", key, extent);
  return lines.empty() ? "" : fmt::format("<{}>\n{}", kind.deck.block, lines);
}

/// A name of a run (<job>/name) out of that of the file.
std::string run_name(const fs::path& file) {
  std::string name = file.stem().string();
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '-' && c != '.') c = '_';
  return name.empty() || name.front() == '.' ? fmt::format("_{}", name) : name;
}

}  // namespace

std::string deck_of(const ModelShape& shape, const std::string& name, const std::string& parent) {
  std::string deck =
      fmt::format("<job>\nname = {}\nparent = {}\nphases = evaluate\n", name, parent);
  deck += fmt::format("<model>\nhybrid_layer_pattern = {}\nhidden_size = {}\nnorm_epsilon = {}\n",
                      shape.pattern(), shape.hidden_size, shape.norm_epsilon);
  for (const auto* kind : layer_kinds()) deck += block_of(shape, *kind);
  // The tokens are those of the model's own tokenizer; which files hold them, nobody has said yet.
  return deck + fmt::format("<data>\nsource = indexed\ntrain = tokens\nvocab_size = {}\n",
                            shape.vocab_size);
}

std::string import_checkpoint(const fs::path& folder, const fs::path& out, bool force) {
  // A checkpoint of an earlier import may lie in the folder; it is no part of it.
  auto inputs = files_of(folder, "a file of the imported folder");
  std::erase_if(inputs, [](const VerbInput& input) { return input.path.extension() == ".h5"; });
  require_output_file(out, force, inputs);
  const HfFolder source = open_hf_folder(folder);
  const ModelShape& shape = source.config.shape;
  const auto deck =
      read_run_config(deck_of(shape, run_name(out), out.string()), "deck of the import", {});
  if (deck.config.job.parent != out.string())
    throw InputError(
        fmt::format("{}: a deck cannot name this file; choose a name without '#', and no '&' or "
                    "blank at an end",
                    out.string()));
  for (const auto& warning : source.config.warnings) log::warn("{}", warning);
  CheckpointWriter writer(out);
  writer.attribute("kind", std::string("import"));
  writer.text("deck", deck.text);
  writer.text("shape", shape_to_json(shape));
  write_hf_origin(writer, source.origin);
  write_hf_files(writer, folder);
  import_weights(source, writer);
  writer.commit();
  return fmt::format("{}: {}, {:.0f} parameters in {} tensors{}; {}", out.string(), shape.pattern(),
                     parameter_count(shape), source.tensors.size(),
                     source.config.tied ? " (tied embeddings)" : "",
                     in_bytes(static_cast<double>(fs::file_size(out))));
}

}  // namespace elastic
