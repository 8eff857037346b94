// SPDX-License-Identifier: Apache-2.0
#include "train/verb_slice.hpp"

#include "elastic/cost_model.hpp"
#include "model/slicing.hpp"
#include "train/plan_units.hpp"
#include "train/state_checkpoint.hpp"
#include "train/verb_checkpoint.hpp"

namespace elastic {
namespace fs = std::filesystem;

void check_target(const fs::path& out, bool force) {
  const auto folder = out.has_parent_path() ? out.parent_path() : fs::path(".");
  if (!fs::is_directory(folder))
    throw InputError(
        fmt::format("{}: the folder {} does not exist", out.string(), folder.string()));
  if (!fs::exists(out)) return;
  if (fs::is_directory(out))
    throw InputError(fmt::format("{}: a folder, expected the name of a file", out.string()));
  if (!force)
    throw InputError(
        fmt::format("{}: exists; choose another --out, or replace it with --force", out.string()));
}

void write_sliced(const StateWriter& writer, const LanguageModel<float>& parent,
                  const SubmodelSpec& spec, const std::string& deck) {
  write_model(writer, *slice_model(parent, spec), deck, "submodel");
  write_spec(writer, spec);
}

void write_sliced(const fs::path& path, const LanguageModel<float>& parent,
                  const SubmodelSpec& spec, const std::string& deck) {
  CheckpointWriter file(path);
  write_sliced(file, parent, spec, deck);
  file.commit();
}

std::string slice_checkpoint(const fs::path& checkpoint, const std::string& budget,
                             const fs::path& out, bool force) {
  if (fs::exists(checkpoint) && fs::exists(out) && fs::equivalent(checkpoint, out))
    throw InputError(
        fmt::format("{}: is the checkpoint itself; choose another --out", out.string()));
  check_target(out, force);
  const CheckpointReader reader(checkpoint);
  const StoredModel stored = read_stored_model(reader);
  const ModelShape& shape = stored.model->shape();
  const SubmodelSpec spec = find_submodel(reader, stored, budget);
  write_sliced(out, *stored.model, spec, reader.text("deck"));
  const double full = parameter_count(shape, expected_widths(full_spec(shape))),
               part = parameter_count(shape, expected_widths(spec));
  return fmt::format("{}: submodel {} of {}: {:.0f} parameters, {:.1f}% of the parent's; {}; {}",
                     out.string(), spec.name, checkpoint.string(), part, 100 * part / full,
                     describe(shape, spec), in_bytes(static_cast<double>(fs::file_size(out))));
}

}  // namespace elastic
