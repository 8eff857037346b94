// SPDX-License-Identifier: Apache-2.0
#include "verbs/export.hpp"

#include <optional>

#include "base/log.hpp"
#include "elastic/cost_model.hpp"
#include "interop/hf_config.hpp"
#include "interop/hf_export.hpp"
#include "plan/units.hpp"
#include "state/state_checkpoint.hpp"
#include "state/stored_model.hpp"
#include "verbs/verb_files.hpp"

namespace elastic {
namespace fs = std::filesystem;
namespace {

std::optional<ElementType> type_called(const std::string& dtype) {
  if (dtype == "bf16") return ElementType::bf16;
  if (dtype == "fp32") return ElementType::f32;
  if (dtype == "original") return std::nullopt;
  throw InputError(fmt::format("element type '{}': expected bf16, fp32 or original", dtype));
}

/// The folder under its temporary name; gone again unless it is renamed.
class NewFolder {
 public:
  explicit NewFolder(const fs::path& path)
      : m_path(path.has_filename() ? path : path.parent_path()),
        m_temporary(m_path.string() + ".tmp") {
    require_output_folder(path);
    std::error_code failed;
    if (!fs::create_directory(m_temporary, failed)) {
      if (failed)
        throw RunError(
            fmt::format("{}: cannot create: {}", m_temporary.string(), failed.message()));
      throw InputError(
          fmt::format("{}: left by an interrupted export; remove it", m_temporary.string()));
    }
  }
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;
  ~NewFolder() {
    std::error_code ignored;
    if (!m_done) fs::remove_all(m_temporary, ignored);
  }
  const fs::path& temporary() const { return m_temporary; }
  const fs::path& path() const { return m_path; }
  void commit() {
    std::error_code failed;
    fs::rename(m_temporary, m_path, failed);
    if (failed)
      throw RunError(fmt::format("{}: cannot rename: {}", m_path.string(), failed.message()));
    m_done = true;
  }

 private:
  fs::path m_path, m_temporary;
  bool m_done = false;
};

/// The checkpoint that knows the Hugging Face folder: the given one, this one, or its parent, ...
std::optional<CheckpointReader> find_origin(const ExportOptions& options,
                                            const std::string& first_parent) {
  if (!options.origin.empty()) {
    require_input_file({options.origin, "the imported checkpoint"});
    std::optional<CheckpointReader> given(options.origin);
    if (!given->has_text("hf.origin"))
      throw InputError(fmt::format("{}: is not an imported checkpoint", options.origin.string()));
    return given;
  }
  std::optional<CheckpointReader> reader(options.checkpoint);
  std::string parent = first_parent;
  constexpr int max_generations = 16;
  for (int i = 0; i < max_generations; ++i) {
    if (reader->has_text("hf.origin")) return reader;
    if (parent.empty()) return std::nullopt;
    if (!fs::exists(parent)) {
      log::warn(
          "{}: <job>/parent of the deck is not there: config.json is made afresh and no "
          "tokenizer is copied; give the imported checkpoint with --origin",
          parent);
      return std::nullopt;
    }
    require_input_file({parent, "<job>/parent of the deck"});
    reader.emplace(parent);
    parent = read_stored_head(*reader).deck.config.job.parent;
  }
  return std::nullopt;
}

HfOrigin origin_for(const CheckpointReader& reader, const ModelShape& shape,
                    ExportRequest& request) {
  HfOrigin origin = *read_hf_origin(reader);
  const std::string place = reader.path().string() + ": the text hf.config";
  const ModelShape imported = read_hf_config(origin.config, place).shape;
  if (imported.vocab_size != shape.vocab_size)
    throw InputError(fmt::format("{}: is of a model with {} tokens, this one has {}", place,
                                 imported.vocab_size, shape.vocab_size));
  if (imported.pattern() != shape.pattern()) {  // a sliced file: its layers have other numbers
    const auto type = origin.types.find(origin.prefix + "embeddings.weight");
    if (!request.type && type != origin.types.end()) request.type = type->second;
    origin.types.clear();
  }
  return origin;
}

}  // namespace

std::string export_checkpoint(const ExportOptions& options) {
  require_input_file({options.checkpoint, "the checkpoint"});
  require_output_folder(options.out);
  const CheckpointReader reader(options.checkpoint);
  reader.verify();
  const StoredModel stored = read_stored_head(reader);
  const bool whole = options.budget.empty();
  ExportRequest request{
      .parent = stored.shape,
      .spec = whole ? full_spec(stored.shape) : find_submodel(reader, stored, options.budget),
      .ranking = read_ranking(reader, stored.shape),
      .origin = {},
      .type = type_called(options.dtype),
      .heterogeneous = options.heterogeneous};
  const auto origin = find_origin(options, stored.deck.config.job.parent);
  if (origin) request.origin = origin_for(*origin, stored.shape, request);
  NewFolder out(options.out);
  const ExportSummary summary = export_hf(reader, request, out.temporary());
  const std::size_t files = origin ? restore_hf_files(*origin, out.temporary()) : 0;
  out.commit();
  const ModelShape shape = sliced_shape(request.parent, request.spec);
  return fmt::format("{}: {} of {}: {:.0f} parameters in {} tensors{}, {}; {} other files; {}",
                     out.path().string(), whole ? "the model" : "submodel " + request.spec.name,
                     options.checkpoint.string(), parameter_count(shape), summary.tensors,
                     summary.tied ? " (tied embeddings)" : "",
                     in_bytes(static_cast<double>(summary.bytes)), files,
                     describe(request.parent, request.spec));
}

}  // namespace elastic
