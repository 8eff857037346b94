// SPDX-License-Identifier: Apache-2.0
#include "verbs/import.hpp"

#include "elastic/cost_model.hpp"
#include "interop/hf_import.hpp"
#include "plan/units.hpp"
#include "config/run_config.hpp"
#include "state/state_checkpoint.hpp"
#include "io/durable_file.hpp"

namespace elastic {
namespace fs = std::filesystem;
namespace {

const LayerShape* first_of(const ModelShape& shape, LayerKind kind) {
  for (const auto& layer : shape.layers)
    if (layer.kind == kind) return &layer;
  return nullptr;
}

}  // namespace

std::string deck_of(const ModelShape& shape, const std::string& name, const std::string& parent) {
  std::string deck =
      fmt::format("<job>\nname = {}\nparent = {}\nphases = evaluate\n", name, parent);
  deck += fmt::format("<model>\nhybrid_layer_pattern = {}\nhidden_size = {}\nnorm_epsilon = {}\n",
                      shape.pattern(), shape.hidden_size, shape.norm_epsilon);
  deck += fmt::format("<mamba>\nstate_dim = {}\nd_conv = {}\nchunk_size = {}\n",
                      shape.mamba_state_dim, shape.mamba_d_conv, shape.chunk_size);
  if (const auto* mamba = first_of(shape, LayerKind::mamba))
    deck += fmt::format("num_heads = {}\nhead_dim = {}\nnum_groups = {}\n", mamba->width,
                        mamba->head_channels, mamba->num_groups);
  if (const auto* attention = first_of(shape, LayerKind::attention))
    deck += fmt::format("<attention>\nnum_heads = {}\nnum_query_groups = {}\nkv_channels = {}\n",
                        attention->width, attention->num_groups, attention->head_channels);
  if (const auto* mlp = first_of(shape, LayerKind::mlp))
    deck += fmt::format("<mlp>\nffn_hidden_size = {}\n", mlp->width);
  // The tokens are those of the model's own tokenizer; which files hold them, nobody has said yet.
  return deck + fmt::format("<data>\nsource = indexed\ntrain = tokens\nvocab_size = {}\n",
                            shape.vocab_size);
}

std::string import_checkpoint(const fs::path& folder, const fs::path& out, bool force) {
  check_target(out, force);
  const HfFolder source = open_hf_folder(folder);
  const ModelShape& shape = source.config.shape;
  const auto deck =
      read_run_config(deck_of(shape, out.stem().string(), out.string()), "deck of the import", {});
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
