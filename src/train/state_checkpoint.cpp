// SPDX-License-Identifier: Apache-2.0
#include "train/state_checkpoint.hpp"

#include <nlohmann/json.hpp>

#include "io/checkpoint_views.hpp"

namespace elastic {
namespace {
using Json = nlohmann::json;

const char* dim_name(Dim dim) {
  switch (dim) {
    case Dim::fixed:
      return "fixed";
    case Dim::hidden:
      return "hidden";
    case Dim::mamba_heads:
      return "mamba_heads";
    case Dim::mamba_inner:
      return "mamba_inner";
    case Dim::attention_inner:
      return "attention_inner";
    case Dim::ffn:
      return "ffn";
  }
  return "";
}

/// One View per tensor of a store, under a prefix: vectors as rank 1, matrices as rank 2.
template <class ViewOf>
void write_store(CheckpointWriter& writer, const std::string& prefix,
                 const ParameterStore<float>& store, const ViewOf& view_of) {
  for (const auto& parameter : store) {
    const auto& info = parameter.info;
    const View2<float> view = view_of(parameter);
    const std::string name = prefix + info.name;
    if (info.vector)
      write_view<float>(writer, name, View1<float>(view.data(), view.size()), StorageType::float32,
                        {{"axes", std::string(dim_name(info.column_dim))}});
    else
      write_view<float>(
          writer, name, view, StorageType::float32,
          {{"axes", fmt::format("{} {}", dim_name(info.row_dim), dim_name(info.column_dim))}});
  }
}
template <class ViewOf>
void read_store(const CheckpointReader& reader, const std::string& prefix,
                const ParameterStore<float>& store, const ViewOf& view_of) {
  for (const auto& parameter : store) {
    const View2<float> view = view_of(parameter);
    if (parameter.info.vector)
      read_view(reader, prefix + parameter.info.name, View1<float>(view.data(), view.size()));
    else
      read_view(reader, prefix + parameter.info.name, view);
  }
}
View2<float> value_of(const Parameter<float>& parameter) { return parameter.value; }

/// Calls body(prefix, view_of) for both moments.
template <class Body>
void for_each_moment(const std::string& prefix, const AdamW<float>& optimizer, const Body& body) {
  body(prefix + "m/",
       [&](const Parameter<float>& p) { return optimizer.first_moment(p.info.name); });
  body(prefix + "v/",
       [&](const Parameter<float>& p) { return optimizer.second_moment(p.info.name); });
}
void write_moments(CheckpointWriter& writer, const std::string& prefix,
                   const ParameterStore<float>& store, const AdamW<float>& optimizer) {
  for_each_moment(prefix, optimizer, [&](const auto& name, const auto& view_of) {
    write_store(writer, name, store, view_of);
  });
}
void read_moments(const CheckpointReader& reader, const std::string& prefix,
                  const ParameterStore<float>& store, const AdamW<float>& optimizer) {
  for_each_moment(prefix, optimizer, [&](const auto& name, const auto& view_of) {
    read_store(reader, name, store, view_of);
  });
}
}  // namespace

std::string shape_to_json(const ModelShape& shape) {
  Json layers = Json::array();
  for (const auto& layer : shape.layers)
    layers.push_back({{"kind", std::string(1, static_cast<char>(layer.kind))},
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
    const Json json = Json::parse(text);
    ModelShape shape{.vocab_size = json.at("vocab_size"),
                     .hidden_size = json.at("hidden_size"),
                     .norm_epsilon = json.at("norm_epsilon"),
                     .mamba_state_dim = json.at("mamba_state_dim"),
                     .mamba_d_conv = json.at("mamba_d_conv"),
                     .chunk_size = json.at("chunk_size"),
                     .layers = {}};
    for (const auto& layer : json.at("layers"))
      shape.layers.push_back({static_cast<LayerKind>(layer.at("kind").get<std::string>().at(0)),
                              layer.at("width"), layer.at("head_channels"),
                              layer.at("num_groups")});
    check_shape(shape);
    return shape;
  } catch (const std::exception& error) {
    throw InputError(
        fmt::format("{}: the text 'shape' does not describe a model: {}", file, error.what()));
  }
}

void write_model(CheckpointWriter& writer, const LanguageModel<float>& model,
                 const std::string& deck, const std::string& kind) {
  writer.attribute("kind", kind);
  writer.text("deck", deck);
  writer.text("shape", shape_to_json(model.shape()));
  write_store(writer, "model/", model.parameters(), value_of);
}

void write_ranking(CheckpointWriter& writer, const Ranking& ranking) {
  const auto vector = [&](const std::string& name, const std::vector<index_t>& values) {
    if (!values.empty())
      writer.vector("ranking/" + name, values.data(), static_cast<index_t>(values.size()));
  };
  vector("hidden", ranking.hidden);
  vector("drop_order", ranking.drop_order);
  for (std::size_t l = 0; l < ranking.units.size(); ++l) {
    vector(fmt::format("units.{}", l), ranking.units[l]);
    vector(fmt::format("channels.{}", l), ranking.channels[l]);
  }
}

void write_spec(CheckpointWriter& writer, const SubmodelSpec& spec) {
  writer.text("submodel." + spec.name, to_json(spec));
}

void write_router(CheckpointWriter& writer, const Router<float>& router) {
  write_store(writer, "router/", router.parameters(), value_of);
}
void read_router(const CheckpointReader& reader, Router<float>& router) {
  read_store(reader, "router/", router.parameters(), value_of);
}

void write_state(CheckpointWriter& writer, const TrainState& state, const std::string& deck) {
  write_model(writer, *state.model, deck, "training");
  writer.attribute("step", state.step);
  writer.attribute("elastic", static_cast<index_t>(state.elastic.has_value()));
  if (state.optimizer)
    write_moments(writer, "optimizer/model/", state.model->parameters(), *state.optimizer);
  if (!state.elastic) return;
  const auto& elastic = *state.elastic;
  write_ranking(writer, elastic.ranking);
  write_router(writer, *elastic.router);
  write_moments(writer, "optimizer/router/", elastic.router->parameters(),
                *elastic.router_optimizer);
}

ModelShape read_shape(const CheckpointReader& reader) {
  return shape_from_json(reader.text("shape"), reader.path().string());
}

Ranking read_ranking(const CheckpointReader& reader, const ModelShape& shape) {
  const auto vector = [&](const std::string& name) {
    return reader.contains("ranking/" + name) ? reader.read<index_t>("ranking/" + name)
                                              : std::vector<index_t>{};
  };
  Ranking ranking{
      .hidden = vector("hidden"), .units = {}, .channels = {}, .drop_order = vector("drop_order")};
  for (index_t l = 0; l < shape.num_layers(); ++l) {
    ranking.units.push_back(vector(fmt::format("units.{}", l)));
    ranking.channels.push_back(vector(fmt::format("channels.{}", l)));
  }
  return ranking;
}

void read_model(const CheckpointReader& reader, LanguageModel<float>& model) {
  if (read_shape(reader) != model.shape())
    throw InputError(fmt::format(
        "{}: holds a model of another shape than the deck describes ({} layers of {} channels; "
        "expected {} of {})",
        reader.path().string(), read_shape(reader).num_layers(), read_shape(reader).hidden_size,
        model.shape().num_layers(), model.shape().hidden_size));
  read_store(reader, "model/", model.parameters(), value_of);
}

void read_state(const CheckpointReader& reader, const RunConfig& config, TrainState& state) {
  read_model(reader, *state.model);
  state.step = reader.attribute_as<index_t>("step");
  if (reader.attribute_as<index_t>("elastic") != 0) {
    make_elastic(config, read_ranking(reader, state.model->shape()), state);
    read_router(reader, *state.elastic->router);
    read_moments(reader, "optimizer/router/", state.elastic->router->parameters(),
                 *state.elastic->router_optimizer);
  }
  if (state.optimizer)
    read_moments(reader, "optimizer/model/", state.model->parameters(), *state.optimizer);
}

}  // namespace elastic
