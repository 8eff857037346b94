// SPDX-License-Identifier: Apache-2.0
// Measured times travel with the checkpoint: submodels of budgets in seconds come out of the file
// alone.
#include "state/stored_times.hpp"

#include "config/extraction.hpp"
#include "config/seconds_budget.hpp"
#include "config/times_text.hpp"
#include "io/durable_file.hpp"
#include "unit_tests/state/stored_run.hpp"

namespace elastic::test {
namespace {

class StoredTimes : public StoredRun {
 protected:
  void SetUp() override {
    StoredRun::SetUp();
    deck = small_deck({"elastic/budget_kind=seconds", "elastic/seconds_from=gone.json"});
    MeasuredTimes times;
    times.pass = "prefill";
    times.seq_length = 1024;
    times.model = state->model->shape();
    for (const auto& layer : times.model.layers)
      times.layers.push_back({layer, {{1e-7, 1e-9, 1e-8, 1e-10}}});
    times.model.layers.clear();
    times.ends.factors = {1e-8, 1e-9};
    text = to_json(times);
  }
  std::filesystem::path write(bool with_times) {
    const auto path = folder / (with_times ? "timed.h5" : "bare.h5");
    CheckpointWriter writer(path);
    write_model(writer, *state->model, deck.text, "elastic");
    write_ranking(writer, state->elastic->ranking);
    write_router(writer, *state->elastic->router);
    if (with_times) write_times(writer, text);
    writer.commit();
    return path;
  }
  std::string text;
};

TEST_F(StoredTimes, SubmodelsComeOutOfTheFileAlone) {
  const CheckpointReader reader(write(true));
  EXPECT_EQ(stored_times(reader), text);
  const StoredModel stored = read_stored_model(reader);
  ASSERT_FALSE(lacks_times(stored.deck.config));
  const auto& seconds = stored.deck.config.elastic.loss.costs.at(0);
  for (const char* budget : {"0.8", "middle"}) {
    const double wanted = std::string(budget) == "0.8" ? 0.8 : 0.7;
    for (const auto& spec :
         {find_submodel(reader, stored, budget), homogeneous_submodel(reader, stored, budget)})
      EXPECT_NEAR(relative_cost(stored.shape, spec, seconds), wanted, 0.05 * wanted + 1e-9);
  }
}

TEST_F(StoredTimes, WithoutTimesThereIsOneError) {
  const CheckpointReader reader(write(false));
  const StoredModel stored = read_stored_model(reader);
  EXPECT_EQ(stored_times(reader), "");
  contains(message_of<InputError>([&] { find_submodel(reader, stored, "0.8"); }),
           "nothing was measured");
}

TEST_F(StoredTimes, FilesThatADeckNames) {
  const auto read = [&](const std::filesystem::path& from) {
    return read_given_times(
        small_deck({"elastic/budget_kind=seconds", "elastic/seconds_from=" + from.string()})
            .config);
  };
  write_file_durably(folder / "times.json", text);
  EXPECT_EQ(read(folder / "times.json"), text);
  EXPECT_EQ(read_given_times(small_deck().config), "");
  contains(message_of<InputError>([&] { read(folder); }), "expected a file that the phase measure");
  write_file_durably(folder / "bad.json", "{\"version\": 1}");
  contains(message_of<InputError>([&] { read(folder / "bad.json"); }),
           "bad.json: not measured times: lacks 'pass'");
  EXPECT_TRUE(inference_of(small_deck({"elastic/seconds_pass=decode"}).config).decode);
}

}  // namespace
}  // namespace elastic::test
