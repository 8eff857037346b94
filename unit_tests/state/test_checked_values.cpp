// SPDX-License-Identifier: Apache-2.0
// Values of checkpoints with right hashes are compared with what they mean, each field once.
#include "state/checked_values.hpp"

#include <nlohmann/json.hpp>

#include "unit_tests/state/forged_file.hpp"
#include "unit_tests/state/stored_run.hpp"

namespace elastic::test {
namespace {

class CheckedValues : public StoredRun {
 protected:
  /// The message that reading the head of a forged copy ends with.
  std::string head_error(const std::filesystem::path& from, const Forgery& forgery) {
    const auto forged = folder / "forged.h5";
    std::filesystem::remove(forged);
    write_forged(from, forged, forgery);
    const std::string message =
        message_of<InputError>([&] { read_stored_head(CheckpointReader(forged)); });
    contains(message, "forged.h5");
    return message;
  }
  /// The message of the text 'shape' with another value under the first of these keys.
  std::string shape_error(const std::string& key, const std::string& value) {
    const std::string text = shape_to_json(state->model->shape());
    const auto begin = text.find("\"" + key + "\":") + key.size() + 3;
    const auto end = text.find_first_of(",}", begin);
    return message_of<InputError>(
        [&] { parse_shape(text.substr(0, begin) + value + text.substr(end)); });
  }
  std::string spec_error(const std::string& from, const std::string& to) {
    const std::string name = "submodel.small";
    return head_error(model,
                      {.texts = {{name, with(CheckpointReader(model).text(name), from, to)}}});
  }
  std::vector<index_t> order(const std::string& name) {
    return CheckpointReader(model).read<index_t>("ranking/" + name);
  }
};

TEST_F(CheckedValues, TensorsAreThoseOfTheModel) {
  const auto expected = model_tensors(state->model->shape());
  std::vector<std::string> names, found;
  for (const auto& info : expected) names.push_back(info.name);
  for (const auto& parameter : state->model->parameters()) found.push_back(parameter.info.name);
  EXPECT_EQ(names, found);
}

TEST_F(CheckedValues, RightFilesPass) {
  for (const auto& path : {model, write_training(), write_parent(), write_submodel("small", 0.5)}) {
    const CheckpointReader reader(path);
    EXPECT_NO_THROW(read_stored_head(reader)) << path;
    write_forged(path, folder / "copy.h5", {});
    EXPECT_NO_THROW(read_stored_head(CheckpointReader(folder / "copy.h5"))) << path;
  }
}

TEST_F(CheckedValues, Shapes) {
  contains(shape_error("vocab_size", "8589934592"),
           "'vocab_size' is 8589934592, expected a whole number from 1 to 268435456");
  const std::string text = CheckpointReader(model).text("shape");
  const auto changed = [&](const char* from, const char* to) {
    return head_error(model, {.texts = {{"shape", with(text, from, to)}}});
  };
  contains(changed("\"vocab_size\":64", "\"vocab_size\":-64"),
           "the text 'shape': 'vocab_size' is -64");
  contains(changed("\"hidden_size\":24", "\"hidden_size\":20"),
           "model/word_embeddings: is [64, 24], expected [64, 20] by the text 'shape'");
  for (const char* key : {"vocab_size", "hidden_size", "mamba_state_dim", "mamba_d_conv",
                          "chunk_size", "width", "head_channels", "num_groups"})
    for (const char* value : {"-1", "0", "1e30", "24.5", "\"24\"", "null", "[24]", "true",
                              "18446744073709551615", "9223372036854775808"})
      contains(shape_error(key, value), fmt::format("'{}' is ", key));
  contains(shape_error("norm_epsilon", "-1"), "norm epsilon is -1");
  contains(shape_error("norm_epsilon", "\"x\""), "'norm_epsilon' is \"x\"");
  contains(shape_error("kind", "\"\""), "a layer of kind ''");
  contains(shape_error("kind", "\"E\""), "'E'");
  contains(shape_error("kind", "7"), "'kind' is 7, expected a text");
  contains(head_error(model, {.texts = {{"shape", "{}"}}}), "the text 'shape': lacks 'vocab_size'");
  contains(head_error(model, {.texts = {{"shape", "["}}}), "the text 'shape': is not JSON");
  contains(head_error(model, {.texts = {{"shape", std::string(1000000, '[')}}}),
           "nested too deeply");
  contains(head_error(model, {.texts = {{"shape", std::nullopt}}}), "shape");
}

TEST_F(CheckedValues, TensorsFitTheShape) {
  const std::string name = "model/layers.0.mixer.A_log";
  contains(head_error(model, {.tensors = {{name, {Extents::vector(5), 1}}}}),
           name + ": is [5], expected [4] by the text 'shape'");
  contains(head_error(model, {.tensors = {{"model/more", {Extents::vector(5), 1}}}}),
           "model/more: is no part of the model");
  contains(head_error(model, {.orders = {{name, std::nullopt}}}), name + ": is missing");
  contains(head_error(model, {.orders = {{name, std::vector<index_t>{1, 2, 3, 4}}}}),
           name + ": holds int64");
}

TEST_F(CheckedValues, Rankings) {
  auto hidden = order("hidden");
  std::swap(hidden[0], hidden[1]);
  write_forged(model, folder / "other.h5", {.orders = {{"ranking/hidden", hidden}}});
  EXPECT_NO_THROW(read_stored_head(CheckpointReader(folder / "other.h5")));
  for (const char* name : {"hidden", "units.0", "units.1", "units.2", "channels.0", "drop_order"}) {
    const std::string object = std::string("ranking/") + name;
    const auto right = order(name);
    for (const index_t wrong :
         {index_t{-1}, static_cast<index_t>(right.size()), right[1], index_t{1} << 62}) {
      auto bad = right;
      bad[0] = wrong;
      contains(head_error(model, {.orders = {{object, bad}}}), object + ": element ");
    }
    auto longer = right;
    longer.push_back(static_cast<index_t>(right.size()));
    contains(head_error(model, {.orders = {{object, longer}}}), object + ": is int64 [");
    if (std::string(name) != "drop_order")
      contains(head_error(model, {.orders = {{object, std::nullopt}}}), object + ": is missing");
  }
  auto crossed = order("units.0");
  std::swap(crossed[0], crossed[1]);
  contains(head_error(model, {.orders = {{"ranking/units.0", crossed}}}),
           "a head of another of the 2 groups");
}

TEST_F(CheckedValues, Submodels) {
  contains(spec_error("\"budget\":0.5", "\"budget\":1.5"),
           "budget 1.5, expected a number in (0, 1]");
  contains(spec_error("\"budget\":0.5", "\"budget\":-0.5"), "expected a number in (0, 1]");
  contains(spec_error("\"budget\":0.5", "\"budget\":null"), "'budget' is null");
  contains(spec_error("\"budget\":0.5", "\"budget\":1e400"), "is not JSON");
  contains(spec_error("\"name\":\"small\"", "\"name\":\"large\""), "calls itself 'large'");
  contains(spec_error("\"name\":\"small\"", "\"name\":3"), "'name' is 3");
  contains(spec_error("\"hidden_size\":", "\"hidden_size\":99"), "hidden size");
  contains(spec_error("\"hidden_size\":", "\"hidden_size\":-"), "'hidden_size' is -");
  contains(spec_error("\"width\":[", "\"width\":[1,"), "6 widths but 5 head_channels");
  contains(spec_error("\"width\":[", "\"width\":[-"), "'width' is -");
  contains(spec_error("\"head_channels\":[", "\"head_channels\":[9"), "head channels");
  contains(spec_error("\"dropped_layers\":[", "\"dropped_layers\":[5,"), "'dropped_layers' is 5");
  contains(spec_error("\"dropped_layers\":[", "\"x\":[],\"x\":[],\"dropped_layers\":["),
           "the key \"x\" stands twice");
}

TEST_F(CheckedValues, SlicedFiles) {
  const auto sliced = write_submodel("small", 0.5);
  const std::string text = CheckpointReader(sliced).text("submodel.small");
  contains(head_error(sliced, {.texts = {{"submodel.small", std::nullopt}}}),
           "holds the widths of 0 submodels");
  contains(head_error(sliced, {.texts = {{"submodel.other", text}}}), "of 2 submodels");
  contains(head_error(sliced, {.texts = {{"submodel.small", "[]"}}}), "is not a JSON object");
  contains(head_error(sliced, {.texts = {{"submodel.small",
                                          with(text, "\"hidden_size\":", "\"hidden_size\":1")}}}),
           "its widths are not those of the text 'shape'");
}

TEST_F(CheckedValues, AttributesAndDecks) {
  const auto training = write_training();
  contains(
      head_error(model, {.attributes = {{"kind", std::string("elastc")}}}),
      "the attribute kind: 'elastc' is none of training, parent, elastic, submodel and import");
  contains(head_error(model, {.attributes = {{"kind", index_t{1}}}}), "attribute kind");
  contains(head_error(model, {.attributes = {{"kind", std::nullopt}}}), "kind");
  contains(head_error(training, {.attributes = {{"step", index_t{-5}}}}),
           "the attribute step: -5, expected 0 or more");
  contains(head_error(training, {.attributes = {{"step", 5.0}}}), "attribute step");
  contains(head_error(training, {.attributes = {{"step", std::nullopt}}}), "step");
  contains(head_error(training, {.attributes = {{"elastic", index_t{2}}}}), "expected 0 or 1");
  contains(head_error(training, {.attributes = {{"elastic", std::nullopt}}}), "elastic");
  contains(head_error(model, {.texts = {{"deck", "<modl>\n"}}}), "'model'");
  contains(head_error(model, {.texts = {{"deck", std::nullopt}}}), "deck");
  const std::string huge = small_deck_text + "<guard>\nlimit = 9000000000000000000\n";
  contains(head_error(model, {.texts = {{"deck", huge}}}), "<guard>/limit = 9000000000000000000");
}

TEST_F(CheckedValues, NumbersAreFinite) {
  const std::string name = "model/final_norm.weight";
  const Extents extents = CheckpointReader(model).info(name).extents;
  for (const float value : {std::nanf(""), HUGE_VALF, -HUGE_VALF}) {
    write_forged(model, folder / "poisoned.h5", {.tensors = {{name, {extents, value}}}});
    const CheckpointReader reader(folder / "poisoned.h5");
    const auto message = message_of<NumericsError>([&] { read_stored_model(reader); });
    contains(message, "poisoned.h5: " + name + ": a value is ");
  }
}

TEST_F(CheckedValues, AResumeChecksThemToo) {
  const auto training = write_training(), forged = folder / "forged.h5";
  const auto resume = [&](const Forgery& forgery) {
    write_forged(training, forged, forgery);
    auto again = make_parent<Real>(deck.config, Weights::zero);
    read_state(CheckpointReader(forged), deck.config, again);
  };
  EXPECT_NO_THROW(resume({}));
  contains(message_of<InputError>([&] {
             resume({.attributes = {{"step", index_t{-1}}}});
           }),
           "expected 0 or more");
  auto hidden = order("hidden");
  hidden[0] = hidden[1];
  contains(message_of<InputError>([&] {
             resume({.orders = {{"ranking/hidden", hidden}}});
           }),
           "expected a permutation");
  const CheckpointReader reader(training);
  for (const char* name : {"model/final_norm.weight", "optimizer/model/m/final_norm.weight",
                           "optimizer/model/v/final_norm.weight"})
    contains(message_of<NumericsError>([&] {
               resume({.tensors = {{name, {reader.info(name).extents, HUGE_VALF}}}});
             }),
             std::string(name) + ": a value is inf");
}

}  // namespace
}  // namespace elastic::test
