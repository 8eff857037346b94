// SPDX-License-Identifier: Apache-2.0
// A new run never overwrites an earlier one, and never touches files of others.
#include "run/folder/run_folder.hpp"

#include "run/folder/run_identity.hpp"
#include "run/folder/run_lock.hpp"
#include "unit_tests/io/io_support.hpp"

namespace elastic::test {
namespace {
namespace fs = std::filesystem;

const std::string id(32, 'a');

class RunFolderTest : public InFolder {
 protected:
  RunFolder run() const { return {folder / "run"}; }
  /// Makes the folder as a run does that holds its lock meanwhile.
  static fs::path prepare(const RunFolder& run) {
    RunLock lock(run.root, false);
    return prepare_new_run(run, id, lock);
  }
  /// What a run leaves, with a mark of its own.
  void leave_a_run(const std::string& mark) const {
    write_bytes(run().deck(), mark);
    write_bytes(run().model(), mark);
  }
};

TEST_F(RunFolderTest, IsMadeWithARoomForSubmodels) {
  EXPECT_EQ(prepare(run()), "");
  EXPECT_TRUE(fs::is_directory(run().root / "submodels"));
  EXPECT_EQ(read_run_identity(run().id())->id, id);
  EXPECT_FALSE(fs::exists(run().root / "run.lock"));
  EXPECT_EQ(run().submodel("0.5"), run().root / "submodels" / "0.5.h5");
  EXPECT_EQ(prepare(RunFolder{folder / "deep" / "down"}), "");
  EXPECT_TRUE(fs::is_directory(folder / "deep" / "down" / "submodels"));
}

TEST_F(RunFolderTest, EarlierRunsMoveAside) {
  prepare(run());
  leave_a_run("first");
  EXPECT_EQ(prepare(run()), folder / "run.1");
  EXPECT_FALSE(fs::exists(run().deck()));
  leave_a_run("second");
  EXPECT_EQ(prepare(run()), folder / "run.2");
  EXPECT_EQ(bytes_of(folder / "run.1" / "model.h5"), "first");
  EXPECT_EQ(bytes_of(folder / "run.2" / "model.h5"), "second");
  EXPECT_TRUE(fs::is_empty(run().root / "submodels"));
}

TEST_F(RunFolderTest, AnEmptyFolderIsTaken) {
  fs::create_directories(run().root);
  EXPECT_EQ(prepare(run()), "");
  EXPECT_FALSE(fs::exists(folder / "run.1"));
}

TEST_F(RunFolderTest, AStartThatWasCutShortIsNoRun) {
  for (const char* left : {"run.lock", "run.lock.host.12", "run.id", "resolved.in.tmp"}) {
    fs::create_directories(run().root / "submodels");
    LockHolder ended = this_process();
    ended.process_start += 1;
    write_bytes(run().root / left, to_text(ended));
    EXPECT_EQ(prepare(run()), "") << left;
    EXPECT_FALSE(fs::exists(folder / "run.1")) << left;
    EXPECT_EQ(read_run_identity(run().id())->id, id);
  }
  write_bytes(run().history(), "step\n");  // of a run whose deck is gone
  EXPECT_EQ(prepare(run()), folder / "run.1");
}

TEST_F(RunFolderTest, WhatWasSavedLaterIsSetAside) {
  prepare(run());
  leave_a_run("end");
  for (const auto& file : {run().history(), run().router(), run().parent(), run().results(),
                           run().report(), run().submodel("0.5")})
    write_bytes(file, "end");
  fs::create_directories(run().checkpoints());
  const auto later = run().checkpoints() / "checkpoint_000009.h5";
  write_bytes(later, "nine");
  const auto first = abandon_later(run(), {later}, true);
  EXPECT_EQ(first, run().root / "abandoned" / "1");
  EXPECT_EQ(bytes_of(first / "checkpoint_000009.h5"), "nine");
  for (const char* file :
       {"history.csv", "router.csv", "model.h5", "results.json", "report.md", "submodels/0.5.h5"})
    EXPECT_EQ(bytes_of(first / file), "end") << file;
  for (const auto& file : {run().model(), run().results(), later, run().submodel("0.5")})
    EXPECT_FALSE(fs::exists(file)) << file;
  for (const auto& file : {run().history(), run().router(), run().parent(), run().deck()})
    EXPECT_TRUE(fs::exists(file)) << file;
  EXPECT_TRUE(fs::is_directory(run().submodels()));
  EXPECT_EQ(abandon_later(run(), {}, false), run().root / "abandoned" / "2");
  EXPECT_FALSE(fs::exists(run().parent())) << "of a ranking that is ahead again";
}

TEST_F(RunFolderTest, NothingToResumeWithoutAFolder) {
  contains(message_of<InputError>([&] { require_run_folder(run()); }), "no such folder");
  EXPECT_FALSE(fs::exists(run().root));
}

TEST_F(RunFolderTest, FilesOfOthersAreLeftAlone) {
  fs::create_directories(run().root);
  write_bytes(run().root / "thesis.txt", "precious");
  const auto message = message_of<InputError>([&] { prepare(run()); });
  contains(message, run().root.string());
  contains(message, "choose another job/folder");
  EXPECT_EQ(bytes_of(run().root / "thesis.txt"), "precious");
  EXPECT_FALSE(fs::exists(folder / "run.1"));
}

TEST_F(RunFolderTest, AFileInTheWayIsNamed) {
  write_bytes(folder / "file", "");
  const RunFolder below{folder / "file" / "run"};
  contains(message_of<RunError>([&] { prepare(below); }), below.root.string());
}

}  // namespace
}  // namespace elastic::test
