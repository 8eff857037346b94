// SPDX-License-Identifier: Apache-2.0
// Folders of checkpoints: newest complete one, rotation, leftovers of interrupted saves.
#include "io/checkpoint_folder.hpp"

#include <csignal>
#include <sys/wait.h>

#include "unit_tests/io/io_support.hpp"

namespace elastic::test {
namespace {

class CheckpointFolderTest : public InFolder {
 protected:
  static void save(const CheckpointFolder& checkpoints, index_t step) {
    checkpoints.save(step, [&](CheckpointWriter& writer) {
      const std::vector<double> values(100, double(step));
      writer.vector("x", values.data(), 100);
      writer.attribute("step", step);
    });
  }
  /// Damages the data of a checkpoint.
  static void damage(const std::filesystem::path& path) {
    auto bytes = bytes_of(path);
    const double step = CheckpointReader(path).read<double>("x")[0];
    bytes[bytes.find(std::string(reinterpret_cast<const char*>(&step), 8)) + 50] ^= 1;
    write_bytes(path, bytes);
  }
};

TEST_F(CheckpointFolderTest, LatestIsTheNewest) {
  const CheckpointFolder checkpoints(folder / "run" / "checkpoints", 0);
  EXPECT_FALSE(checkpoints.latest());
  for (const index_t step : {5, 1000000, 20}) save(checkpoints, step);
  EXPECT_EQ(checkpoints.steps(), (std::vector<index_t>{5, 20, 1000000}));
  EXPECT_EQ(checkpoints.path_of(20).filename(), "checkpoint_000020.h5");
  EXPECT_EQ(*checkpoints.latest(), checkpoints.path_of(1000000));
  EXPECT_EQ(CheckpointReader(*checkpoints.latest()).attribute_as<index_t>("step"), 1000000);
}

TEST_F(CheckpointFolderTest, RotationKeepsTheLast) {
  const CheckpointFolder checkpoints(folder, 2);
  for (index_t step = 1; step <= 5; ++step) save(checkpoints, step);
  EXPECT_EQ(checkpoints.steps(), (std::vector<index_t>{4, 5}));
  save(checkpoints, 5);
  EXPECT_EQ(checkpoints.steps(), (std::vector<index_t>{4, 5}));
}

TEST_F(CheckpointFolderTest, MultiplesAreKeptForEver) {
  const CheckpointFolder checkpoints(folder, 2, 4);
  for (index_t step = 1; step <= 11; ++step) save(checkpoints, step);
  EXPECT_EQ(checkpoints.steps(), (std::vector<index_t>{4, 8, 10, 11}));
  // Without the new file nothing goes.
  checkpoints.rotate(12);
  EXPECT_EQ(checkpoints.steps(), (std::vector<index_t>{4, 8, 10, 11}));
}

TEST_F(CheckpointFolderTest, OtherNumbersOfDigitsCount) {
  const CheckpointFolder checkpoints(folder, 2);
  save(CheckpointFolder(folder, 0), 7);
  std::filesystem::rename(checkpoints.path_of(7), folder / "checkpoint_7.h5");
  EXPECT_EQ(*checkpoints.latest(), folder / "checkpoint_7.h5");
  EXPECT_EQ(checkpoints.find(7)->path, folder / "checkpoint_7.h5");
  EXPECT_FALSE(checkpoints.find(8));
  save(checkpoints, 7);
  EXPECT_EQ(checkpoints.find(7)->path, checkpoints.path_of(7)) << "the one that was saved";
  EXPECT_EQ(checkpoints.newest()->path, checkpoints.path_of(7));
  EXPECT_EQ(checkpoints.steps(), std::vector<index_t>{7});
  for (const index_t step : {8, 9}) save(checkpoints, step);
  EXPECT_FALSE(std::filesystem::exists(folder / "checkpoint_7.h5"));
  EXPECT_EQ(checkpoints.steps(), (std::vector<index_t>{8, 9}));
}

TEST_F(CheckpointFolderTest, WhatIsPassedOverIsTold) {
  const CheckpointFolder checkpoints(folder, 0);
  EXPECT_FALSE(checkpoints.newest());
  EXPECT_FALSE(checkpoints.newest_good().checkpoint);
  for (const index_t step : {1, 2, 3, 4}) save(checkpoints, step);
  damage(checkpoints.path_of(3));
  write_bytes(checkpoints.path_of(4), "");
  EXPECT_EQ(checkpoints.newest()->step, 4);
  const NewestGood found = checkpoints.newest_good();
  EXPECT_EQ(found.checkpoint->step, 2);
  ASSERT_EQ(found.passed_over.size(), 2u);
  EXPECT_EQ(found.passed_over[0].checkpoint.step, 4);
  contains(found.passed_over[0].reason, "checkpoint_000004.h5: not a checkpoint");
  contains(found.passed_over[1].reason, "checkpoint_000003.h5: x is damaged");
}

TEST_F(CheckpointFolderTest, AFolderThatCannotBeReadIsNotAnEmptyOne) {
  write_bytes(folder / "file", "x");
  const CheckpointFolder blocked(folder / "file", 1);
  contains(message_of<RunError>([&] { blocked.latest(); }), "file: cannot read the folder: ");
  contains(message_of<RunError>([&] { blocked.steps(); }), "file: cannot read the folder: ");
}

TEST_F(CheckpointFolderTest, ADamagedNewestFallsBackToThePrevious) {
  const CheckpointFolder checkpoints(folder, 1);
  save(checkpoints, 20);
  save(CheckpointFolder(folder, 0), 30);
  damage(checkpoints.path_of(30));
  EXPECT_EQ(*checkpoints.latest(), checkpoints.path_of(20));
  // The resumed run saves between the two: the damaged one pushes nothing out.
  save(checkpoints, 25);
  EXPECT_EQ(*checkpoints.latest(), checkpoints.path_of(25));
  damage(checkpoints.path_of(25));
  contains(message_of<InputError>([&] { checkpoints.latest(); }),
           "none of the 2 checkpoints can be read");
}

TEST_F(CheckpointFolderTest, TemporariesAndForeignNamesAreNoCheckpoints) {
  const CheckpointFolder checkpoints(folder, 1);
  save(checkpoints, 3);
  std::filesystem::copy_file(checkpoints.path_of(3), folder / "checkpoint_000009.h5.tmp");
  for (const char* name :
       {"checkpoint_.h5", "checkpoint_12x.h5", "checkpoint_-00004.h5", "notes.tmp", "other.h5"})
    write_bytes(folder / name, "x");
  EXPECT_EQ(checkpoints.steps(), std::vector<index_t>{3});
  EXPECT_EQ(*checkpoints.latest(), checkpoints.path_of(3));
  save(checkpoints, 4);
  EXPECT_FALSE(std::filesystem::exists(folder / "checkpoint_000009.h5.tmp"));
  EXPECT_TRUE(std::filesystem::exists(folder / "notes.tmp"));
  EXPECT_TRUE(std::filesystem::exists(folder / "other.h5"));
}

TEST_F(CheckpointFolderTest, AKilledWriterLeavesThePreviousCheckpoint) {
  const CheckpointFolder checkpoints(folder, 2);
  save(checkpoints, 1);
  const pid_t child = fork();
  if (child == 0) {
    try {
      checkpoints.save(2, [](CheckpointWriter& writer) {
        const std::vector<double> values(100000, 1.0);
        writer.vector("x", values.data(), 100000);
        raise(SIGKILL);
      });
    } catch (...) {
    }
    _exit(1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_TRUE(std::filesystem::exists(folder / "checkpoint_000002.h5.tmp"));
  EXPECT_EQ(*checkpoints.latest(), checkpoints.path_of(1));
  save(checkpoints, 3);
  EXPECT_FALSE(std::filesystem::exists(folder / "checkpoint_000002.h5.tmp"));
  EXPECT_EQ(*checkpoints.latest(), checkpoints.path_of(3));
}

TEST_F(CheckpointFolderTest, AFailedSaveKeepsTheEarlierOnes) {
  const CheckpointFolder checkpoints(folder, 1);
  save(checkpoints, 1);
  EXPECT_THROW(checkpoints.save(2, [](CheckpointWriter&) { throw RunError("out of ideas"); }),
               RunError);
  EXPECT_EQ(checkpoints.steps(), std::vector<index_t>{1});
  EXPECT_NO_THROW(CheckpointReader(*checkpoints.latest()).verify());
  // A file where the folder should be.
  write_bytes(folder / "file", "x");
  const CheckpointFolder blocked(folder / "file", 1);
  contains(message_of<RunError>([&] { save(blocked, 1); }), "cannot make the folder");
}

}  // namespace
}  // namespace elastic::test
