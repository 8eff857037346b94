// SPDX-License-Identifier: Apache-2.0
// What people are told about every kind of checkpoint, and damage that only checksums find.
#include "verbs/inspect.hpp"

#include "unit_tests/state/stored_run.hpp"

namespace elastic::test {
namespace {

class Inspect : public StoredRun {};

TEST_F(Inspect, ShowsEveryKind) {
  const auto elastic = inspect_checkpoint(model, {.verify = true});
  contains(elastic, "elastic");
  contains(elastic, "M-*M-: 5 layers, hidden 24, vocabulary 64");
  contains(elastic, fmt::format("{:.0f}", parameters(full_spec(state->model->shape()))));
  contains(elastic, "middle");
  contains(elastic, "least important first: 1, 3; no others are\n");  // two may be dropped
  contains(elastic, "nested: each is part of every larger one");
  contains(elastic, "checksums of all");
  EXPECT_EQ(elastic.find("xxh"), std::string::npos);
  EXPECT_EQ(elastic.find("model/word_embeddings"), std::string::npos);
  const auto training = inspect_checkpoint(write_training(), {.tensors = true});
  contains(training, "17 (ranked, with router)");
  contains(training, "optimizer/model/m/word_embeddings");
  contains(inspect_checkpoint(write_parent(), {}), "no stored widths");
  contains(inspect_checkpoint(write_submodel("small", 0.5), {}), "small: budget 0.5");
}

TEST_F(Inspect, SaysWhereSubmodelsAreNotNested) {
  const auto path = folder / "unnested.h5";
  CheckpointWriter writer(path);
  write_model(writer, *state->model, deck.text, "elastic");
  write_ranking(writer, state->elastic->ranking);
  for (const auto& [name, budget, hidden] :
       {std::tuple{"middle", 0.7, 16}, std::tuple{"small", 0.5, 20}}) {
    SubmodelSpec spec = full_spec(state->model->shape());
    spec.name = name;
    spec.budget = budget;
    spec.hidden_size = hidden;
    write_spec(writer, spec);
  }
  writer.commit();
  contains(inspect_checkpoint(path, {}), "small is not part of middle: hidden 20 of 16");
}

TEST_F(Inspect, FindsDamage) {
  std::string bytes = bytes_of(model);
  // A bit of one stored weight: invisible to the manifest, found by the checksum.
  const auto values = to_host(state->model->output_layer().value);
  const std::string pattern(reinterpret_cast<const char*>(values.data()), 64);
  const auto place = bytes.find(pattern);
  ASSERT_NE(place, std::string::npos);
  bytes[place] = static_cast<char>(bytes[place] ^ 1);
  write_bytes(folder / "damaged.h5", bytes);
  EXPECT_NO_THROW(inspect_checkpoint(folder / "damaged.h5", {}));
  contains(
      message_of<InputError>([&] { inspect_checkpoint(folder / "damaged.h5", {.verify = true}); }),
      "model/output_layer is damaged");
  write_bytes(folder / "text.h5", "not HDF5");
  EXPECT_THROW(inspect_checkpoint(folder / "text.h5", {}), InputError);
  EXPECT_THROW(inspect_checkpoint(folder / "absent.h5", {}), InputError);
}

}  // namespace
}  // namespace elastic::test
