// SPDX-License-Identifier: Apache-2.0
// AdamW over a store: PyTorch's numbers, a plain double loop, decay flags, moments by name, and
// the masters of values that are stored in 16 bits.
#include "optim/adamw.hpp"

#include <cmath>

#include "optim/grad_clip.hpp"
#include "unit_tests/optim/optim_support.hpp"
#include "unit_tests/support/fixture.hpp"

namespace elastic::test {
namespace {

/// The tensors of optim.h5, in its order: decay changes between neighbours except norm and bias.
template <class T>
ParameterStore<T> example_store(bool with_gradients = true) {
  ParameterStore<T> store;
  store.add({.name = "matrix", .rows = 3, .columns = 5});
  store.add({.name = "norm", .columns = 7, .weight_decay = false, .vector = true});
  store.add({.name = "bias", .columns = 2, .weight_decay = false, .vector = true});
  store.add({.name = "head", .rows = 4, .columns = 2});
  store.allocate(with_gradients);
  return store;
}

/// Row `i` of a matrix as a vector.
template <class T>
View1<T> row(const View2<T>& a, index_t i) {
  return View1<T>(a.data() + i * leading_dimension(a), a.extent(1));
}

template <class T>
struct AdamWTest : testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(AdamWTest, Scalars);

TYPED_TEST(AdamWTest, GivesTheNumbersOfPyTorch) {
  using T = TypeParam;
  const Fixture fixture("optim.h5");
  const auto rates = to_host(fixture.vector<double>("learning_rates"));
  const auto gradients = fixture.matrix<T>("gradients"), values = fixture.matrix<T>("values");
  const auto norms = to_host(fixture.vector<double>("norms"));
  const ExecutionSpace exec;

  const auto store = example_store<T>();
  Kokkos::deep_copy(store.values(), fixture.vector<T>("initial"));
  AdamW<T> optimizer(store);
  for (std::size_t i = 0; i < rates.size(); ++i) {
    Kokkos::deep_copy(store.gradients(), row(gradients, i));
    const auto clip = clip_gradients<T>(exec, {store.gradients()}, 1.0);
    EXPECT_NEAR(clip.norm, norms[i], tolerance<T>(32) * norms[i]);
    optimizer.step(exec, {.weight_decay = 0.1}, rates[i], i + 1, clip.scale);
    EXPECT_TRUE(near(store.values(), row(values, i), tolerance<T>(1)));
  }
  EXPECT_TRUE(near(optimizer.first_moments(), fixture.vector<T>("exp_avg"), tolerance<T>(1)));
  EXPECT_TRUE(near(optimizer.second_moments(), fixture.vector<T>("exp_avg_sq"), tolerance<T>(1)));
}

TYPED_TEST(AdamWTest, EqualsAPlainLoop) {
  using T = TypeParam;
  const auto store = example_store<T>();
  const index_t n = store.num_elements();
  Kokkos::deep_copy(store.values(), random_vector<T>(n, 1));
  AdamW<T> optimizer(store);
  const AdamWConfig config{.beta1 = 0.8, .beta2 = 0.95, .epsilon = 1e-3, .weight_decay = 0.3};
  const double lr = 0.05, grad_scale = 0.25;

  auto w = to_double(store.values());
  std::vector<double> m(n, 0), v(n, 0);
  for (index_t t = 1; t <= 4; ++t) {
    const auto g = random_values<T>(n, 10 + t);
    assign(store.gradients(), g);
    optimizer.step(ExecutionSpace(), config, lr, t, grad_scale);
    for (index_t i = 0; i < n; ++i) {
      const double decay = i < 15 || i >= 24 ? config.weight_decay : 0, gi = grad_scale * g[i];
      m[i] = config.beta1 * m[i] + (1 - config.beta1) * gi;
      v[i] = config.beta2 * v[i] + (1 - config.beta2) * gi * gi;
      const double m_hat = m[i] / (1 - std::pow(config.beta1, t)),
                   v_hat = v[i] / (1 - std::pow(config.beta2, t));
      w[i] -= lr * (m_hat / (std::sqrt(v_hat) + config.epsilon) + decay * w[i]);
    }
    EXPECT_TRUE(bitwise_equal(store.gradients(), to_device(g)));
  }
  EXPECT_TRUE(near(store.values(), w, tolerance<T>(1)));
}

TEST(AdamW, DecaysOnlyTensorsThatWantIt) {
  const auto store = example_store<double>();
  Kokkos::deep_copy(store.values(), 1.0);
  AdamW<double> optimizer(store);
  // Gradients are zero: only the decay acts.
  optimizer.step(ExecutionSpace(), {.weight_decay = 0.5}, 0.1, 1);
  for (const auto& p : store)
    for (const double w : to_host(p.value_vector()))
      EXPECT_DOUBLE_EQ(w, p.info.weight_decay ? 0.95 : 1.0);
}

TEST(AdamW, JoinsNeighboursOfEqualDecay) {
  EXPECT_EQ(AdamW<float>(example_store<float>()).num_segments(), 3);
}

TEST(AdamW, GivesMomentsByName) {
  const auto store = example_store<double>();
  AdamW<double> optimizer(store);
  Kokkos::deep_copy(store.find("head")->gradient, 2.0);
  optimizer.step(ExecutionSpace(), {}, 0.1, 1);
  const auto first = optimizer.first_moment("head"), second = optimizer.second_moment("head");
  EXPECT_EQ(first.extent(0), 4u);
  EXPECT_EQ(first.extent(1), 2u);
  EXPECT_TRUE(near(first, std::vector<double>(8, 0.2), 1e-14));
  EXPECT_TRUE(near(second, std::vector<double>(8, 0.08), 1e-14));
  EXPECT_TRUE(near(optimizer.first_moment("bias"), std::vector<double>(2, 0.0), 0));
  EXPECT_THROW(optimizer.first_moment("tail"), ContractError);
}

TEST(AdamW, ContinuesFromRestoredMoments) {
  const auto gradient = random_vector<float>(32, 4);
  const auto store = example_store<float>(), copy = example_store<float>();
  AdamW<float> optimizer(store), resumed(copy);
  Kokkos::deep_copy(store.gradients(), gradient);
  Kokkos::deep_copy(copy.gradients(), gradient);
  optimizer.step(ExecutionSpace(), {}, 0.1, 1);
  Kokkos::deep_copy(copy.values(), store.values());
  for (const auto& p : store) {
    Kokkos::deep_copy(resumed.first_moment(p.info.name), optimizer.first_moment(p.info.name));
    Kokkos::deep_copy(resumed.second_moment(p.info.name), optimizer.second_moment(p.info.name));
  }
  optimizer.step(ExecutionSpace(), {}, 0.1, 2);
  resumed.step(ExecutionSpace(), {}, 0.1, 2);
  EXPECT_TRUE(bitwise_equal(store.values(), copy.values()));
}

/// A step with random gradients.
template <class T>
void random_step(const ParameterStore<T>& store, AdamW<T>& optimizer, index_t step) {
  assign(store.gradients(), random_values<Accumulate<T>>(store.num_elements(), 50 + step));
  optimizer.step(ExecutionSpace(), {.weight_decay = 0.1}, 1e-3, step);
}
template <class T>
std::vector<Accumulate<T>> master_of(const AdamW<T>& optimizer, const std::string& name) {
  return optimizer.gather_masters(Communicator::self(), name);
}

TEST(Masters, AddUpUpdatesThatAValueWouldRoundAway) {
  // Between 1/2 and 1 neighbours are 2^-8 apart; a step is 2e-5, a hundredth of half of that.
  const auto store = example_store<bfloat16>();
  Kokkos::deep_copy(store.values(), bfloat16(1.0f));
  Kokkos::deep_copy(store.gradients(), 3.0f);
  AdamW<bfloat16> optimizer(store);
  for (index_t step = 1; step <= 1000; ++step) {
    optimizer.step(ExecutionSpace(), {}, 2e-5, step);
    if (step == 1) {
      EXPECT_EQ(to_double(store.values()), std::vector<double>(32, 1.0));
    }
  }
  EXPECT_TRUE(near(optimizer.masters(), std::vector<double>(32, 0.98), 1e-4));
  for (const double value : to_double(store.values())) EXPECT_EQ(value, 1 - 5 * 0x1p-8);
}

TEST(Masters, HaveTheBitsOfAnFp32RunAndValuesAreTheirRounding) {
  const auto store = mixed_store<bfloat16>();
  const auto fp32 = mixed_store<float>();
  assign_values(store, 3);
  for (const auto& p : store) set_values(*fp32.find(p.info.name), values_to_host(p).data());
  AdamW<bfloat16> optimizer(store);
  AdamW<float> expected(fp32);
  EXPECT_TRUE(bitwise_equal(optimizer.masters(), fp32.values())) << "masters start at the values";
  for (index_t step = 1; step <= 4; ++step) {
    random_step(store, optimizer, step);
    random_step(fp32, expected, step);
    EXPECT_TRUE(bitwise_equal(optimizer.masters(), fp32.values())) << "step " << step;
    for (const auto& p : store) {
      const auto& q = *fp32.find(p.info.name);
      if (p.info.exact)
        EXPECT_TRUE(bitwise_equal(p.exact, q.value)) << p.info.name;
      else
        EXPECT_TRUE(bitwise_equal(p.value, stored_as<bfloat16>(q.value))) << p.info.name;
    }
  }
  EXPECT_TRUE(bitwise_equal(optimizer.first_moments(), expected.first_moments()));
  EXPECT_TRUE(bitwise_equal(optimizer.second_moments(), expected.second_moments()));
}

TEST(Masters, OfExactTensorsAreTheirValues) {
  const auto store = mixed_store<bfloat16>();
  assign_values(store, 4);
  AdamW<bfloat16> optimizer(store);
  random_step(store, optimizer, 1);
  const auto values = values_to_host(*store.find("A_log"));
  EXPECT_EQ(values, master_of(optimizer, "A_log"));
  for (const float x : values) EXPECT_NE(x, widen(bfloat16(x))) << "has only the digits of T";
}

TEST(Masters, ContinueToTheBitFromWhatWasGathered) {
  const auto store = mixed_store<bfloat16>(), copy = mixed_store<bfloat16>(),
             rounded = mixed_store<bfloat16>();
  assign_values(store, 5);
  AdamW<bfloat16> optimizer(store), resumed(copy), restarted(rounded);
  random_step(store, optimizer, 1);
  for (const auto& p : store) {
    for (AdamW<bfloat16>* to : {&resumed, &restarted}) {
      to->set_masters(p.info.name, master_of(optimizer, p.info.name).data());
      for (const Moment which : {Moment::first, Moment::second})
        to->set_moment(which, p.info.name,
                       optimizer.gather_moment(Communicator::self(), which, p.info.name).data());
    }
  }
  EXPECT_EQ(all_values(copy), all_values(store));
  EXPECT_TRUE(bitwise_equal(resumed.masters(), optimizer.masters()));
  restarted.restart_masters();
  EXPECT_EQ(all_values(rounded), all_values(store)) << "restarting changes no value";
  EXPECT_FALSE(bitwise_equal(restarted.masters(), optimizer.masters())) << "nothing was rounded";
  random_step(store, optimizer, 2);
  random_step(copy, resumed, 2);
  EXPECT_EQ(all_values(copy), all_values(store));
  EXPECT_TRUE(bitwise_equal(resumed.masters(), optimizer.masters()));
}

TEST(Masters, RestartAtTheValuesAsTheyAre) {
  const auto store = mixed_store<bfloat16>();
  const AdamW<bfloat16> optimizer(store);
  assign_values(store, 6);
  optimizer.restart_masters();
  for (const auto& p : store)
    EXPECT_EQ(master_of(optimizer, p.info.name), values_to_host(p)) << p.info.name;
}

TEST(Masters, AreTheValuesThemselvesWhereTHoldsAllDigits) {
  const auto store = mixed_store<double>();
  assign_values(store, 7);
  const AdamW<double> optimizer(store);
  EXPECT_EQ(optimizer.masters().extent(0), 0u);
  EXPECT_EQ(master_of(optimizer, "A_log"), to_host(store.find("A_log")->value_vector()));
  const std::vector<double> numbers{0.1, 0.2, 0.3};
  optimizer.set_masters("A_log", numbers.data());
  EXPECT_EQ(to_host(store.find("A_log")->value_vector()), numbers);
}

TEST(Masters, SegmentsAreExactOrNot) {
  // embedding | norm | up | A_log | down
  EXPECT_EQ(AdamW<bfloat16>(mixed_store<bfloat16>()).num_segments(), 5);
  ParameterStore<bfloat16> store;
  store.add({.name = "norm", .columns = 2, .weight_decay = false, .vector = true});
  store.add({.name = "D", .columns = 2, .weight_decay = false, .vector = true, .exact = true});
  store.allocate(true);
  EXPECT_EQ(AdamW<bfloat16>(store).num_segments(), 2);
}

TEST(AdamW, RefusesAFrozenStoreAndStepZero) {
  EXPECT_THROW(AdamW<float>(example_store<float>(false)), ContractError);
  AdamW<float> optimizer(example_store<float>());
  EXPECT_THROW(optimizer.step(ExecutionSpace(), {}, 0.1, 0), ContractError);
}

}  // namespace
}  // namespace elastic::test
