// SPDX-License-Identifier: Apache-2.0
// Times of passes: they run for every inference and part, more work takes longer, and noise is
// left out.
#include "model/inference_time.hpp"

#include "base/stop_request.hpp"
#include "unit_tests/model/model_problem.hpp"

namespace elastic::test {
namespace {

template <class T>
void time_all_parts() {
  const ModelShape shape = small_parent();
  LanguageModel<T> model(shape, /*frozen=*/true);
  randomize(model.parameters(), 3, 0.3);
  Arena arena;
  SubmodelSpec spec = full_spec(shape);
  spec.layers[0].keep = false;
  spec.hidden_size = 9;
  for (const bool decode : {false, true})
    for (const index_t batch : {1, 3}) {
      const Inference inference{decode, batch, 20};
      EXPECT_EQ(inference.tokens(), static_cast<double>(decode ? batch : 20 * batch));
      const auto time = [&](const PassParts& parts) {
        return time_pass(model, arena, inference, spec, parts);
      };
      EXPECT_GT(time(whole_submodel(spec)), 0);
      EXPECT_GT(time({.ends = true, .layers = {}}), 0);
      for (index_t l = 0; l < shape.num_layers(); ++l) EXPECT_GT(time({false, {l, l}}), 0);
    }
}

TEST(InferenceTime, EveryPartOfEveryInference) {
  time_all_parts<float>();
  time_all_parts<bfloat16>();
  SubmodelSpec spec = full_spec(small_parent());
  spec.layers[1].keep = false;
  EXPECT_EQ(whole_submodel(spec).layers, (std::vector<index_t>{0, 2, 3, 4}));
}

TEST(InferenceTime, MoreWorkTakesLonger) {
  const ModelShape shape = make_shape("-", 32, {}, {}, {LayerKind::mlp, 256});
  LanguageModel<float> model(shape, /*frozen=*/true);
  randomize(model.parameters(), 3, 0.3);
  Arena arena;
  const auto time = [&](index_t seq_length) {
    return time_pass(model, arena, {.batch = 1, .seq_length = seq_length}, full_spec(shape),
                     {.ends = false, .layers = {0}});
  };
  EXPECT_GT(time(2000), time(20));
}

TEST(InferenceTime, RoundsLeaveOutWhatOthersAdd) {
  const Communicator self = Communicator::self();
  int calls = 0;
  const auto times =
      repeated_times(self, 2, {.least = 4, .most = 8, .seconds = 1000}, [&](std::size_t i) {
        const bool disturbed = calls++ % 4 < 2;
        return static_cast<double>(i + 1) + (disturbed ? 100 : 0);
      });
  EXPECT_EQ(calls, 16);
  EXPECT_EQ(times, (std::vector<double>{1, 2}));
  calls = 0;
  repeated_times(self, 3, {.least = 2, .most = 9, .seconds = 0},
                 [&](std::size_t) { return ++calls; });
  EXPECT_EQ(calls, 6) << "no time for more than the least number of rounds";
  stop_request::ask_to_stop();
  EXPECT_THROW(repeated_times(self, 1, {}, [](std::size_t) { return 1.0; }), Stopped);
  stop_request::forget();
}

}  // namespace
}  // namespace elastic::test
