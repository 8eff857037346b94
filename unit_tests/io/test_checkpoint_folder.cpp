// SPDX-License-Identifier: Apache-2.0
// Folders of checkpoints: names, rotation, leftovers of interrupted saves.
#include "io/checkpoint_folder.hpp"

#include <csignal>
#include <sys/wait.h>

#include "io/checkpoint_file.hpp"
#include "unit_tests/io/io_support.hpp"

namespace elastic::test {
namespace {

class CheckpointFolderTest : public InFolder {
 protected:
  static void save(const CheckpointFolder& checkpoints, index_t step) {
    checkpoints.prepare();
    CheckpointWriter writer(checkpoints.path_of(step));
    const std::vector<double> values(100, double(step));
    writer.vector("x", values.data(), 100);
    writer.attribute("step", step);
    writer.commit();
    checkpoints.rotate(step);
  }
  static std::filesystem::path newest(const CheckpointFolder& checkpoints) {
    return checkpoints.checkpoints().back().path;
  }
};

TEST_F(CheckpointFolderTest, StepsAreInTheirOrder) {
  const CheckpointFolder checkpoints(folder / "run" / "checkpoints", 0);
  EXPECT_TRUE(checkpoints.checkpoints().empty());
  for (const index_t step : {5, 1000000, 20}) save(checkpoints, step);
  EXPECT_EQ(checkpoints.steps(), (std::vector<index_t>{5, 20, 1000000}));
  EXPECT_EQ(checkpoints.path_of(20).filename(), "checkpoint_000020.h5");
  EXPECT_EQ(newest(checkpoints), checkpoints.path_of(1000000));
  EXPECT_EQ(CheckpointReader(newest(checkpoints)).attribute_as<index_t>("step"), 1000000);
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
  EXPECT_EQ(checkpoints.find(7)->path, folder / "checkpoint_7.h5");
  EXPECT_FALSE(checkpoints.find(8));
  save(checkpoints, 7);
  EXPECT_EQ(checkpoints.find(7)->path, checkpoints.path_of(7)) << "the one that was saved";
  EXPECT_EQ(newest(checkpoints), checkpoints.path_of(7));
  EXPECT_EQ(checkpoints.steps(), std::vector<index_t>{7});
  for (const index_t step : {8, 9}) save(checkpoints, step);
  EXPECT_FALSE(std::filesystem::exists(folder / "checkpoint_7.h5"));
  EXPECT_EQ(checkpoints.steps(), (std::vector<index_t>{8, 9}));
}

TEST_F(CheckpointFolderTest, AFolderThatCannotBeReadIsNotAnEmptyOne) {
  write_bytes(folder / "file", "x");
  const CheckpointFolder blocked(folder / "file", 1);
  contains(message_of<RunError>([&] { blocked.find(1); }), "file: cannot read the folder: ");
  contains(message_of<RunError>([&] { blocked.steps(); }), "file: cannot read the folder: ");
}

// Those belong to a course that was left when the run went back to an older one.
TEST_F(CheckpointFolderTest, NewerOnesPushNothingOut) {
  const CheckpointFolder checkpoints(folder, 1);
  save(checkpoints, 20);
  save(CheckpointFolder(folder, 0), 30);
  save(checkpoints, 25);
  EXPECT_EQ(checkpoints.steps(), (std::vector<index_t>{25, 30}));
}

TEST_F(CheckpointFolderTest, TemporariesAndForeignNamesAreNoCheckpoints) {
  const CheckpointFolder checkpoints(folder, 1);
  save(checkpoints, 3);
  std::filesystem::copy_file(checkpoints.path_of(3), folder / "checkpoint_000009.h5.tmp");
  for (const char* name :
       {"checkpoint_.h5", "checkpoint_12x.h5", "checkpoint_-00004.h5", "notes.tmp", "other.h5"})
    write_bytes(folder / name, "x");
  EXPECT_EQ(checkpoints.steps(), std::vector<index_t>{3});
  EXPECT_EQ(newest(checkpoints), checkpoints.path_of(3));
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
      checkpoints.prepare();
      CheckpointWriter writer(checkpoints.path_of(2));
      const std::vector<double> values(100000, 1.0);
      writer.vector("x", values.data(), 100000);
      raise(SIGKILL);
    } catch (...) {
    }
    _exit(1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_TRUE(std::filesystem::exists(folder / "checkpoint_000002.h5.tmp"));
  EXPECT_EQ(newest(checkpoints), checkpoints.path_of(1));
  save(checkpoints, 3);
  EXPECT_FALSE(std::filesystem::exists(folder / "checkpoint_000002.h5.tmp"));
  EXPECT_EQ(newest(checkpoints), checkpoints.path_of(3));
}

TEST_F(CheckpointFolderTest, AFailedSaveKeepsTheEarlierOnes) {
  const CheckpointFolder checkpoints(folder, 1);
  save(checkpoints, 1);
  { CheckpointWriter given_up(checkpoints.path_of(2)); }
  checkpoints.rotate(2);
  EXPECT_EQ(checkpoints.steps(), std::vector<index_t>{1});
  EXPECT_NO_THROW(CheckpointReader(newest(checkpoints)).verify());
  // A file where the folder should be.
  write_bytes(folder / "file", "x");
  const CheckpointFolder blocked(folder / "file", 1);
  contains(message_of<RunError>([&] { save(blocked, 1); }), "cannot make the folder");
}

}  // namespace
}  // namespace elastic::test
