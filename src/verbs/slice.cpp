// SPDX-License-Identifier: Apache-2.0
#include "verbs/slice.hpp"

#include "elastic/cost_model.hpp"
#include "elastic/nesting.hpp"
#include "plan/units.hpp"
#include "state/state_checkpoint.hpp"
#include "state/stored_model.hpp"
#include "verbs/verb_files.hpp"

namespace elastic {
namespace fs = std::filesystem;

std::string slice_checkpoint(const fs::path& checkpoint, const std::string& budget,
                             const fs::path& out, bool force, SliceBy by) {
  const VerbInput input{checkpoint, "the checkpoint"};
  require_input_file(input);
  require_output_file(out, force, {input});
  const CheckpointReader reader(checkpoint);
  reader.verify();
  const StoredModel stored = read_stored_model(reader);
  const ModelShape& shape = stored.model->shape();
  const SubmodelSpec spec = by == SliceBy::homogeneous
                                ? homogeneous_submodel(reader, stored, budget)
                                : find_submodel(reader, stored, budget);
  write_sliced(out, *stored.model, spec, reader.text("deck"));
  const double full = parameter_count(shape), part = parameter_count(shape, spec);
  std::string text =
      fmt::format("{}: submodel {} of {}: {:.0f} parameters, {:.1f}% of the parent's; {}; {}",
                  out.string(), spec.name, checkpoint.string(), part, 100 * part / full,
                  describe(shape, spec), in_bytes(static_cast<double>(fs::file_size(out))));
  if (by == SliceBy::homogeneous) return text;
  for (const auto& other : stored_submodels(reader, shape))
    for (const auto& gap : nesting_gaps(shape, {spec, other}))
      text += fmt::format("\nnot nested: {}", gap);
  return text;
}

}  // namespace elastic
