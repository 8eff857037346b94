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
