// SPDX-License-Identifier: Apache-2.0
#include "state/state_checkpoint.hpp"

#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "arch/shape_difference.hpp"
#include "model/slicing.hpp"
#include "state/checked_values.hpp"

namespace elastic {
using Json = nlohmann::json;

std::string shape_to_json(const ModelShape& shape) {
  Json layers = Json::array();
  for (const auto& layer : shape.layers)
    layers.push_back({{"kind", std::string(1, layer.symbol())},
                      {"width", layer.width},
                      {"head_channels", layer.head_channels},
                      {"num_groups", layer.num_groups}});
  return Json{{"vocab_size", shape.vocab_size},
              {"hidden_size", shape.hidden_size},
              {"norm_epsilon", shape.norm_epsilon},
              {"mamba_state_dim", shape.mamba_state_dim},
              {"mamba_d_conv", shape.mamba_d_conv},
              {"chunk_size", shape.chunk_size},
              {"layers", layers}}
      .dump();
}

ModelShape shape_from_json(const std::string& text, const std::string& file) {
  try {
    return parse_shape(text);
  } catch (const InputError& error) {
    throw InputError(
        fmt::format("{}: the text 'shape' does not describe a model: {}", file, error.what()));
  }
}

namespace {
template <class T>
void write_head(const StateWriter& writer, const LanguageModel<T>& model, const std::string& deck,
                const std::string& kind) {
  writer.write([&](CheckpointWriter& file) {
    file.attribute("kind", kind);
    file.text("deck", deck);
    file.text("shape", shape_to_json(model.shape()));
  });
}
}  // namespace

template <class T>
void write_model(const StateWriter& writer, const LanguageModel<T>& model, const std::string& deck,
                 const std::string& kind) {
  write_head(writer, model, deck, kind);
  writer.tensors(value_tensors("model/", model.parameters()));
}

void write_ranking(const StateWriter& writer, const Ranking& ranking) {
  writer.write([&](CheckpointWriter& file) {
    const auto vector = [&](const std::string& name, const std::vector<index_t>& values) {
      if (!values.empty())
        file.vector("ranking/" + name, values.data(), static_cast<index_t>(values.size()));
    };
    vector("hidden", ranking.hidden);
    vector("drop_order", ranking.drop_order);
    for (std::size_t l = 0; l < ranking.units.size(); ++l) {
      vector(fmt::format("units.{}", l), ranking.units[l]);
      vector(fmt::format("channels.{}", l), ranking.channels[l]);
    }
  });
}

void write_spec(const StateWriter& writer, const SubmodelSpec& spec) {
  writer.write([&](CheckpointWriter& file) { file.text("submodel." + spec.name, to_json(spec)); });
}

void write_router(const StateWriter& writer, const Router<Accumulate<Real>>& router) {
  writer.tensors(value_tensors("router/", router.parameters()));
}
void read_router(const StateReader& reader, Router<Accumulate<Real>>& router) {
  reader.tensors(value_tensors("router/", router.parameters()));
}

namespace {
/// What a checkpoint holds of a model: values before rounding, and moments where it is trained.
template <class T>
StateTensors trained_tensors(const TrainState<T>& state, const Sharers& sharers) {
  const auto& parameters = state.model->parameters();
  if (!state.optimizer) return value_tensors("model/", parameters);
  auto tensors = master_tensors("model/", parameters, *state.optimizer, sharers);
  for (auto& moment : moment_tensors("optimizer/model/", parameters, *state.optimizer, sharers))
    tensors.push_back(std::move(moment));
  return tensors;
}
template <class T>
StateTensors router_moments(const ElasticState<T>& elastic, const Sharers& sharers) {
  return moment_tensors("optimizer/router/", elastic.router->parameters(),
                        *elastic.router_optimizer, sharers);
}
}  // namespace

template <class T>
void write_state(const StateWriter& writer, const TrainState<T>& state, const std::string& deck) {
  write_head(writer, *state.model, deck, "training");
  writer.tensors(trained_tensors(state, writer.sharers()));
  writer.write([&](CheckpointWriter& file) {
    file.attribute("step", state.step);
    file.attribute("elastic", static_cast<index_t>(state.elastic.has_value()));
  });
  if (!state.elastic) return;
  write_ranking(writer, state.elastic->ranking);
  write_router(writer, *state.elastic->router);
  writer.tensors(router_moments(*state.elastic, writer.sharers()));
}

ModelShape read_shape(const CheckpointReader& reader) { return checked_shape(reader); }

Ranking read_ranking(const CheckpointReader& reader, const ModelShape& shape) {
  return checked_ranking(reader, shape);
}

void require_shape(const CheckpointReader& reader, const ModelShape& deck) {
  const auto differences = shape_differences(deck, read_shape(reader));
  if (differences.empty()) return;
  throw InputError(fmt::format("{}: holds a model of another shape than the deck describes: {}",
                               reader.path().string(), fmt::join(differences, "; ")));
}

template <class T>
void read_model(const StateReader& reader, LanguageModel<T>& model) {
  reader.agree([&] { require_shape(reader.file(), model.shape()); });
  reader.tensors(value_tensors("model/", model.parameters()));
  reader.agree([&] { require_finite(reader.file(), "model/", model.parameters()); });
}

template <class T>
void read_state(const StateReader& reader, const RunConfig& config, TrainState<T>& state) {
  const CheckpointReader& file = reader.file();
  const Sharers sharers = reader.sharers();
  reader.agree([&] {
    require_shape(file, state.model->shape());
    state.step = checked_step(file);
    if (checked_elastic(file))
      make_elastic(config, read_ranking(file, state.model->shape()), state);
  });
  if (state.elastic) {
    read_router(reader, *state.elastic->router);
    reader.tensors(router_moments(*state.elastic, sharers));
  }
  // After make_elastic, whose optimizer is a new one.
  reader.tensors(trained_tensors(state, sharers));
  // Rounding masters may leave the range of the values.
  reader.agree([&] { require_finite(file, "model/", state.model->parameters()); });
}

template <class T>
void write_sliced(const StateWriter& writer, const LanguageModel<T>& parent,
                  const SubmodelSpec& spec, const std::string& deck) {
  const std::shared_ptr<const LanguageModel<T>> sliced = slice_model(parent, spec);
  write_head(writer, *sliced, deck, "submodel");
  auto tensors = value_tensors("model/", sliced->parameters());
  for (auto& tensor : tensors)  // which keep the model until they have been fetched
    tensor.fetch = [sliced, fetch = std::move(tensor.fetch)](Range elements, char* out) {
      fetch(elements, out);
    };
  writer.tensors(std::move(tensors));
  write_spec(writer, spec);
}

template <class T>
void write_sliced(const std::filesystem::path& path, const LanguageModel<T>& parent,
                  const SubmodelSpec& spec, const std::string& deck) {
  CheckpointWriter file(path);
  write_sliced(file, parent, spec, deck);
  file.commit();
}

#define ELASTIC_INSTANTIATE(T)                                                                    \
  template void write_model<T>(const StateWriter&, const LanguageModel<T>&, const std::string&,   \
                               const std::string&);                                               \
  template void read_model<T>(const StateReader&, LanguageModel<T>&);                             \
  template void write_state<T>(const StateWriter&, const TrainState<T>&, const std::string&);     \
  template void read_state<T>(const StateReader&, const RunConfig&, TrainState<T>&);              \
  template void write_sliced<T>(const StateWriter&, const LanguageModel<T>&, const SubmodelSpec&, \
                                const std::string&);                                              \
  template void write_sliced<T>(const std::filesystem::path&, const LanguageModel<T>&,            \
                                const SubmodelSpec&, const std::string&);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
