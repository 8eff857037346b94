// SPDX-License-Identifier: Apache-2.0
// What the tests of token sources share: temporary files, what every row must satisfy, and errors.
#pragma once
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "data/token_source.hpp"

namespace elastic::test {

/// An empty folder that is removed at the end of the test.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    m_path = std::filesystem::temp_directory_path() /
             fmt::format("elastic_{}_{}_{}", test->test_suite_name(), test->name(), ::getpid());
    std::filesystem::create_directories(m_path);
  }
  ~TemporaryFolder() { std::filesystem::remove_all(m_path); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::string path(const std::string& name) const { return (m_path / name).string(); }
  std::string write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path(name), std::ios::binary) << bytes;
    return path(name);
  }

 private:
  std::filesystem::path m_path;
};

/// Message of the InputError that `action` must throw; "" and a failure if it throws none.
template <class Action>
std::string input_error(Action&& action) {
  try {
    action();
  } catch (const InputError& error) {
    return error.what();
  }
  ADD_FAILURE() << "expected an InputError";
  return "";
}

inline bool same(const Batch& a, const Batch& b) {
  return a.tokens == b.tokens && a.targets == b.targets && a.segment == b.segment &&
         a.weight == b.weight;
}

/// Ids are in the vocabulary, segments count 0, 1, 2, ... in order, and a target with weight
/// is the next token of its segment.
inline void expect_well_formed(const Row& row, index_t vocab_size) {
  const auto length = row.tokens.size();
  EXPECT_EQ(row.segment[0], 0);
  for (std::size_t i = 0; i < length; ++i) {
    ASSERT_TRUE(row.tokens[i] >= 0 && row.tokens[i] < vocab_size) << "token " << i;
    ASSERT_TRUE(row.targets[i] >= 0 && row.targets[i] < vocab_size) << "target " << i;
    ASSERT_TRUE(row.weight[i] >= 0 && row.weight[i] <= 1) << "weight " << i;
    if (i + 1 == length) break;
    const auto step = row.segment[i + 1] - row.segment[i];
    ASSERT_TRUE(step == 0 || step == 1) << "segment after " << i;
    if (step == 1) {
      ASSERT_EQ(row.weight[i], 0) << "target across documents at " << i;
      ASSERT_EQ(row.targets[i], 0) << i;
    } else if (row.weight[i] > 0) {
      ASSERT_EQ(row.targets[i], row.tokens[i + 1]) << i;
    }
  }
}

/// Rows 0 to 31 of both splits are equal whether asked for forwards, backwards, twice, or of
/// `another` source of the same configuration that has answered nothing before.
inline void expect_pure(const TokenSource& source, const TokenSource& another, index_t length) {
  for (const Split split : {Split::train, Split::validation}) {
    const index_t count = 32;
    const Batch forwards = make_batch(source, split, 0, count, length);
    Batch backwards(count, length), fresh(count, length);
    for (index_t i = count - 1; i >= 0; --i) {
      source.fill(split, i, backwards.row(i));
      // Dirty rows of another length and split in between must not matter.
      Batch scratch(1, length + 7);
      std::fill(scratch.tokens.begin(), scratch.tokens.end(), 77);
      another.fill(split == Split::train ? Split::validation : Split::train, i, scratch.row(0));
      another.fill(split, (i * 5) % count, fresh.row((i * 5) % count));
    }
    EXPECT_TRUE(same(forwards, backwards));
    EXPECT_TRUE(same(forwards, fresh));
    EXPECT_TRUE(same(forwards, make_batch(source, split, 0, count, length)));
    Batch dirty(1, length);
    std::fill(dirty.tokens.begin(), dirty.tokens.end(), -5);
    std::fill(dirty.targets.begin(), dirty.targets.end(), -5);
    std::fill(dirty.segment.begin(), dirty.segment.end(), -5);
    std::fill(dirty.weight.begin(), dirty.weight.end(), -5.0f);
    source.fill(split, 3, dirty.row(0));
    EXPECT_TRUE(same(dirty, make_batch(source, split, 3, 1, length)))
        << "an element is not written";
    for (index_t b = 0; b < count; ++b) {
      Batch copy = forwards;
      expect_well_formed(copy.row(b), source.vocab_size());
    }
  }
}

}  // namespace elastic::test
