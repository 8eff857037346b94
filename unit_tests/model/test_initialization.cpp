// SPDX-License-Identifier: Apache-2.0
// Initial weights: their distributions, and that they depend on seed, name and element only.
#include "model/initialization.hpp"

#include <cmath>

#include "unit_tests/elastic/shapes_for_tests.hpp"
#include "unit_tests/layers/parameters_for_tests.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::test {
namespace {

constexpr double initial_std = 0.02;

ModelShape wide_shape(const std::string& pattern) {
  auto shape = make_shape(pattern, 64, {LayerKind::mamba, 64, 4, 2},
                          {LayerKind::attention, 8, 8, 2}, {LayerKind::mlp, 200});
  shape.vocab_size = 300;
  return shape;
}

template <class T>
std::vector<double> values(const LanguageModel<T>& model, const std::string& name) {
  return values_of(*model.parameters().find(name));
}

/// Mean and standard deviation.
std::pair<double, double> moments(const std::vector<double>& x) {
  double sum = 0, squares = 0;
  for (const double v : x) sum += v, squares += v * v;
  const double n = static_cast<double>(x.size()), mean = sum / n;
  return {mean, std::sqrt(squares / n - mean * mean)};
}

void expect_range(const std::vector<double>& x, double low, double high) {
  const auto [least, most] = std::minmax_element(x.begin(), x.end());
  const double margin = 0.15 * (high - low);
  EXPECT_GE(*least, low);
  EXPECT_LT(*least, low + margin);
  EXPECT_LE(*most, high);
  EXPECT_GT(*most, high - margin);
}

TEST(Initialization, Distributions) {
  LanguageModel<double> model(wide_shape("M*-"), true);
  initialize(model, initial_std, 1);
  const double residual = initial_std / std::sqrt(6.0);
  for (const auto& [name, std] :
       std::vector<std::pair<std::string, double>>{{"word_embeddings", initial_std},
                                                   {"output_layer", initial_std},
                                                   {"layers.0.mixer.in_proj.z", initial_std},
                                                   {"layers.0.mixer.out_proj", residual},
                                                   {"layers.1.mixer.q_proj", initial_std},
                                                   {"layers.1.mixer.o_proj", residual},
                                                   {"layers.2.mixer.up_proj", initial_std},
                                                   {"layers.2.mixer.down_proj", residual}}) {
    const auto [mean, deviation] = moments(values(model, name));
    EXPECT_NEAR(mean, 0, 0.06 * std) << name;
    EXPECT_NEAR(deviation, std, 0.06 * std) << name;
  }
  for (const auto* name : {"layers.0.norm.weight", "layers.0.mixer.norm.weight",
                           "final_norm.weight", "layers.0.mixer.D"})
    for (const double v : values(model, name)) ASSERT_EQ(v, 1) << name;
  auto a = values(model, "layers.0.mixer.A_log"), dt = values(model, "layers.0.mixer.dt_bias");
  for (double& v : a) v = std::exp(v);
  for (double& v : dt) v = std::log(std::log1p(std::exp(v)));
  expect_range(a, 1, 16);
  expect_range(dt, std::log(1e-3), std::log(0.1));
  expect_range(values(model, "layers.0.mixer.conv1d.x.weight"), -0.5, 0.5);
  expect_range(values(model, "layers.0.mixer.conv1d.x.bias"), -0.5, 0.5);
}

TEST(Initialization, DependsOnSeedNameAndElementOnly) {
  LanguageModel<double> small(wide_shape("M*-"), true), large(wide_shape("M*-M-"), false);
  LanguageModel<float> single(wide_shape("M*-"), true);
  initialize(small, initial_std, 7);
  initialize(large, initial_std, 7);
  initialize(single, initial_std, 7);
  for (const auto& p : small.parameters()) {
    const auto& name = p.info.name;
    auto expected = values(small, name);
    const bool residual =
        name.ends_with("out_proj") || name.ends_with("o_proj") || name.ends_with("down_proj");
    for (double& v : expected) v *= residual ? std::sqrt(3.0 / 5.0) : 1;
    EXPECT_TRUE(near(values(large, name), expected, residual ? 1e-15 : 0)) << name;
    EXPECT_TRUE(near(values(single, name), to_double(p.value), 1e-6)) << name;
  }
}

/// Values are those of float, rounded; what is exact is not, nor are the masters.
TEST(Initialization, OfBfloat16IsThatOfFloatRoundedOnce) {
  const auto shape = wide_shape("M*-");
  LanguageModel<float> single(shape, true);
  LanguageModel<bfloat16> narrow(shape, true);
  initialize(single, initial_std, 7);
  initialize(narrow, initial_std, 7);
  for (const auto& p : narrow.parameters()) {
    const auto& name = p.info.name;
    const auto expected = to_host(single.parameters().find(name)->value_vector());
    const Range all{0, p.size()};
    EXPECT_EQ(unrounded_initial_values(narrow, p, all, initial_std, 7), expected) << name;
    EXPECT_EQ(
        unrounded_initial_values(single, *single.parameters().find(name), all, initial_std, 7),
        expected)
        << name;
    const index_t begin = p.size() / 3, end = p.size() - p.size() / 4;
    EXPECT_EQ(unrounded_initial_values(narrow, p, {begin, end}, initial_std, 7),
              std::vector<float>(expected.begin() + begin, expected.begin() + end))
        << name;
    if (p.info.exact)
      EXPECT_TRUE(bitwise_equal(p.exact_vector(), expected)) << name;
    else
      EXPECT_TRUE(bitwise_equal(p.value_vector(), stored_as<bfloat16>(to_device(expected))))
          << name;
  }
  EXPECT_EQ(narrow.parameters().exact_values().size(), 3u * 64) << "A_log, D, dt_bias";
}

TEST(Initialization, SeedsAndTensorsDiffer) {
  LanguageModel<double> one(wide_shape("M-"), true), two(wide_shape("M-"), true);
  initialize(one, initial_std, 1);
  initialize(two, initial_std, 2);
  EXPECT_NE(values(one, "word_embeddings"), values(two, "word_embeddings"));
  EXPECT_NE(values(one, "word_embeddings"), values(one, "output_layer"));
  EXPECT_NE(values(one, "layers.0.mixer.in_proj.z"), values(one, "layers.0.mixer.in_proj.x"));
}

}  // namespace
}  // namespace elastic::test
