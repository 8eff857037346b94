// SPDX-License-Identifier: Apache-2.0
// Every sequence of a range is in one micro-batch, on the device as the source gave it.
#include "train/micro_batches.hpp"

#include <gtest/gtest.h>

#include "unit_tests/train/small_run.hpp"

namespace elastic::test {
namespace {

/// Token t of sample s is 100 s + t; every second target counts.
class CountingSource final : public TokenSource {
 public:
  index_t vocab_size() const override { return 1000; }
  void fill(Split split, index_t sample, Row row) const override {
    for (index_t t = 0; t < row.length(); ++t) {
      row.tokens[t] = static_cast<token_t>(100 * sample + t + (split == Split::train ? 0 : 50));
      row.targets[t] = row.tokens[t] + 1;
      row.segment[t] = static_cast<token_t>(t / 4);
      row.weight[t] = static_cast<float>(t % 2);
    }
  }
};

template <class T>
std::vector<T> values(const View1<const T>& view) {
  const auto h_view = Kokkos::create_mirror_view_and_copy(HostSpace(), view);
  return {h_view.data(), h_view.data() + h_view.extent(0)};
}

struct Seen {
  std::vector<index_t> batch, number, count;
  std::vector<bool> last;
  std::vector<token_t> tokens, targets, segment;
  double weight_sum = 0;
};

Seen all_of(const RunConfig& config, const SequenceRange& range, std::optional<Spans> spans = {}) {
  const Communicator self = Communicator::self();
  Arena arena;
  MicroBatches batches(self, config, arena, std::move(spans));
  Seen seen;
  const auto append = [](auto& to, const auto& from) {
    to.insert(to.end(), from.begin(), from.end());
  };
  batches.for_each(CountingSource(), range, [&](const MicroBatch& batch) {
    seen.batch.push_back(batch.context.batch);
    seen.number.push_back(batch.number);
    seen.count.push_back(batch.count);
    seen.last.push_back(batch.last);
    append(seen.tokens, values(batch.tokens));
    append(seen.targets, values(batch.targets.targets));
    append(seen.segment, values(batch.context.segment));
    seen.weight_sum += batch.weight_sum;
  });
  return seen;
}

std::vector<token_t> expected_tokens(index_t first, index_t count, index_t length, token_t plus) {
  std::vector<token_t> tokens;
  for (index_t s = first; s < first + count; ++s)
    for (index_t t = 0; t < length; ++t) tokens.push_back(static_cast<token_t>(100 * s + t) + plus);
  return tokens;
}

TEST(MicroBatches, CutARangeIntoMicroBatchesOfTheDeckAndARest) {
  const auto deck = small_deck({"parallel/micro_batch_size=4"});
  const Seen seen = all_of(deck.config, {.first = 2, .count = 6, .seq_length = 8});
  EXPECT_EQ(seen.batch, (std::vector<index_t>{4, 2}));
  EXPECT_EQ(seen.number, (std::vector<index_t>{0, 1}));
  EXPECT_EQ(seen.count, (std::vector<index_t>{2, 2}));
  EXPECT_EQ(seen.last, (std::vector<bool>{false, true}));
  EXPECT_EQ(seen.tokens, expected_tokens(2, 6, 8, 0));
  EXPECT_EQ(seen.targets, expected_tokens(2, 6, 8, 1));
  EXPECT_EQ(seen.segment.at(7), 1);
  EXPECT_EQ(seen.weight_sum, 6 * 4);
}

TEST(MicroBatches, AreSingleSequencesInDeterministicMode) {
  const auto deck = small_deck({"parallel/micro_batch_size=4", "job/deterministic=true"});
  const Seen seen = all_of(deck.config, {.split = Split::validation, .count = 3, .seq_length = 8});
  EXPECT_EQ(seen.batch, (std::vector<index_t>{1, 1, 1}));
  EXPECT_EQ(seen.last, (std::vector<bool>{false, false, true}));
  EXPECT_EQ(seen.tokens, expected_tokens(0, 3, 8, 50));
}

TEST(MicroBatches, HoldSpansOfWholeSequences) {
  const auto deck = small_deck({"parallel/micro_batch_size=2"});
  const Communicator self = Communicator::self();
  const Seen seen = all_of(deck.config, {.count = 2, .seq_length = 32},
                           Spans(self, SpanLayout::fixed({0, 1}), 3));
  EXPECT_EQ(seen.batch, (std::vector<index_t>{16}));  // 8 spans of each sequence
  EXPECT_EQ(seen.weight_sum, 2 * 16);
  auto tokens = seen.tokens, expected = expected_tokens(0, 2, 32, 0);
  std::sort(tokens.begin(), tokens.end());
  EXPECT_EQ(tokens, expected);
}

TEST(MicroBatches, GiveBackWhatABodyTakesFromTheArena) {
  const auto deck = small_deck({"parallel/micro_batch_size=1"});
  const Communicator self = Communicator::self();
  Arena arena;
  MicroBatches batches(self, deck.config, arena);
  std::vector<const float*> taken;
  batches.for_each(CountingSource(), {.count = 2, .seq_length = 8}, [&](const MicroBatch& batch) {
    taken.push_back(batch.context.arena->vector<float>(10).data());
  });
  ASSERT_EQ(taken.size(), 2u);
  EXPECT_EQ(taken[0], taken[1]);
}

}  // namespace
}  // namespace elastic::test
