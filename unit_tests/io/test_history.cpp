// SPDX-License-Identifier: Apache-2.0
// History files: exact numbers, going on, cutting back.
#include "io/history.hpp"

#include <cmath>
#include <limits>

#include "base/random.hpp"
#include "unit_tests/io/io_support.hpp"

namespace elastic::test {
namespace {

class HistoryTest : public InFolder {
 protected:
  std::filesystem::path path() const { return folder / "history.csv"; }
  void write(index_t first, index_t last) const {
    HistoryWriter history(path(), {"step", "phase", "loss"});
    for (index_t step = first; step <= last; ++step)
      history.append({step, "pretrain", 1.0 / double(step)});
  }
};

TEST_F(HistoryTest, RowsAreCompleteAtOnceAndReadable) {
  HistoryWriter history(path(), {"step", "phase", "loss"});
  history.append({index_t(1), "rank", 0.1});
  EXPECT_EQ(bytes_of(path()), "step,phase,loss\n1,rank,0.1\n");
  history.append({index_t(2), "rank", std::nan("")});
  EXPECT_EQ(bytes_of(path()), "step,phase,loss\n1,rank,0.1\n2,rank,\n");
  const History read(path());
  EXPECT_EQ(read.columns(), (std::vector<std::string>{"step", "phase", "loss"}));
  EXPECT_EQ(read.num_rows(), 2u);
  EXPECT_EQ(read.texts("phase"), (std::vector<std::string>{"rank", "rank"}));
  EXPECT_EQ(read.numbers("step"), (std::vector<double>{1, 2}));
  EXPECT_TRUE(std::isnan(read.numbers("loss")[1]));
}

TEST_F(HistoryTest, NumbersComeBackExactly) {
  using limits = std::numeric_limits<double>;
  std::vector<double> values = {
      0.0, -0.0, limits::max(), limits::denorm_min(), limits::infinity(), -limits::infinity()};
  for (int i = 0; i < 500; ++i)
    values.push_back(std::exp(20 * random_normal({1, RandomPurpose::test}, std::uint64_t(i))));
  HistoryWriter history(path(), {"x"});
  for (const double x : values) history.append({x});
  const auto read = History(path()).numbers("x");
  ASSERT_EQ(read.size(), values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(read[i], values[i]);
    EXPECT_EQ(std::signbit(read[i]), std::signbit(values[i]));
  }
}

TEST_F(HistoryTest, AResumedRunWritesTheSameFile) {
  write(1, 10);
  const auto uninterrupted = bytes_of(path());
  truncate_history_after(path(), "step", 4);
  EXPECT_EQ(History(path()).numbers("step"), (std::vector<double>{1, 2, 3, 4}));
  write(5, 10);
  EXPECT_EQ(bytes_of(path()), uninterrupted);
  EXPECT_FALSE(std::filesystem::exists(path().string() + ".tmp"));
}

TEST_F(HistoryTest, TruncationDropsAHalfWrittenLine) {
  write(1, 3);
  const auto whole = bytes_of(path());
  write_bytes(path(), whole + "4,pretr");
  EXPECT_EQ(History(path()).num_rows(), 3u);
  truncate_history_after(path(), "step", 100);
  EXPECT_EQ(bytes_of(path()), whole);
  truncate_history_after(path(), "step", 0);
  EXPECT_EQ(bytes_of(path()), "step,phase,loss\n");
  truncate_history_after(folder / "none.csv", "step", 1);
  EXPECT_FALSE(std::filesystem::exists(folder / "none.csv"));
}

TEST_F(HistoryTest, GoingOnCutsOffAHalfWrittenLine) {
  write(1, 3);
  const auto whole = bytes_of(path());
  write(4, 4);
  const auto longer = bytes_of(path());
  write_bytes(path(), whole + "4,pretr");
  write(4, 4);
  EXPECT_EQ(bytes_of(path()), longer);
  write_bytes(path(), "step,pha");
  truncate_history_after(path(), "step", 100);
  write(1, 3);
  EXPECT_EQ(bytes_of(path()), whole);
}

// /dev/full takes nothing, as a full disk does.
TEST_F(HistoryTest, ARowThatCannotBeWrittenIsARunError) {
  std::filesystem::create_symlink("/dev/full", folder / "full.csv");
  const auto message = message_of<RunError>([&] { HistoryWriter(folder / "full.csv", {"a"}); });
  contains(message, "full.csv: cannot write: No space left on device");
}

TEST_F(HistoryTest, MistakesAreNamed) {
  write(1, 2);
  contains(message_of<InputError>([&] {
             HistoryWriter(path(), {"step", "loss"});
           }),
           "has other columns");
  contains(message_of<InputError>([&] { truncate_history_after(path(), "steps", 1); }),
           "no column steps; there are step, ");
  contains(message_of<InputError>([&] { History(path()).numbers("phase"); }),
           "history.csv:2: pretrain in column phase");
  write_bytes(folder / "bad.csv", "a,b\n1,2\n3\n");
  contains(message_of<InputError>([&] { History read(folder / "bad.csv"); }),
           "bad.csv:3: 1 cells, expected 2");
  contains(message_of<RunError>([&] { HistoryWriter(folder / "none" / "h.csv", {"a"}); }),
           "No such file");
  HistoryWriter history(folder / "h.csv", {"a"});
  EXPECT_THROW(history.append({}), ContractError);
  EXPECT_THROW(history.append({"a,b"}), ContractError);
}

}  // namespace
}  // namespace elastic::test
