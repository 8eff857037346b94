// SPDX-License-Identifier: Apache-2.0
#include "state/state_checkpoint.hpp"

#include <nlohmann/json.hpp>

#include "model/slicing.hpp"
#include "parallel/whole_tensors.hpp"
#include "state/checked_values.hpp"

namespace elastic {
namespace {
using Json = nlohmann::json;

Extents extents_of(const ParameterInfo& info) {
  return info.vector ? Extents::vector(info.columns) : Extents::matrix(info.rows, info.columns);
}

/// Writes the whole tensor as rank 1 or 2.
template <class T>
void write_whole(const StateWriter& writer, const std::string& name, const ParameterInfo& info,
                 const T* whole) {
  const std::string columns = dim_name(info.column_dim);
  const std::string axes =
      info.vector ? columns : fmt::format("{} {}", dim_name(info.row_dim), columns);
  writer.write([&](CheckpointWriter& file) {
    file.write(name, extents_of(info), whole, storage_type_of<T>(), {{"axes", axes}});
  });
}

/// Writes the whole tensor of which this rank holds `part`, on the host. `group`: the ranks that
/// share the tensors, or null.
template <class T>
void write_part(const StateWriter& writer, const Communicator* group, const std::string& name,
                const ParameterInfo& info, const T* part) {
  if (!group || !info.sharded()) return write_whole(writer, name, info, part);
  const auto whole = gather_shards<T>(*group, ShardedMatrix::of(info), part);
  write_whole(writer, name, info, whole.data());
}

/// Writes all values of a store under a prefix, as they are kept. `group`: as for write_part.
template <class T>
void write_store(const StateWriter& writer, const Communicator* group, const std::string& prefix,
                 const ParameterStore<T>& store) {
  if (!writer.sends()) return;
  for (const auto& parameter : store) {
    const bool gathered = group && parameter.info.sharded();
    if (!gathered && !writer.writes()) continue;
    with_values(parameter, [&](const auto& mine) {
      const auto h_mine = Kokkos::create_mirror_view_and_copy(HostSpace(), mine);
      write_part<typename std::decay_t<decltype(mine)>::value_type>(
          writer, group, prefix + parameter.info.name, parameter.info, h_mine.data());
    });
  }
}
/// Writes the values before rounding under these names. Ranks that hold equal parts of the model
/// own slices of them.
template <class T>
void write_masters(const StateWriter& writer, const Communicator* group, const std::string& prefix,
                   const ParameterStore<T>& store, const AdamW<T>& optimizer) {
  for (const auto& parameter : store) {
    const auto& info = parameter.info;
    const auto part = optimizer.gather_masters(writer.owners(), info.name);
    if (writer.sends()) write_part(writer, group, prefix + info.name, info, part.data());
  }
}
template <class T>
std::vector<T> read_whole(const CheckpointReader& reader, const std::string& name,
                          const ParameterInfo& info) {
  std::vector<T> whole(static_cast<std::size_t>(info.rows * info.columns));
  reader.read(name, extents_of(info), whole.data());
  return whole;
}
/// Every rank reads its part by itself.
template <class T>
void read_store(const CheckpointReader& reader, const std::string& prefix,
                const ParameterStore<T>& store) {
  for (const auto& parameter : store)
    with_values(parameter, [&](const auto& mine) {
      using Value = typename std::decay_t<decltype(mine)>::value_type;
      const auto& info = parameter.info;
      const auto whole = read_whole<Value>(reader, prefix + info.name, info);
      take_shard<Value>(whole.data(), ShardedMatrix::of(info), store.shard(), mine);
    });
}
/// This rank's part of a tensor.
template <class T>
std::vector<T> read_part(const CheckpointReader& reader, const std::string& name,
                         const ParameterInfo& info, const Shard& shard) {
  return take_shard<T>(read_whole<T>(reader, name, info).data(), ShardedMatrix::of(info), shard);
}
/// As read_store, and every rank keeps the masters that it owns.
template <class T>
void read_masters(const CheckpointReader& reader, const std::string& prefix,
                  const ParameterStore<T>& store, const AdamW<T>& optimizer) {
  for (const auto& parameter : store) {
    const auto& info = parameter.info;
    const auto part = read_part<Accumulate<T>>(reader, prefix + info.name, info, store.shard());
    require_finite(reader, prefix + info.name, part);
    optimizer.set_masters(info.name, part.data());
  }
}

/// Writes AdamW's moments. Ranks that hold equal parts of the model own slices of them.
template <class T>
void write_moments(const StateWriter& writer, const Communicator* group, const std::string& prefix,
                   const ParameterStore<T>& store, const AdamW<T>& optimizer) {
  for (const auto& [which, name] : {std::pair{Moment::first, "m/"}, {Moment::second, "v/"}})
    for (const auto& parameter : store) {
      const auto& info = parameter.info;
      const auto part = optimizer.gather_moment(writer.owners(), which, info.name);
      if (writer.sends()) write_part(writer, group, prefix + name + info.name, info, part.data());
    }
}
template <class T>
void read_moments(const CheckpointReader& reader, const std::string& prefix,
                  const ParameterStore<T>& store, const AdamW<T>& optimizer) {
  for (const auto& [which, name] : {std::pair{Moment::first, "m/"}, {Moment::second, "v/"}})
    for (const auto& parameter : store) {
      const auto& info = parameter.info;
      const auto part =
          read_part<Accumulate<T>>(reader, prefix + name + info.name, info, store.shard());
      require_finite(reader, prefix + name + info.name, part);
      optimizer.set_moment(which, info.name, part.data());
    }
}
}  // namespace

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
  write_store(writer, model.parallel().group(), "model/", model.parameters());
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
  write_store(writer, nullptr, "router/", router.parameters());
}
void read_router(const CheckpointReader& reader, Router<Accumulate<Real>>& router) {
  read_store(reader, "router/", router.parameters());
  require_finite(reader, "router/", router.parameters());
}

template <class T>
void write_state(const StateWriter& writer, const TrainState<T>& state, const std::string& deck) {
  const auto& model = *state.model;
  const Communicator* group = model.parallel().group();
  write_head(writer, model, deck, "training");
  if (has_masters<T> && state.optimizer)
    write_masters(writer, group, "model/", model.parameters(), *state.optimizer);
  else
    write_store(writer, group, "model/", model.parameters());
  writer.write([&](CheckpointWriter& file) {
    file.attribute("step", state.step);
    file.attribute("elastic", static_cast<index_t>(state.elastic.has_value()));
  });
  if (state.optimizer)
    write_moments(writer, group, "optimizer/model/", model.parameters(), *state.optimizer);
  if (!state.elastic) return;
  const auto& elastic = *state.elastic;
  write_ranking(writer, elastic.ranking);
  write_router(writer, *elastic.router);
  write_moments(writer, nullptr, "optimizer/router/", elastic.router->parameters(),
                *elastic.router_optimizer);
}

ModelShape read_shape(const CheckpointReader& reader) { return checked_shape(reader); }

Ranking read_ranking(const CheckpointReader& reader, const ModelShape& shape) {
  return checked_ranking(reader, shape);
}

namespace {
void require_shape_of(const CheckpointReader& reader, const ModelShape& expected) {
  const ModelShape found = read_shape(reader);
  if (found == expected) return;
  throw InputError(fmt::format(
      "{}: holds a model of another shape than the deck describes ({} layers of {} channels; "
      "expected {} of {})",
      reader.path().string(), found.num_layers(), found.hidden_size, expected.num_layers(),
      expected.hidden_size));
}
}  // namespace

template <class T>
void read_model(const CheckpointReader& reader, LanguageModel<T>& model) {
  require_shape_of(reader, model.shape());
  read_store(reader, "model/", model.parameters());
  require_finite(reader, "model/", model.parameters());
}

template <class T>
void read_state(const CheckpointReader& reader, const RunConfig& config, TrainState<T>& state) {
  const auto& parameters = state.model->parameters();
  require_shape_of(reader, state.model->shape());
  state.step = checked_step(reader);
  if (checked_elastic(reader)) {
    make_elastic(config, read_ranking(reader, state.model->shape()), state);
    read_router(reader, *state.elastic->router);
    read_moments(reader, "optimizer/router/", state.elastic->router->parameters(),
                 *state.elastic->router_optimizer);
  }
  // After make_elastic, whose optimizer is a new one.
  if (has_masters<T> && state.optimizer)
    read_masters(reader, "model/", parameters, *state.optimizer);
  else
    read_store(reader, "model/", parameters);
  require_finite(reader, "model/", parameters);
  if (state.optimizer) read_moments(reader, "optimizer/model/", parameters, *state.optimizer);
}

template <class T>
void write_sliced(const StateWriter& writer, const LanguageModel<T>& parent,
                  const SubmodelSpec& spec, const std::string& deck) {
  write_model(writer, *slice_model(parent, spec), deck, "submodel");
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
  template void read_model<T>(const CheckpointReader&, LanguageModel<T>&);                        \
  template void write_state<T>(const StateWriter&, const TrainState<T>&, const std::string&);     \
  template void read_state<T>(const CheckpointReader&, const RunConfig&, TrainState<T>&);         \
  template void write_sliced<T>(const StateWriter&, const LanguageModel<T>&, const SubmodelSpec&, \
                                const std::string&);                                              \
  template void write_sliced<T>(const std::filesystem::path&, const LanguageModel<T>&,            \
                                const SubmodelSpec&, const std::string&);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
