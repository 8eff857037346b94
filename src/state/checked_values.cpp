// SPDX-License-Identifier: Apache-2.0
#include "state/checked_values.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "arch/layer_kind.hpp"
#include "arch/shape_limits.hpp"
#include "elastic/checked_json.hpp"
#include "elastic/spec_text.hpp"

namespace elastic {
namespace {

template <class... Args>
[[noreturn]] void refuse(const CheckpointReader& reader, const std::string& object,
                         fmt::format_string<Args...> format, Args&&... args) {
  throw InputError(fmt::format("{}: {}: {}", reader.path().string(), object,
                               fmt::format(format, std::forward<Args>(args)...)));
}

/// Runs a check that knows no file and puts file and object before what it throws.
template <class Check>
auto at(const CheckpointReader& reader, const std::string& object, const Check& check) {
  try {
    return check();
  } catch (const InputError& error) {
    refuse(reader, object, "{}", error.what());
  }
}

std::string text_object(const std::string& name) { return fmt::format("the text '{}'", name); }

void check_tensors(const CheckpointReader& reader, const ModelShape& shape) {
  const std::string prefix = "model/";
  std::set<std::string> expected;
  for (const auto& info : model_tensors(shape)) {
    const std::string name = prefix + info.name;
    if (!reader.contains(name)) refuse(reader, name, "is missing; the text 'shape' describes it");
    const TensorInfo& found = reader.info(name);
    const Extents extents =
        info.vector ? Extents::vector(info.columns) : Extents::matrix(info.rows, info.columns);
    if (found.extents != extents)
      refuse(reader, name, "is {}, expected {} by the text 'shape'", to_string(found.extents),
             to_string(extents));
    if (found.type == StorageType::int64)
      refuse(reader, name, "holds int64, expected real numbers");
    expected.insert(name);
  }
  for (const auto& tensor : reader.tensors())
    if (tensor.name.starts_with(prefix) && !expected.contains(tensor.name))
      refuse(reader, tensor.name, "is no part of the model that the text 'shape' describes");
}

/// The file is as large as what it claims to hold.
void check_storage(const CheckpointReader& reader) {
  const auto size = static_cast<double>(std::filesystem::file_size(reader.path()));
  double bytes = 0;
  for (const auto& tensor : reader.tensors()) {
    bytes += static_cast<double>(tensor.extents.rows) *
             static_cast<double>(tensor.extents.columns) *
             static_cast<double>(size_of(tensor.type));
    if (bytes > size)
      refuse(reader, tensor.name, "{} does not fit into a file of {} bytes",
             to_string(tensor.extents), size);
  }
}

/// A stored order: empty if it is not there, else a permutation of `count` things, each of which
/// stays in its group i % num_groups.
std::vector<index_t> read_order(const CheckpointReader& reader, const std::string& name,
                                index_t count, index_t num_groups) {
  const std::string object = "ranking/" + name;
  if (!reader.contains(object)) return {};
  const TensorInfo& info = reader.info(object);
  if (info.type != StorageType::int64 || info.extents != Extents::vector(count))
    refuse(reader, object, "is {} {}, expected int64 [{}]", name_of(info.type),
           to_string(info.extents), count);
  auto order = reader.read<index_t>(object);
  std::vector<bool> seen(order.size(), false);
  for (std::size_t i = 0; i < order.size(); ++i) {
    const index_t old = order[i];
    if (old < 0 || old >= count || seen[static_cast<std::size_t>(old)])
      refuse(reader, object, "element {} is {}; expected a permutation of 0 to {}", i, old,
             count - 1);
    if (old % num_groups != static_cast<index_t>(i) % num_groups)
      refuse(reader, object, "element {} is {}, a head of another of the {} groups", i, old,
             num_groups);
    seen[static_cast<std::size_t>(old)] = true;
  }
  return order;
}

void require_order(const CheckpointReader& reader, const std::string& name,
                   const std::vector<index_t>& order) {
  if (order.empty()) refuse(reader, "ranking/" + name, "is missing; the file holds other orders");
}

void check_budget(const SubmodelSpec& spec, const std::string& name) {
  if (!(spec.budget > 0 && spec.budget <= 1))
    throw InputError(fmt::format("budget {}, expected a number in (0, 1]", spec.budget));
  if (spec.name != name)
    throw InputError(fmt::format("calls itself '{}', expected '{}'", spec.name, name));
}

}  // namespace

ModelShape parse_shape(const std::string& text) {
  const auto json = parse_checked_json(text);
  const auto extent = [&](const char* key) { return whole_number(json, key, 1, max_extent); };
  ModelShape shape{.vocab_size = extent("vocab_size"),
                   .hidden_size = extent("hidden_size"),
                   .norm_epsilon = real_number(json, "norm_epsilon"),
                   .mamba_state_dim = extent("mamba_state_dim"),
                   .mamba_d_conv = extent("mamba_d_conv"),
                   .chunk_size = extent("chunk_size"),
                   .layers = {}};
  for (const auto& layer : list(json, "layers", max_layers)) {
    const std::string kind = word(layer, "kind");
    if (kind.size() != 1) throw InputError(fmt::format("a layer of kind '{}'", kind));
    shape.layers.push_back({kind_of_symbol(kind[0]), whole_number(layer, "width", 1, max_extent),
                            whole_number(layer, "head_channels", 1, max_extent),
                            whole_number(layer, "num_groups", 1, max_extent)});
  }
  check_shape(shape);
  return shape;
}

std::vector<ParameterInfo> model_tensors(const ModelShape& shape) {
  const auto words = [&](const char* name) {
    return ParameterInfo{.name = name, .rows = shape.vocab_size, .columns = shape.hidden_size};
  };
  const auto norm = [&](const std::string& name) {
    return ParameterInfo{.name = name, .columns = shape.hidden_size, .vector = true};
  };
  std::vector<ParameterInfo> tensors = {words("word_embeddings")};
  for (index_t l = 0; l < shape.num_layers(); ++l) {
    tensors.push_back(norm(fmt::format("layers.{}.norm.weight", l)));
    const auto mixer = layer_tensors(shape, l);
    tensors.insert(tensors.end(), mixer.begin(), mixer.end());
  }
  tensors.push_back(norm("final_norm.weight"));
  tensors.push_back(words("output_layer"));
  return tensors;
}

ModelShape checked_shape(const CheckpointReader& reader) {
  const ModelShape shape =
      at(reader, text_object("shape"), [&] { return parse_shape(reader.text("shape")); });
  check_storage(reader);
  check_tensors(reader, shape);
  return shape;
}

Ranking checked_ranking(const CheckpointReader& reader, const ModelShape& shape) {
  Ranking ranking{.hidden = read_order(reader, "hidden", shape.hidden_size, 1),
                  .units = {},
                  .channels = {},
                  .drop_order = read_order(reader, "drop_order", shape.num_layers(), 1)};
  for (index_t l = 0; l < shape.num_layers(); ++l) {
    const auto& layer = shape.layers[static_cast<std::size_t>(l)];
    const std::string units = fmt::format("units.{}", l), channels = fmt::format("channels.{}", l);
    ranking.units.push_back(read_order(reader, units, layer.width, layer.num_groups));
    ranking.channels.push_back(ranks_channels(layer)
                                   ? read_order(reader, channels, layer.head_channels, 1)
                                   : std::vector<index_t>{});
    if (ranking.hidden.empty() && ranking.units.back().empty()) continue;
    require_order(reader, "hidden", ranking.hidden);
    require_order(reader, units, ranking.units.back());
    if (ranks_channels(layer)) require_order(reader, channels, ranking.channels.back());
  }
  return ranking;
}

std::string checked_kind(const CheckpointReader& reader) {
  const auto kind = reader.attribute_as<std::string>("kind");
  for (const char* known : {"training", "parent", "elastic", "submodel", "import"})
    if (kind == known) return kind;
  refuse(reader, "the attribute kind",
         "'{}' is none of training, parent, elastic, submodel and import", kind);
}

index_t checked_step(const CheckpointReader& reader) {
  const auto step = reader.attribute_as<index_t>("step");
  if (step < 0) refuse(reader, "the attribute step", "{}, expected 0 or more", step);
  return step;
}

bool checked_elastic(const CheckpointReader& reader) {
  const auto elastic = reader.attribute_as<index_t>("elastic");
  if (elastic != 0 && elastic != 1)
    refuse(reader, "the attribute elastic", "{}, expected 0 or 1", elastic);
  return elastic == 1;
}

SubmodelSpec checked_spec(const CheckpointReader& reader, const ModelShape& parent,
                          const std::string& name) {
  const std::string text = std::string(spec_prefix) + name;
  return at(reader, text_object(text), [&] {
    SubmodelSpec spec = spec_from_json(parent, reader.text(text));
    check_budget(spec, name);
    return spec;
  });
}

SubmodelSpec checked_own_spec(const CheckpointReader& reader, const ModelShape& shape,
                              const std::string& name) {
  const std::string text = std::string(spec_prefix) + name;
  return at(reader, text_object(text), [&] {
    SubmodelSpec spec = parse_spec(reader.text(text));
    check_budget(spec, name);
    std::size_t own = 0;
    bool same = spec.hidden_size == shape.hidden_size;
    for (const auto& layer : spec.layers) {
      if (!layer.keep) continue;
      same = same && own < shape.layers.size() && layer.width == shape.layers[own].width &&
             layer.head_channels == shape.layers[own].head_channels;
      ++own;
    }
    if (!same || own != shape.layers.size())
      throw InputError("its widths are not those of the text 'shape'");
    return spec;
  });
}

template <class A>
void require_finite(const CheckpointReader& reader, const std::string& tensor,
                    const std::vector<A>& values) {
  const auto bad =
      std::find_if(values.begin(), values.end(), [](A value) { return !std::isfinite(value); });
  if (bad != values.end())
    throw NumericsError(fmt::format("{}: {}: a value is {}, expected finite numbers",
                                    reader.path().string(), tensor, *bad));
}
template <class T>
void require_finite(const CheckpointReader& reader, const std::string& prefix,
                    const ParameterStore<T>& store) {
  for (const auto& parameter : store)
    require_finite(reader, prefix + parameter.info.name, values_to_host(parameter));
}

template void require_finite<float>(const CheckpointReader&, const std::string&,
                                    const std::vector<float>&);
#define ELASTIC_INSTANTIATE(T)                                                 \
  template void require_finite<T>(const CheckpointReader&, const std::string&, \
                                  const ParameterStore<T>&);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
