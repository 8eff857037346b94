// SPDX-License-Identifier: Apache-2.0
#include "verbs/import.hpp"

#include <cctype>

#include "base/log.hpp"
#include "elastic/cost_model.hpp"
#include "interop/hf_import.hpp"
#include "plan/units.hpp"
#include "config/run_config.hpp"
#include "io/durable_file.hpp"
#include "state/state_checkpoint.hpp"
#include "verbs/import_deck.hpp"
#include "verbs/verb_files.hpp"

namespace elastic {
namespace fs = std::filesystem;
namespace {

/// A name of a run (<job>/name) out of that of the file.
std::string run_name(const fs::path& file) {
  std::string name = file.stem().string();
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '-' && c != '.') c = '_';
  return name.empty() || name.front() == '.' ? fmt::format("_{}", name) : name;
}

}  // namespace

namespace {
/// The checkpoint and the deck may be no file of the folder, nor each other.
void require_outputs(const ImportOptions& options) {
  // A checkpoint of an earlier import may lie in the folder; it is no part of it.
  auto inputs = files_of(options.folder, "a file of the imported folder");
  std::erase_if(inputs, [](const VerbInput& input) { return input.path.extension() == ".h5"; });
  require_output_file(options.checkpoint, options.force, inputs);
  if (options.deck.empty()) return;
  if (fs::weakly_canonical(options.deck) == fs::weakly_canonical(options.checkpoint))
    throw InputError(fmt::format("--deck {}: is the checkpoint itself; choose another file",
                                 options.deck.string()));
  require_output_file(options.deck, options.force, inputs);
}

/// The elastic deck; or why there is none, unless a file of it is asked for.
std::string deck_or_reason(const ImportOptions& options, const ModelShape& shape) {
  const std::string& name = options.checkpoint.string();
  try {
    return elastic_deck(shape, run_name(options.checkpoint), name);
  } catch (const InputError& error) {
    if (!options.deck.empty()) throw;
    return fmt::format("# {}\n", error.what());
  }
}
}  // namespace

std::string import_checkpoint(const ImportOptions& options) {
  require_outputs(options);
  const fs::path& out = options.checkpoint;
  const HfFolder source = open_hf_folder(options.folder);
  const ModelShape& shape = source.config.shape;
  const auto deck =
      read_run_config(deck_of(shape, run_name(out), out.string()), "deck of the import", {});
  const std::string elastic = deck_or_reason(options, shape);
  for (const auto& warning : source.config.warnings) log::warn("{}", warning);
  CheckpointWriter writer(out);
  writer.attribute("kind", std::string("import"));
  writer.text("deck", deck.text);
  writer.text("shape", shape_to_json(shape));
  write_hf_origin(writer, source.origin);
  write_hf_files(writer, options.folder);
  import_weights(source, writer);
  writer.commit();
  const std::string done = fmt::format(
      "{}: {}, {:.0f} parameters in {} tensors{}; {}", out.string(), shape.pattern(),
      parameter_count(shape), source.tensors.size(), source.config.tied ? " (tied embeddings)" : "",
      in_bytes(static_cast<double>(fs::file_size(out))));
  if (options.deck.empty()) return done + "\n\n" + elastic;
  write_file_durably(options.deck, elastic);
  return fmt::format("{}\n{}: a deck that makes it elastic; choose its data and stages", done,
                     options.deck.string());
}

}  // namespace elastic
