// SPDX-License-Identifier: Apache-2.0
#include "kernels/update/adamw_step.hpp"

#include "base/error.hpp"
#include "unit_tests/support/fixture.hpp"
#include "unit_tests/kernels/contract.hpp"

namespace elastic::kernels {
namespace {

using namespace elastic::test;

template <class T>
class AdamWStep : public testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(AdamWStep, Scalars);

TYPED_TEST(AdamWStep, EqualsPyTorchOverFourSteps) {
  using T = TypeParam;
  const Fixture f("dense_kernels.h5");
  AdamWParams params{f.scalar("adamw/learning_rate"), f.scalar("adamw/beta1"),
                     f.scalar("adamw/beta2"), f.scalar("adamw/epsilon"),
                     f.scalar("adamw/weight_decay")};
  const auto weight = f.vector<T>("adamw/weight");
  const View1<T> m("elastic::test::m", weight.extent(0)), v("elastic::test::v", weight.extent(0));
  for (params.step = 1; params.step <= 4; ++params.step) {
    const std::string name = "adamw/step" + std::to_string(params.step) + "/";
    adamw_step<T>(ExecutionSpace(), f.vector<T>(name + "gradient"), params, weight, m, v);
    EXPECT_TRUE(near(weight, f.vector<double>(name + "weight"), tolerance<T>(1)));
    EXPECT_TRUE(near(m, f.vector<double>(name + "m"), tolerance<T>(1)));
    EXPECT_TRUE(near(v, f.vector<double>(name + "v"), tolerance<T>(1)));
  }
}

TYPED_TEST(AdamWStep, GradScaleMultipliesTheGradient) {
  using T = TypeParam;
  const index_t n = 100;
  const auto gradient = random_vector<T>(n, 1);
  auto halved = to_host(gradient);
  for (T& g : halved) g *= T(0.5);
  AdamWParams params;
  params.weight_decay = 0.1;
  const auto a = random_vector<T>(n, 2), b = random_vector<T>(n, 2);
  const View1<T> m("elastic::test::m", n), v("elastic::test::v", n), m2("elastic::test::m", n),
      v2("elastic::test::v", n);
  adamw_step<T>(ExecutionSpace(), to_device(halved), params, a, m, v);
  params.grad_scale = 0.5;
  adamw_step<T>(ExecutionSpace(), gradient, params, b, m2, v2);
  EXPECT_TRUE(bitwise_equal(a, b));
  EXPECT_TRUE(bitwise_equal(v, v2));
}

// Where a shard of the buffer begins and ends must not change the bits of an element.
TYPED_TEST(AdamWStep, ShardsGiveTheSameBits) {
  using T = TypeParam;
  const index_t n = 3000;
  const auto gradient = random_vector<T>(n, 1);
  const auto whole = random_vector<T>(n, 2), sharded = random_vector<T>(n, 2);
  const auto m = random_vector<T>(n, 3), m_sharded = random_vector<T>(n, 3);
  const auto v = random_vector<T>(n, 4, 0, 1), v_sharded = random_vector<T>(n, 4, 0, 1);
  AdamWParams params;
  params.weight_decay = 0.1;
  params.step = 3;
  adamw_step<T>(ExecutionSpace(), gradient, params, whole, m, v);
  const std::vector<index_t> cuts = {0, 7, 1031, 1500, n};
  for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
    const auto shard = [&](const View1<T>& view) {
      return View1<T>(Kokkos::subview(view, Range(cuts[i], cuts[i + 1])));
    };
    adamw_step<T>(ExecutionSpace(), shard(gradient), params, shard(sharded), shard(m_sharded),
                  shard(v_sharded));
  }
  EXPECT_TRUE(bitwise_equal(whole, sharded));
  EXPECT_TRUE(bitwise_equal(m, m_sharded));
  EXPECT_TRUE(bitwise_equal(v, v_sharded));
}

TYPED_TEST(AdamWStep, StepsCountFromOne) {
  using T = TypeParam;
  AdamWParams params;
  params.step = 0;
  const auto x = random_vector<T>(3, 1);
  EXPECT_THROW(adamw_step<T>(ExecutionSpace(), x, params, x, x, x), ContractError);
}

/// Without a gradient only the decay acts, and moments fade.
TYPED_TEST(AdamWStep, ZeroGradientsDecayWeightsAndMoments) {
  using T = TypeParam;
  AdamWParams params{.learning_rate = 0.5, .beta1 = 0.5, .beta2 = 0.25, .weight_decay = 0.5};
  const auto weight = to_device(std::vector<T>{4, -8}), m = to_device(std::vector<T>{0, 0}),
             v = to_device(std::vector<T>{0, 16});
  adamw_step<T>(ExecutionSpace(), View1<T>("elastic::test::gradient", 2), params, weight, m, v);
  EXPECT_TRUE(near(weight, std::vector<double>{3, -6}, tolerance<T>(1)));
  EXPECT_TRUE(near(v, std::vector<double>{0, 4}, tolerance<T>(1)));
}

TYPED_TEST(AdamWStep, TheFirstStepIsTheLearningRateInTheDirectionOfTheSign) {
  using T = TypeParam;
  AdamWParams params{.learning_rate = 0.01, .epsilon = 0};
  const auto weight = View1<T>("elastic::test::weight", 4), m = View1<T>("elastic::test::m", 4),
             v = View1<T>("elastic::test::v", 4);
  adamw_step<T>(ExecutionSpace(), to_device(std::vector<T>{3, -2, 1e-3, -50}), params, weight, m,
                v);
  EXPECT_TRUE(near(weight, std::vector<double>{-0.01, 0.01, -0.01, 0.01}, tolerance<T>(1)));
}

TYPED_TEST(AdamWStep, WrongExtentsAreNamed) {
  using T = TypeParam;
  const auto x = random_vector<T>(3, 1), bad = random_vector<T>(4, 1);
  const ExecutionSpace exec;
  EXPECT_TRUE(
      refuses([&] { adamw_step<T>(exec, bad, {}, x, x, x); }, "gradient is [4], expected [3]"));
  EXPECT_TRUE(refuses([&] { adamw_step<T>(exec, x, {}, x, bad, x); }, "m is [4], expected [3]"));
  EXPECT_TRUE(refuses([&] { adamw_step<T>(exec, x, {}, x, x, bad); }, "v is [4], expected [3]"));
}

/// Masters, moments and values of n weights; values are the rounded masters.
struct Rounded {
  View1<float> master, m, v;
  View1<bfloat16> value;
  explicit Rounded(index_t n)
      : master(random_vector<float>(n, 2)),
        m(random_vector<float>(n, 3)),
        v(random_vector<float>(n, 4, 0, 1)),
        value(random_vector<bfloat16>(n, 2)) {}
  void step(const View1<float>& gradient, const AdamWParams& params) const {
    adamw_step_rounded<bfloat16>(ExecutionSpace(), gradient, params, master, m, v, value);
  }
};

TEST(AdamWStepRounded, MastersHaveTheBitsOfFp32AndValuesAreTheirRounding) {
  const index_t n = 3000;
  const auto gradient = random_vector<float>(n, 1);
  const Rounded rounded(n), fp32(n);
  AdamWParams params{.learning_rate = 0.01, .weight_decay = 0.1};
  for (params.step = 1; params.step <= 3; ++params.step) {
    rounded.step(gradient, params);
    adamw_step<float>(ExecutionSpace(), gradient, params, fp32.master, fp32.m, fp32.v);
    EXPECT_TRUE(bitwise_equal(rounded.master, fp32.master));
    EXPECT_TRUE(bitwise_equal(rounded.m, fp32.m));
    EXPECT_TRUE(bitwise_equal(rounded.v, fp32.v));
    EXPECT_TRUE(bitwise_equal(rounded.value, stored_as<bfloat16>(fp32.master)));
  }
}

TEST(AdamWStepRounded, ShardsGiveTheSameBits) {
  const index_t n = 3000;
  const auto gradient = random_vector<float>(n, 1);
  const Rounded whole(n), sharded(n);
  const AdamWParams params{.weight_decay = 0.1, .step = 3};
  whole.step(gradient, params);
  const std::vector<index_t> cuts = {0, 7, 1031, 1500, n};
  for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
    const auto shard = [&](const auto& view) {
      return Kokkos::subview(view, Range(cuts[i], cuts[i + 1]));
    };
    adamw_step_rounded<bfloat16>(ExecutionSpace(), shard(gradient), params, shard(sharded.master),
                                 shard(sharded.m), shard(sharded.v), shard(sharded.value));
  }
  EXPECT_TRUE(bitwise_equal(whole.master, sharded.master));
  EXPECT_TRUE(bitwise_equal(whole.value, sharded.value));
}

TEST(AdamWStepRounded, WrongExtentsAreNamed) {
  const auto x = random_vector<float>(3, 1), bad = random_vector<float>(4, 1);
  const auto value = random_vector<bfloat16>(3, 1), bad_value = random_vector<bfloat16>(4, 1);
  const auto call = [&](const auto& gradient, const auto& out) {
    return [=] { adamw_step_rounded<bfloat16>(ExecutionSpace(), gradient, {}, x, x, x, out); };
  };
  EXPECT_TRUE(refuses(call(bad, value), "gradient is [4], expected [3]"));
  EXPECT_TRUE(refuses(call(x, bad_value), "value is [4], expected [3]"));
}

}  // namespace
}  // namespace elastic::kernels
