// SPDX-License-Identifier: Apache-2.0
// PREFIX.mask: which tokens count as targets, in rows and against a count by hand.
#include <numeric>
#include <random>

#include "data/indexed_source.hpp"
#include "unit_tests/data/data_support.hpp"

namespace elastic::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Masks = std::vector<std::vector<std::uint8_t>>;

class IndexedMaskTest : public testing::Test {
 protected:
  std::string prefix() const { return m_folder.path("data"); }
  IndexedSource source(bool with_mask = true) const { return {{prefix(), 1000, 10, with_mask}, 1}; }
  void write(const std::vector<std::vector<token_t>>& documents, const Masks& masks) const {
    write_indexed_dataset(prefix(), 1000, documents, masks);
  }
  TemporaryFolder m_folder;
};

TEST_F(IndexedMaskTest, AMaskedTokenIsNoTarget) {
  write({{5, 6, 7, 8}, {}, {9, 10}}, {{1, 0, 1, 1}, {}, {1, 0}});
  const IndexedDataset dataset(prefix(), 1000, true);
  std::vector<float> counts(3);
  dataset.read_counts(0, 1, counts);
  EXPECT_THAT(counts, ElementsAre(0, 1, 1));
  // The first token of a document is nobody's target, whatever the mask says.
  EXPECT_THAT((std::vector{dataset.num_targets(0), dataset.num_targets(1), dataset.num_targets(2)}),
              ElementsAre(2, 0, 0));
  EXPECT_TRUE(dataset.has_target(0));
  EXPECT_FALSE(dataset.has_target(1) || dataset.has_target(2));
  EXPECT_EQ(IndexedDataset(prefix(), 1000).num_targets(2), 1);
  EXPECT_EQ(IndexedDataset(prefix(), 1000).mask(), nullptr);
  EXPECT_THROW(dataset.read_counts(2, 0, counts), ContractError);
}

/// The mask lies as .bin does, also where sequences stand in another order.
TEST_F(IndexedMaskTest, FollowsTheOrderOfTheIds) {
  write({{1, 2, 3}, {4, 5}}, {{0, 1, 0}, {0, 1}});
  std::fstream idx(prefix() + ".idx", std::ios::binary | std::ios::in | std::ios::out);
  idx.seekp(34);
  const std::int32_t lengths[] = {2, 3};
  const std::int64_t offsets[] = {6, 0};
  idx.write(reinterpret_cast<const char*>(lengths), sizeof lengths);
  idx.write(reinterpret_cast<const char*>(offsets), sizeof offsets);
  idx.close();
  const IndexedDataset dataset(prefix(), 1000, true);
  std::vector<float> counts(3);
  dataset.read_counts(1, 0, counts);
  EXPECT_THAT(counts, ElementsAre(0, 1, 0));
  EXPECT_EQ(dataset.num_targets(0), 1);
}

TEST_F(IndexedMaskTest, TheTargetsOfAnEpochAreThoseOfANaiveCount) {
  std::mt19937 noise(3);
  std::vector<std::vector<token_t>> documents;
  Masks masks;
  token_t id = 0;
  std::vector<float> counted(1, 0.0f);  // by token: whether it is a target that counts
  index_t expected[2] = {0, 0};
  for (int d = 0; d < 40; ++d) {
    auto& document = documents.emplace_back();
    auto& mask = masks.emplace_back();
    for (unsigned n = noise() % 30; n > 0; --n) {
      document.push_back(++id);
      mask.push_back(noise() % 3 == 0);
      counted.push_back(document.size() > 1 && mask.back() ? 1.0f : 0.0f);
      expected[d % 10 == 9] += counted.back() > 0;
    }
  }
  write(documents, masks);
  const IndexedSource masked = source(), another = source(), plain = source(false);
  EXPECT_TRUE(masked.has_mask());
  EXPECT_FALSE(plain.has_mask());
  expect_pure(masked, another, 16);
  for (const Split split : {Split::train, Split::validation}) {
    const index_t rows = masked.rows_per_epoch(split, 16);
    const Batch batch = make_batch(masked, split, 0, rows, 16),
                same_rows = make_batch(plain, split, 0, rows, 16);
    EXPECT_EQ(batch.tokens, same_rows.tokens);
    EXPECT_EQ(batch.targets, same_rows.targets);
    EXPECT_EQ(batch.segment, same_rows.segment);
    for (std::size_t i = 0; i < batch.weight.size(); ++i)
      ASSERT_EQ(batch.weight[i],
                same_rows.weight[i] * counted[static_cast<std::size_t>(batch.targets[i])]);
    EXPECT_EQ(std::accumulate(batch.weight.begin(), batch.weight.end(), 0.0),
              expected[split == Split::validation]);
  }
}

TEST_F(IndexedMaskTest, RefusesAMaskThatDoesNotFit) {
  const std::vector<std::vector<token_t>> documents(20, {1, 2, 3});
  write(documents, Masks(20, {1, 1, 1}));
  m_folder.write("data.mask", std::string(59, '\1'));
  EXPECT_THAT(input_error([&] { source(); }),
              HasSubstr("data.mask: 59 bytes; expected 60, one for each id of"));
  std::string mask(60, '\1');
  mask[31] = 2;
  m_folder.write("data.mask", mask);
  const IndexedSource wrong = source();
  EXPECT_THAT(input_error([&] { make_batch(wrong, Split::train, 0, 20, 8); }),
              HasSubstr("data.mask: byte 31 is 2; expected 1 (the token counts as a target) or 0"));
  EXPECT_THROW(IndexedDataset(prefix(), 1000, true).check_ids(), InputError);
  EXPECT_NO_THROW(IndexedDataset(prefix(), 1000).check_ids());
  std::filesystem::remove(prefix() + ".mask");
  EXPECT_THAT(input_error([&] { source(); }), HasSubstr("data.mask: cannot be opened"));
  EXPECT_NO_THROW(source(false));
}

TEST_F(IndexedMaskTest, RefusesASplitWithoutTargets) {
  const std::vector<std::vector<token_t>> documents(20, {1, 2, 3});
  write(documents, Masks(20, {1, 0, 0}));
  EXPECT_THAT(input_error([&] { source(); }),
              HasSubstr("data.mask: no token has a target for training: each of its 18 documents "
                        "has only zeros behind its first token"));
  Masks some(20, {0, 0, 0});
  some[3] = {0, 0, 1};
  write(documents, some);
  EXPECT_THAT(input_error([&] { source(); }), HasSubstr("no token has a target for validation"));
  some[19] = {0, 1, 0};
  write(documents, some);
  const IndexedSource sparse = source();
  const Batch batch = make_batch(sparse, Split::train, 0, 18, 3);
  EXPECT_EQ(std::accumulate(batch.weight.begin(), batch.weight.end(), 0.0), 1.0);
}

}  // namespace
}  // namespace elastic::test
