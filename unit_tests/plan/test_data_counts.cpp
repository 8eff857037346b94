// SPDX-License-Identifier: Apache-2.0
// What --check says of the files of data.
#include "plan/data_counts.hpp"

#include <gmock/gmock.h>

#include "data/dataset_summary.hpp"
#include "plan/run_plan.hpp"
#include "unit_tests/io/io_support.hpp"
#include "unit_tests/train/small_run.hpp"

namespace elastic::test {
namespace {

class DataCountsTest : public InFolder {
 protected:
  /// 20 documents of 10 tokens, of which each last one counts. Every fifth document is held out.
  std::string write(const std::string& name, bool with_mask) const {
    std::vector<std::uint8_t> mask(10, 0);
    mask.front() = mask.back() = 1;
    const std::vector<std::vector<std::uint8_t>> masks(with_mask ? 20 : 0, mask);
    const std::string prefix = (folder / name).string();
    write_indexed_dataset(prefix, 50, std::vector(20, std::vector<token_t>(10, 7)), masks);
    return prefix;
  }
  static ResolvedDeck deck(const std::string& files, const std::vector<std::string>& more = {}) {
    std::vector<std::string> overrides = {"data/source=indexed", "data/vocab_size=50",
                                          "data/validation_fraction=0.2", "data/train=" + files};
    overrides.insert(overrides.end(), more.begin(), more.end());
    return small_deck(overrides);
  }
};

TEST_F(DataCountsTest, CountsSharesAndEpochs) {
  const std::string a = write("a", true), b = write("b", false);
  // 4 steps of 4 sequences of 48 tokens, then of 64: 1792 tokens.
  const auto counts = count_data(deck(a + "," + b, {"data/weights=3,1"}).config);
  ASSERT_EQ(counts.size(), 2u);
  for (const auto& count : counts) {
    EXPECT_EQ(count.sequences, 20);
    EXPECT_EQ(count.documents, 20);
    EXPECT_EQ(count.tokens, 200);
    EXPECT_EQ(count.training_tokens, 160);
  }
  EXPECT_EQ(counts[0].targets, 20);
  EXPECT_EQ(counts[1].targets, 180);
  EXPECT_TRUE(counts[0].masked && !counts[1].masked);
  EXPECT_DOUBLE_EQ(counts[0].share, 0.75);
  EXPECT_DOUBLE_EQ(counts[0].epochs, 1792 * 0.75 / 160);
  EXPECT_DOUBLE_EQ(counts[1].epochs, 1792 * 0.25 / 160);
  const std::string text = run_plan(deck(a, {"stage1/steps=1", "pretrain/steps=1"}), 1);
  contains(text, a + ": 20 sequences, 20 documents, 200 tokens, 20 targets (.mask)");
  contains(text,
           "100.0% of the samples; 2.80 epochs of its 160 tokens for training; warning: more");
  contains(run_plan(deck(a, {"data/loss_mask=ignored"}), 1), "180 targets\n");
  contains(message_of<InputError>([&] { run_plan(deck(a, {"data/vocab_size=7"}), 1); }),
           a + ".json: the ids of");
  std::filesystem::remove(a + ".json");
  contains(message_of<InputError>([&] { run_plan(deck(a, {"data/vocab_size=7"}), 1); }),
           a + ".bin: token 0 of document 0 is 7");
  EXPECT_EQ(count_data(deck(a).config).at(0).targets, 20);
}

TEST_F(DataCountsTest, FilesThatAreNotThereYetAndThoseThatAreWrong) {
  const std::string a = write("a", false), none = (folder / "none").string();
  const auto counts = count_data(deck(none + "," + a).config);
  ASSERT_EQ(counts.size(), 1u);
  EXPECT_EQ(counts[0].name, a);
  EXPECT_DOUBLE_EQ(counts[0].share, 0.5);
  write_bytes(a + ".mask", "x");
  contains(message_of<InputError>([&] { run_plan(deck(a), 1); }),
           a + ".mask: 1 bytes; expected 200");
  std::filesystem::remove(a + ".mask");
  contains(run_plan(deck(none, {"data/loss_mask=required"}), 1), none + ".mask: not there yet");
}

TEST_F(DataCountsTest, DataWithoutTargets) {
  const std::string a = (folder / "a").string();
  write_indexed_dataset(a, 50, std::vector(20, std::vector<token_t>{7}));
  contains(data_lines(deck(a).config), "20 tokens, 0 targets; warning: a run on them is refused");
}

TEST_F(DataCountsTest, TextAndProblems) {
  const std::string file = (folder / "text").string();
  write_bytes(file, std::string(10000, 'x'));
  const auto config =
      small_deck({"data/source=text", "data/train=" + file, "data/validation_fraction=0.1"}).config;
  EXPECT_EQ(count_data(config).at(0).training_tokens, 9000);
  contains(data_lines(config), "10,000 tokens (bytes)");
  contains(data_lines(config), "0.20 epochs of its 9,000 tokens for training\n");
  EXPECT_EQ(data_lines(small_deck().config), "");
}

}  // namespace
}  // namespace elastic::test
