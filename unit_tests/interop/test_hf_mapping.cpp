// SPDX-License-Identifier: Apache-2.0
#include "interop/hf_mapping.hpp"

#include "interop/rearrange.hpp"
#include "model/language_model.hpp"
#include "unit_tests/interop/interop_support.hpp"

namespace elastic::test {
namespace {

ModelShape shape_with(LayerShape layer) {
  return {.vocab_size = 5, .hidden_size = 3, .layers = {layer}};
}

TEST(HfMapping, HeadsOfAGroupBecomeNeighbours) {
  // Six heads in two groups: ours 0 2 4 are group 0, theirs 0 1 2.
  const auto shape = shape_with({LayerKind::mamba, 6, 2, 2});
  EXPECT_EQ(hf_order(shape, Dim::mamba_heads, 0), (std::vector<index_t>{0, 3, 1, 4, 2, 5}));
  EXPECT_EQ(hf_order(shape, Dim::mamba_inner, 0),
            (std::vector<index_t>{0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11}));
  const auto attention = shape_with({LayerKind::attention, 4, 2, 2});
  EXPECT_EQ(hf_order(attention, Dim::attention_inner, 0),
            (std::vector<index_t>{0, 1, 4, 5, 2, 3, 6, 7}));
  EXPECT_TRUE(hf_order(shape, Dim::hidden, -1).empty());
  EXPECT_TRUE(hf_order(shape, Dim::fixed, 0).empty());
}

TEST(HfMapping, EveryParameterIsOnePart) {
  for (const auto& name : hf_models) {
    const ModelShape shape = shape_of(hf_fixture(name));
    const LanguageModel<float> model(shape, true);
    std::size_t parts = 0;
    for (const auto& tensor : hf_tensors(shape, "backbone.", false)) {
      index_t row = 0;
      for (const auto& part : tensor.parts) {
        const auto* parameter = model.parameters().find(part.ours);
        ASSERT_NE(parameter, nullptr) << part.ours;
        EXPECT_EQ(part.rows * part.columns, static_cast<index_t>(parameter->value.size()));
        EXPECT_EQ(part.vector, parameter->info.vector);
        EXPECT_EQ(part.first_row, row);
        EXPECT_EQ(part.columns, tensor.columns());
        row += part.rows;
        ++parts;
      }
      EXPECT_EQ(row, tensor.rows());
    }
    EXPECT_EQ(parts, static_cast<std::size_t>(model.parameters().size()));
  }
}

TEST(Rearrange, RowsAndColumnsInPieces) {
  const index_t rows = 4, columns = 3;
  std::vector<float> from;
  for (int i = 0; i < rows * columns; ++i) from.push_back(static_cast<float>(i));
  const Rearrangement places{
      .rows = {1, -1, 0, 2}, .columns = {1, 0, -1}, .source_columns = 3, .target_columns = 2};
  std::vector<float> to(6, -1);
  rearrange_rows(places, 0, 3, sizeof(float), from.data(), to.data());
  rearrange_rows(places, 3, 1, sizeof(float), from.data() + 9, to.data());
  EXPECT_EQ(to, (std::vector<float>{7, 6, 1, 0, 10, 9}));
  const Rearrangement prefix{
      .rows = {0, 1, -1, -1}, .columns = {}, .source_columns = 3, .target_columns = 2};
  to.assign(4, -1);
  rearrange_rows(prefix, 0, 4, sizeof(float), from.data(), to.data());
  EXPECT_EQ(to, (std::vector<float>{0, 1, 3, 4}));
  EXPECT_EQ(inverse_order({2, 0, 1}), (std::vector<index_t>{1, 2, 0}));
  EXPECT_EQ(rows_at_a_time(std::size_t(1) << 40), 1);
}

}  // namespace
}  // namespace elastic::test
