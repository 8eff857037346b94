// SPDX-License-Identifier: Apache-2.0
// A new run never overwrites an earlier one, and never touches files of others.
#include "run/run_folder.hpp"

#include "unit_tests/io/io_support.hpp"

namespace elastic::test {
namespace {
namespace fs = std::filesystem;

class RunFolderTest : public InFolder {
 protected:
  RunFolder run() const { return {folder / "run"}; }
  /// What a run leaves, with a mark of its own.
  void leave_a_run(const std::string& mark) const {
    write_bytes(run().deck(), mark);
    write_bytes(run().model(), mark);
  }
};

TEST_F(RunFolderTest, IsMadeWithARoomForSubmodels) {
  EXPECT_EQ(prepare_new_run(run()), "");
  EXPECT_TRUE(fs::is_directory(run().root / "submodels"));
  EXPECT_EQ(run().submodel("0.5"), run().root / "submodels" / "0.5.h5");
  EXPECT_EQ(prepare_new_run(RunFolder{folder / "deep" / "down"}), "");
  EXPECT_TRUE(fs::is_directory(folder / "deep" / "down" / "submodels"));
}

TEST_F(RunFolderTest, EarlierRunsMoveAside) {
  prepare_new_run(run());
  leave_a_run("first");
  EXPECT_EQ(prepare_new_run(run()), folder / "run.1");
  EXPECT_FALSE(fs::exists(run().deck()));
  leave_a_run("second");
  EXPECT_EQ(prepare_new_run(run()), folder / "run.2");
  EXPECT_EQ(bytes_of(folder / "run.1" / "model.h5"), "first");
  EXPECT_EQ(bytes_of(folder / "run.2" / "model.h5"), "second");
  EXPECT_TRUE(fs::is_empty(run().root / "submodels"));
}

TEST_F(RunFolderTest, AnEmptyFolderIsTaken) {
  fs::create_directories(run().root);
  EXPECT_EQ(prepare_new_run(run()), "");
  EXPECT_FALSE(fs::exists(folder / "run.1"));
}

TEST_F(RunFolderTest, FilesOfOthersAreLeftAlone) {
  fs::create_directories(run().root);
  write_bytes(run().root / "thesis.txt", "precious");
  const auto message = message_of<InputError>([&] { prepare_new_run(run()); });
  contains(message, run().root.string());
  contains(message, "choose another job/folder");
  EXPECT_EQ(bytes_of(run().root / "thesis.txt"), "precious");
  EXPECT_FALSE(fs::exists(folder / "run.1"));
}

TEST_F(RunFolderTest, AFileInTheWayIsNamed) {
  write_bytes(folder / "file", "");
  const RunFolder below{folder / "file" / "run"};
  contains(message_of<RunError>([&] { prepare_new_run(below); }), below.root.string());
}

}  // namespace
}  // namespace elastic::test
