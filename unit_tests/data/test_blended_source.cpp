// SPDX-License-Identifier: Apache-2.0
// Blending of sources by Megatron's rule.
#include "data/blended_source.hpp"

#include <fmt/ranges.h>

#include <cmath>
#include <memory>

#include "data/dataset_summary.hpp"
#include "unit_tests/data/blending_table.hpp"
#include "unit_tests/data/data_support.hpp"

namespace elastic::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// Rows that say which source, split and sample they are.
class LabelledSource : public TokenSource {
 public:
  LabelledSource(token_t label, index_t vocab_size) : m_label(label), m_vocab_size(vocab_size) {}
  index_t vocab_size() const override { return m_vocab_size; }
  void fill(Split split, index_t sample, Row row) const override {
    for (index_t i = 0; i < row.length(); ++i) {
      const auto at = static_cast<std::size_t>(i);
      row.tokens[at] = i == 0 ? m_label : static_cast<token_t>(sample % m_vocab_size);
      row.segment[at] = static_cast<token_t>(split == Split::validation && i > 0);
      row.targets[at] = 0;
      row.weight[at] = 0;
    }
  }

 private:
  token_t m_label;
  index_t m_vocab_size;
};

BlendedSource blend(std::vector<double> weights) {
  std::vector<std::unique_ptr<TokenSource>> sources;
  for (std::size_t i = 0; i < weights.size(); ++i)
    sources.push_back(std::make_unique<LabelledSource>(static_cast<token_t>(i), 1000));
  return {std::move(sources), std::move(weights)};
}

std::vector<index_t> first_picks(const BlendedSource& source, index_t count) {
  std::vector<index_t> result;
  for (index_t n = 0; n < count; ++n) result.push_back(source.pick(n).source);
  return result;
}

// By hand from the rule: the deficits w_i max(n, 1) - taken_i, first of equal ones.
TEST(BlendedSource, FollowsTheRuleByHand) {
  EXPECT_THAT(first_picks(blend({1, 1}), 4), ElementsAre(0, 1, 0, 1));
  EXPECT_THAT(first_picks(blend({7, 3}), 5), ElementsAre(0, 1, 0, 0, 1));
  EXPECT_THAT(first_picks(blend({0.25, 0.5, 0.25}), 5), ElementsAre(1, 0, 2, 1, 0));
}

// This build may have processors with fused multiply-adds, which give other picks.
TEST(BlendedSource, FollowsMegatronToTheLastTie) {
  ASSERT_GT(blending_table.size(), 8u);
  for (const auto& [weights, count, expected] : blending_table) {
    std::vector<std::byte> picks;
    for (const index_t source : first_picks(blend(weights), count))
      picks.push_back(static_cast<std::byte>(source));
    EXPECT_EQ(crc32_of_ends(picks), expected) << fmt::format("{}", fmt::join(weights, " "));
  }
}

TEST(BlendedSource, PicksDoNotDependOnTheirOrder) {
  const std::vector<double> weights = {0.5, 0.3, 0.15, 0.05};
  const BlendedSource forwards = blend(weights), backwards = blend(weights);
  const index_t count = 3000;  // more than two snapshots
  std::vector<BlendedSource::Pick> expected;
  std::vector<index_t> taken(weights.size(), 0);
  for (index_t n = 0; n < count; ++n) {
    expected.push_back(forwards.pick(n));
    ASSERT_EQ(expected.back().sample, taken[static_cast<std::size_t>(expected.back().source)]++);
    for (std::size_t i = 0; i < weights.size(); ++i)
      ASSERT_LT(std::abs(static_cast<double>(taken[i]) - weights[i] * static_cast<double>(n + 1)),
                static_cast<double>(weights.size()));
  }
  for (index_t n = count; n-- > 0;) {
    const auto pick = backwards.pick(n);
    const auto& wanted = expected[static_cast<std::size_t>(n)];
    ASSERT_TRUE(pick.source == wanted.source && pick.sample == wanted.sample) << n;
  }
}

TEST(BlendedSource, RowsComeFromThePickedSource) {
  const BlendedSource source = blend({2, 1});
  for (const index_t n : {0, 1, 2, 1500, 1023, 1024, 1025}) {
    const Batch batch = make_batch(source, Split::validation, n, 1, 2);
    EXPECT_EQ(batch.tokens[0], source.pick(n).source);
    EXPECT_EQ(batch.tokens[1], source.pick(n).sample % 1000);
    EXPECT_EQ(batch.segment[1], 1);
  }
  const BlendedSource one = blend({2, 1}), other = blend({2, 1});
  expect_pure(one, other, 8);
}

TEST(BlendedSource, Errors) {
  EXPECT_THAT(input_error([] { blend({1, 0}); }), HasSubstr("weight 0 of source 1"));
  EXPECT_THROW(blend({1, -1}), InputError);
  EXPECT_THROW(blend({1, std::nan("")}), InputError);
  EXPECT_THROW(blend({}), InputError);
  std::vector<std::unique_ptr<TokenSource>> sources;
  sources.push_back(std::make_unique<LabelledSource>(0, 10));
  sources.push_back(std::make_unique<LabelledSource>(1, 11));
  EXPECT_THAT(input_error([&] {
                BlendedSource(std::move(sources), {1, 1});
              }),
              HasSubstr("source 1 has a vocabulary of 11, source 0 of 10"));
}

}  // namespace
}  // namespace elastic::test
