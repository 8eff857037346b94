// SPDX-License-Identifier: Apache-2.0
#include "verbs/export.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "base/log.hpp"
#include "elastic/cost_model.hpp"
#include "interop/hf_config.hpp"
#include "interop/hf_export.hpp"
#include "interop/strict_json.hpp"
#include "plan/units.hpp"
#include "state/checked_values.hpp"
#include "state/state_checkpoint.hpp"
#include "state/stored_model.hpp"
#include "verbs/token_text.hpp"
#include "verbs/verb_files.hpp"

namespace elastic {
namespace fs = std::filesystem;
namespace {

std::optional<ElementType> type_called(const std::string& dtype) {
  if (dtype == "fp16") return ElementType::f16;
  if (dtype == "bf16") return ElementType::bf16;
  if (dtype == "fp32") return ElementType::f32;
  if (dtype == "original") return std::nullopt;
  throw InputError(fmt::format("element type '{}': expected fp16, bf16, fp32 or original", dtype));
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

/// The checkpoint that knows the Hugging Face folder, and which of its layers each layer of the
/// exported file is.
struct Origin {
  std::optional<CheckpointReader> reader;
  std::vector<std::size_t> layers;
};

/// A sliced file counts its layers afresh; its spec says which of its parent they were.
void follow_slice(const CheckpointReader& reader, std::vector<std::size_t>& layers) {
  if (reader.attribute_as<std::string>("kind") != "submodel") return;
  const auto spec = checked_own_spec(reader, read_shape(reader), stored_names(reader).front());
  std::vector<std::size_t> kept;
  for (std::size_t l = 0; l < spec.layers.size(); ++l)
    if (spec.layers[l].keep) kept.push_back(l);
  for (auto& layer : layers) layer = kept.at(layer);
}

/// The given checkpoint, this one, or its parent, ...
Origin find_origin(const ExportOptions& options, const StoredModel& stored) {
  Origin origin;
  origin.layers.resize(stored.shape.layers.size());
  std::iota(origin.layers.begin(), origin.layers.end(), std::size_t{0});
  auto& reader = origin.reader;
  reader.emplace(options.checkpoint);
  std::string parent = stored.deck.config.job.parent;
  constexpr int max_generations = 16;
  for (int i = 0; i < max_generations; ++i) {
    if (reader->has_text("hf.origin")) return origin;
    follow_slice(*reader, origin.layers);
    if (!options.origin.empty()) {
      require_input_file({options.origin, "the imported checkpoint"});
      reader.emplace(options.origin);
      if (reader->has_text("hf.origin")) return origin;
      throw InputError(fmt::format("{}: is not an imported checkpoint", options.origin.string()));
    }
    if (parent.empty()) break;
    if (!fs::exists(parent)) {
      log::warn(
          "{}: <job>/parent of the deck is not there: config.json is made afresh and no "
          "tokenizer is copied; give the imported checkpoint with --origin",
          parent);
      break;
    }
    require_input_file({parent, "<job>/parent of the deck"});
    reader.emplace(parent);
    parent = read_stored_head(*reader).deck.config.job.parent;
  }
  reader.reset();
  return origin;
}

/// The element types of an origin under the names that its layers have in a model of `shape`.
/// Nothing if they are not the layers of that model.
std::optional<std::map<std::string, ElementType>> renamed_types(
    const HfOrigin& origin, const ModelShape& imported, const ModelShape& shape,
    const std::vector<std::size_t>& layers) {
  std::map<std::string, ElementType> types;
  const auto layer_name = [&](std::size_t l) {
    return fmt::format("{}layers.{}.", origin.prefix, l);
  };
  for (const auto& [name, type] : origin.types)
    if (!name.starts_with(origin.prefix + "layers.")) types[name] = type;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    if (layers[l] >= imported.layers.size() ||
        imported.layers[layers[l]].kind != shape.layers[l].kind)
      return std::nullopt;
    const std::string theirs = layer_name(layers[l]);
    for (auto at = origin.types.lower_bound(theirs);
         at != origin.types.end() && at->first.starts_with(theirs); ++at)
      types[layer_name(l) + at->first.substr(theirs.size())] = at->second;
  }
  return types;
}

HfOrigin origin_for(const Origin& found, const ModelShape& shape, ExportRequest& request) {
  const CheckpointReader& reader = *found.reader;
  HfOrigin origin = *read_hf_origin(reader);
  const std::string place = reader.path().string() + ": the text hf.config";
  const ModelShape imported = read_hf_config(origin.config, place).shape;
  if (imported.vocab_size != shape.vocab_size)
    throw InputError(fmt::format("{}: is of a model with {} tokens, this one has {}", place,
                                 imported.vocab_size, shape.vocab_size));
  const auto types = renamed_types(origin, imported, shape, found.layers);
  if (!types) {  // of another model: only the element type of most tensors is of use
    const auto type = origin.types.find(origin.prefix + "embeddings.weight");
    if (!request.type && type != origin.types.end()) request.type = type->second;
  }
  origin.types = types.value_or(std::map<std::string, ElementType>{});
  return origin;
}

/// Tokenizer files are written for bytes and characters of the deck's own data, unless the imported
/// folder brought files of its own.
std::optional<HfVocabulary> vocabulary_for(const StoredModel& stored, const Origin& origin) {
  if (origin.reader) {
    const auto texts = origin.reader->texts();
    if (std::any_of(texts.begin(), texts.end(),
                    [](const std::string& text) { return text.starts_with("hf_file."); }))
      return std::nullopt;
  }
  const auto vocabulary = vocabulary_of(stored.deck.config.data.source);
  if (vocabulary && vocabulary->size() > stored.shape.vocab_size) return std::nullopt;
  return vocabulary;
}

/// As asked for; else a whole model that was imported leaves in the form in which it came.
WidthForm form_of(const ExportOptions& options, const HfOrigin& origin) {
  if (options.heterogeneous) return WidthForm::heterogeneous;
  if (options.per_layer) return WidthForm::per_layer;
  if (!options.budget.empty() || origin.config.empty()) return WidthForm::padded;
  const OrderedJson config = parse_json(origin.config, "hf.config");
  if (config.contains("block_configs")) return WidthForm::heterogeneous;
  const bool listed =
      config.contains("intermediate_size") && config.at("intermediate_size").is_array();
  return listed ? WidthForm::per_layer : WidthForm::padded;
}

/// The submodel of the file whose size is the nearest among those that can be exported in this
/// form; nothing if none can.
std::optional<SubmodelSpec> nearest_exportable(const CheckpointReader& reader,
                                               const ExportRequest& request) {
  auto specs = stored_submodels(reader, request.parent);
  specs.push_back(full_spec(request.parent));
  const double wanted = parameter_count(request.parent, request.spec);
  std::optional<SubmodelSpec> nearest;
  const auto distance = [&](const SubmodelSpec& spec) {
    return std::abs(parameter_count(request.parent, spec) - wanted);
  };
  ExportRequest other = request;
  for (const auto& spec : specs) {
    other.spec = spec;
    try {
      exported_shape(other);
    } catch (const InputError&) {
      continue;
    }
    if (!nearest || distance(spec) < distance(*nearest)) nearest = spec;
  }
  return nearest;
}

/// Throws InputError naming what can be exported if the request cannot.
void require_exportable(const CheckpointReader& reader, const ExportRequest& request) {
  try {
    exported_shape(request);
  } catch (const InputError& error) {
    const auto nearest = nearest_exportable(reader, request);
    throw InputError(fmt::format(
        "{}: submodel '{}': {}. {}; or cut equal layers with `slice --homogeneous` and export that "
        "file; or write block_configs with --heterogeneous, which other loaders refuse",
        reader.path().string(), request.spec.name, error.what(),
        nearest ? fmt::format("The nearest budget of this file that exports is '{}' ({})",
                              nearest->name, describe(request.parent, *nearest))
                : "No budget of this file exports"));
  }
}

/// What an export says beside the folder and its size.
std::string remarks(const ExportSummary& summary) {
  std::string text;
  if (summary.tied) text += " (tied embeddings, both written)";
  if (summary.padding > 0)
    text += fmt::format(
        ", {:.0f} of them padding that makes layers of a kind equal and changes no "
        "logit",
        summary.padding);
  if (summary.vanished > 0)
    text += fmt::format(", {} numbers below 2^-25 became 0", summary.vanished);
  return text;
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
      .ranking = whole ? read_ranking(reader, stored.shape) : Ranking{},
      .origin = {},
      .type = type_called(options.dtype),
      .time_steps = whole && stored.kind == "import" && options.origin.empty()
                        ? TimeStepKeys::as_imported
                        : TimeStepKeys::unclamped};
  const Origin origin = find_origin(options, stored);
  if (origin.reader) request.origin = origin_for(origin, stored.shape, request);
  request.form = form_of(options, request.origin);
  request.vocabulary = vocabulary_for(stored, origin);
  require_exportable(reader, request);
  NewFolder out(options.out);
  const ExportSummary summary = export_hf(reader, request, out.temporary());
  const std::size_t files = origin.reader ? restore_hf_files(*origin.reader, out.temporary()) : 0;
  out.commit();
  return fmt::format(
      "{}: {} of {}: {:.0f} parameters in {} tensors{}, {}; {} other files{}; {}",
      out.path().string(), whole ? "the model" : "submodel " + request.spec.name,
      options.checkpoint.string(), parameter_count(exported_shape(request)), summary.tensors,
      remarks(summary), in_bytes(static_cast<double>(summary.bytes)), files,
      request.vocabulary ? ", tokenizer of its data" : "", describe(request.parent, request.spec));
}

}  // namespace elastic
