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
