// SPDX-License-Identifier: Apache-2.0
// The flat store of trainable tensors: offsets, names, views into the flat buffers, misuse.
#include "base/parameter.hpp"

#include <gtest/gtest.h>

#include "unit_tests/support/views.hpp"

namespace elastic::test {
namespace {

ParameterStore<double> declared() {
  ParameterStore<double> store;
  store.add({.name = "matrix", .rows = 2, .columns = 3, .row_dim = Dim::ffn});
  store.add({.name = "vector", .columns = 4, .weight_decay = false, .vector = true});
  return store;
}

TEST(ParameterStore, TensorsAreConsecutiveViewsOfTheFlatBuffers) {
  auto store = declared();
  store.allocate(true);
  EXPECT_EQ(store.size(), 2);
  EXPECT_EQ(store.num_elements(), 10);
  EXPECT_EQ(store[1].offset, 6);
  EXPECT_EQ(store[0].info.row_dim, Dim::ffn);
  assign(store.values(), std::vector<double>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  assign(store.gradients(), std::vector<double>{0, -1, -2, -3, -4, -5, -6, -7, -8, -9});
  EXPECT_TRUE(
      bitwise_equal(store[0].value, to_device(std::vector<double>{0, 1, 2, 3, 4, 5}, 2, 3)));
  EXPECT_TRUE(bitwise_equal(store[1].value_vector(), std::vector<double>{6, 7, 8, 9}));
  EXPECT_TRUE(bitwise_equal(store[1].gradient_vector(), std::vector<double>{-6, -7, -8, -9}));
  EXPECT_EQ(store[0].value_vector().extent(0), 6u);
  Kokkos::deep_copy(store[0].value, 7.0);
  EXPECT_TRUE(bitwise_equal(store.values(), std::vector<double>{7, 7, 7, 7, 7, 7, 6, 7, 8, 9}));
}

TEST(ParameterStore, StartsAtZero) {
  auto store = declared();
  store.allocate(true);
  EXPECT_TRUE(bitwise_equal(store.values(), std::vector<double>(10, 0.0)));
  EXPECT_TRUE(bitwise_equal(store.gradients(), std::vector<double>(10, 0.0)));
}

TEST(ParameterStore, FrozenModelsHaveNoGradients) {
  auto store = declared();
  store.allocate(false);
  EXPECT_EQ(store.gradients().extent(0), 0u);
  EXPECT_EQ(store[0].gradient.size(), 0u);
  EXPECT_EQ(store[1].gradient_vector().extent(0), 0u);
}

TEST(ParameterStore, FindsByNameAndIterates) {
  auto store = declared();
  store.allocate(false);
  ASSERT_NE(store.find("vector"), nullptr);
  EXPECT_EQ(store.find("vector")->info.columns, 4);
  EXPECT_EQ(store.find("nothing"), nullptr);
  index_t elements = 0;
  for (const auto& p : store) elements += p.info.rows * p.info.columns;
  EXPECT_EQ(elements, store.num_elements());
}

/// An exact vector between two tensors that are not, and one more.
template <class T>
ParameterStore<T> store_with_exact(bool with_gradients = true) {
  ParameterStore<T> store;
  store.add({.name = "matrix", .rows = 2, .columns = 3});
  store.add({.name = "A_log", .columns = 4, .vector = true, .exact = true});
  store.add({.name = "norm", .columns = 2, .vector = true});
  store.add({.name = "D", .columns = 1, .vector = true, .exact = true});
  store.allocate(with_gradients);
  return store;
}

TEST(ExactTensors, AreTheValuesThemselvesWhereTHoldsAllDigits) {
  const auto store = store_with_exact<float>();
  EXPECT_FALSE(has_exact_values<float> || has_exact_values<double>);
  EXPECT_EQ(store.exact_values().extent(0), 0u);
  EXPECT_EQ(store[1].exact.data(), store.values().data() + 6);
  EXPECT_EQ(store[1].exact_vector().data(), store[1].value_vector().data());
  EXPECT_EQ(store[3].exact_vector().extent(0), 1u);
  EXPECT_EQ(store[0].exact.size(), 0u);
  EXPECT_THROW(store[0].exact_vector(), ContractError);
}

TEST(ExactTensors, LieInABufferOfTheirOwnWhereTIsNarrower) {
  const auto store = store_with_exact<bfloat16>();
  EXPECT_EQ(store.num_elements(), 13);
  EXPECT_EQ(store.values().extent(0), 13u);
  EXPECT_EQ(store.gradients().extent(0), 13u);
  EXPECT_EQ(store[2].value.data(), store.values().data() + 10);  // offsets are those of gradients
  EXPECT_EQ(store[2].gradient.data(), store.gradients().data() + 10);
  ASSERT_EQ(store.exact_values().extent(0), 5u);
  EXPECT_EQ(store[1].exact.data(), store.exact_values().data());
  EXPECT_EQ(store[3].exact_vector().data(), store.exact_values().data() + 4);
  EXPECT_EQ(store[1].value.size(), 0u);
  EXPECT_THROW(store[1].value_vector(), ContractError);
  EXPECT_THROW(store[2].exact_vector(), ContractError);
  EXPECT_TRUE(bitwise_equal(store.exact_values(), std::vector<float>(5, 0.0f)));
  for (const bfloat16 x : to_host(store.values())) EXPECT_EQ(x.bits(), 0);
}

TEST(ExactTensors, AreVisitedAndCopiedWithTheOthers) {
  const auto from = store_with_exact<bfloat16>(), to = store_with_exact<bfloat16>(false);
  std::string seen;
  for (const auto& p : from)
    with_values(p, [&](const auto& values) {
      using Value = typename std::decay_t<decltype(values)>::value_type;
      seen += fmt::format("{}:{}x{} ", sizeof(Value), values.extent(0), values.extent(1));
      Kokkos::deep_copy(values, static_cast<Value>(1 + 0x1p-20));
    });
  EXPECT_EQ(seen, "2:2x3 4:1x4 2:1x2 4:1x1 ");
  copy_values(from, to);
  EXPECT_TRUE(bitwise_equal(to.exact_values(), std::vector<float>(5, 1 + 0x1p-20f)));
  EXPECT_EQ(static_cast<float>(to_host(to[2].value_vector())[1]), 1.0f);
}

TEST(ExactTensors, KeepTheDigitsThatValuesRoundAway) {
  const auto store = store_with_exact<bfloat16>();
  const std::vector<float> numbers{1 + 0x1p-20f, 1 + 0x1p-8f, 1 + 0x3p-8f, -1 - 0x1p-7f, 3e-39f, 7};
  set_values(store[0], numbers.data());
  set_values(store[1], numbers.data());
  EXPECT_EQ(values_to_host(store[1]), std::vector<float>(numbers.begin(), numbers.begin() + 4));
  const float subnormal = static_cast<float>(static_cast<bfloat16>(3e-39f));
  EXPECT_EQ(values_to_host(store[0]),
            (std::vector<float>{1, 1, 1 + 0x1p-6f, -1 - 0x1p-7f, subnormal, 7}));  // ties to even
  const auto wide = store_with_exact<double>();
  const std::vector<double> digits{0.1, 0.2, 0.3, 0.4, 0.5, 0.6};
  set_values(wide[0], digits.data());
  EXPECT_EQ(values_to_host(wide[0]), digits);
}

TEST(ParameterStore, MisuseIsAContractError) {
  auto store = declared();
  EXPECT_THROW(store.add({.name = "vector", .columns = 1}), ContractError);
  EXPECT_THROW(store.add({.name = "negative", .columns = -1}), ContractError);
  store.allocate(true);
  EXPECT_THROW(store.add({.name = "late", .columns = 1}), ContractError);
}

TEST(ParameterStore, AnEmptyStoreIsValid) {
  ParameterStore<float> store;
  store.allocate(true);
  EXPECT_EQ(store.num_elements(), 0);
  EXPECT_EQ(store.begin(), store.end());
}

}  // namespace
}  // namespace elastic::test
