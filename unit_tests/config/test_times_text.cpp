// SPDX-License-Identifier: Apache-2.0
// Measured times come back from their text as they were; damaged ones are refused.
#include "config/times_text.hpp"

#include <gmock/gmock.h>

#include "base/error.hpp"
#include "unit_tests/elastic/shapes_for_tests.hpp"

namespace elastic::test {
namespace {
using testing::HasSubstr;

MeasuredTimes some_times() {
  const ModelShape shape = small_shape();
  MeasuredTimes times;
  times.pass = "decode";
  times.batch = 3;
  times.seq_length = 77;
  times.model = shape;
  times.model.layers.clear();
  times.least_hidden = 5;
  times.machine = "one core";
  times.ends.factors = {1e-7, 2.5e-9};
  for (const std::size_t l : {0, 1, 2})
    times.layers.push_back({shape.layers[l], {{1e-7, 1.0 / 3e9, 0, 1e-11, 0, 0}, 0.02}, 2, 1});
  return times;
}

TEST(MeasuredTimes, TextAndBack) {
  const MeasuredTimes times = some_times();
  const MeasuredTimes read = times_from_json(to_json(times));
  EXPECT_EQ(to_json(read), to_json(times));
  EXPECT_EQ(read.pass, "decode");
  EXPECT_EQ(read.batch, 3);
  EXPECT_EQ(read.seq_length, 77);
  EXPECT_EQ(read.model.vocab_size, 50);
  for (const auto& layer : times.layers) EXPECT_EQ(read.of(layer.layer).factors, layer.law.factors);
  LayerShape other = times.layers[0].layer;
  other.width *= 2;
  EXPECT_THROW(read.of(other), InputError);
}

TEST(MeasuredTimes, DamagedTextsAreRefused) {
  const std::string text = to_json(some_times());
  const auto error = [&](const std::string& from, const std::string& to) {
    std::string other = text;
    const auto place = other.find(from);
    EXPECT_NE(place, std::string::npos) << from;
    other.replace(place, from.size(), to);
    try {
      times_from_json(other);
    } catch (const InputError& e) {
      return std::string(e.what());
    }
    return std::string("read");
  };
  EXPECT_THAT(error("\"decode\"", "\"both\""), HasSubstr("expected prefill or decode"));
  EXPECT_THAT(error("1e-07", "-1e-07"), HasSubstr("expected finite numbers >= 0"));
  EXPECT_THAT(error("\"kind\": \"M\"", "\"kind\": \"Z\""), HasSubstr("'kind' is Z"));
  EXPECT_THAT(error("\"batch\": 3", "\"batch\": 0"), HasSubstr("'batch' is 0"));
  EXPECT_THAT(error("\"ends\"", "\"end\""), HasSubstr("lacks the object 'ends'"));
  EXPECT_THAT(error("\"version\": 1", "\"version\": 2"), HasSubstr("'version' is 2"));
  EXPECT_THAT(error("{", ""), HasSubstr("not measured times"));
}

}  // namespace
}  // namespace elastic::test
