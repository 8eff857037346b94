// SPDX-License-Identifier: Apache-2.0
// The source that a deck names, with its seed, files and weights.
#include "train/token_sources.hpp"

#include "data/indexed_dataset.hpp"
#include "data/reasoning_source.hpp"
#include "unit_tests/data/data_support.hpp"
#include "unit_tests/train/small_run.hpp"

namespace elastic::test {
namespace {

Batch rows_of(const RunConfig& config, std::uint64_t stream, Split split = Split::train) {
  return make_batch(*make_source(config, stream), split, 0, 4, 40);
}

TEST(TokenSources, ReasoningDataOfTheDeck) {
  const RunConfig config =
      small_deck({"data/families=addition,assignment", "data/max_digits=2", "job/seed=77"}).config;
  const ReasoningConfig reasoning = reasoning_config(config);
  EXPECT_EQ(reasoning.families, (std::vector<Family>{Family::addition, Family::assignment}));
  EXPECT_EQ(reasoning.max_digits, 2);
  const ReasoningSource expected(reasoning, 77, 5);
  for (const Split split : {Split::train, Split::validation})
    EXPECT_TRUE(same(rows_of(config, 5, split), make_batch(expected, split, 0, 4, 40)));
}

TEST(TokenSources, SeedsAndStreamsGiveOtherRows) {
  const RunConfig config = small_deck().config, other = small_deck({"job/seed=4321"}).config;
  EXPECT_TRUE(same(rows_of(config, 1), rows_of(config, 1)));
  EXPECT_FALSE(same(rows_of(config, 1), rows_of(config, 2)));
  EXPECT_FALSE(same(rows_of(config, 1), rows_of(other, 1)));
}

class TokenSourcesOfFiles : public InFolder {
 protected:
  std::string write_text(const std::string& name, char letter) {
    write_bytes(folder / name, std::string(20000, letter));
    return (folder / name).string();
  }
  /// Documents of one token only, of which as many as tokens.
  std::string write_indexed(const std::string& name, token_t token) {
    const std::string prefix = (folder / name).string();
    write_indexed_dataset(prefix, 100,
                          std::vector<std::vector<token_t>>(200, std::vector<token_t>(50, token)));
    return prefix;
  }
};

TEST_F(TokenSourcesOfFiles, TextIsReadAsBytes) {
  const RunConfig config =
      small_deck({"data/source=text", "data/train=" + write_text("a.txt", 'x')}).config;
  const auto source = make_source(config, 1);
  EXPECT_EQ(source->vocab_size(), 256);
  for (const token_t token : rows_of(config, 1).tokens) ASSERT_EQ(token, 'x');
}

TEST_F(TokenSourcesOfFiles, IndexedFilesAreBlendedByTheirWeights) {
  const std::string files = write_indexed("one", 1) + "," + write_indexed("two", 2);
  for (const auto& [weights, share] :
       {std::pair{"data/weights=3,1", 0.75}, {"data/weights=1,3", 0.25}, {"data/weights=", 0.5}}) {
    const RunConfig config =
        small_deck({"data/source=indexed", "data/train=" + files, "data/vocab_size=100", weights})
            .config;
    const auto source = make_source(config, 1);
    EXPECT_EQ(source->vocab_size(), 100);
    const Batch batch = make_batch(*source, Split::train, 0, 40, 20);
    double first = 0;
    for (const token_t token : batch.tokens)
      first += (token == 1 ? 1.0 : 0.0) / static_cast<double>(batch.tokens.size());
    EXPECT_NEAR(first, share, 0.03) << weights;
  }
}

TEST_F(TokenSourcesOfFiles, MasksAreUsedAsTheDeckSays) {
  const std::string prefix = write_indexed("one", 1);
  const auto source = [&](const char* use) {
    return make_source(small_deck({"data/source=indexed", "data/train=" + prefix,
                                   "data/vocab_size=100", fmt::format("data/loss_mask={}", use)})
                           .config,
                       1);
  };
  EXPECT_FALSE(source("auto")->has_mask());
  contains(input_error([&] { source("required"); }), prefix + ".mask");
  write_bytes(prefix + ".mask", std::string(10000, '\1'));
  EXPECT_TRUE(source("auto")->has_mask());
  EXPECT_TRUE(source("required")->has_mask());
  EXPECT_FALSE(source("ignored")->has_mask());
  EXPECT_THROW(small_deck({"data/loss_mask=required"}), InputError) << "problems have no masks";
}

TEST_F(TokenSourcesOfFiles, IdsAreKnownFromTheSummaryWithoutReadingThem) {
  const std::string prefix = write_indexed("one", 42);
  const auto config = [&](index_t vocab_size) {
    return small_deck({"data/source=indexed", "data/train=" + prefix,
                       fmt::format("data/vocab_size={}", vocab_size)})
        .config;
  };
  const Communicator self = Communicator::self();
  EXPECT_NO_THROW(check_data(self, config(43)));
  contains(input_error([&] { check_data(self, config(42)); }), prefix + ".json: the ids of");
  // A summary that lies: the run begins, and the first row that meets the id says so.
  std::string text;
  std::getline(std::ifstream(prefix + ".json"), text, '\0');
  const std::string wrong = "\"largest_id\": 42";
  ASSERT_NE(text.find(wrong), std::string::npos);
  write_bytes(prefix + ".json",
              std::string(text).replace(text.find(wrong), wrong.size(), "\"largest_id\": 41"));
  EXPECT_NO_THROW(check_data(self, config(42)));
  contains(input_error([&] { rows_of(config(42), 1); }), "one.bin: token ");
  // One of another dataset is left alone, and the ids are read.
  const std::string tokens = "\"tokens\": 10000";
  ASSERT_NE(text.find(tokens), std::string::npos);
  write_bytes(prefix + ".json",
              std::string(text).replace(text.find(tokens), tokens.size(), "\"tokens\": 9999"));
  contains(input_error([&] { check_data(self, config(42)); }), "one.bin: token 0 of document 0");
  EXPECT_NO_THROW(check_data(self, config(43)));
}

TEST_F(TokenSourcesOfFiles, AMissingFileIsNamed) {
  for (const char* kind : {"text", "indexed"}) {
    const RunConfig config = small_deck({fmt::format("data/source={}", kind), "data/vocab_size=256",
                                         "data/train=" + (folder / "none").string()})
                                 .config;
    contains(input_error([&] { make_source(config, 1); }), (folder / "none").string());
  }
}

}  // namespace
}  // namespace elastic::test
