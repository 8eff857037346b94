// SPDX-License-Identifier: Apache-2.0
// What a verb may read and what it may write, whatever path leads there.
#include "verbs/verb_files.hpp"

#include <sys/stat.h>

#include "unit_tests/io/io_support.hpp"

namespace elastic::test {
namespace {
namespace fs = std::filesystem;

class VerbFiles : public InFolder {
 protected:
  void SetUp() override {
    InFolder::SetUp();
    write_bytes(folder / "a.h5", "bytes");
    write_bytes(folder / "old", "old");
  }
  std::string output_error(const fs::path& out, bool force = true) {
    return message_of<InputError>([&] {
      require_output_file(out, force, {{folder / "a.h5", "the checkpoint"}});
    });
  }
  std::string input_error(const fs::path& path) {
    return message_of<InputError>([&] { require_input_file({path, "the file"}, 100); });
  }
};

TEST_F(VerbFiles, Inputs) {
  EXPECT_NO_THROW(require_input_file({folder / "a.h5", "the file"}, 5));
  contains(message_of<InputError>([&] {
             require_input_file({folder / "a.h5", "the file"}, 4);
           }),
           "a.h5: the file has 5 bytes, expected at most 4");
  fs::create_symlink(folder / "a.h5", folder / "link");
  EXPECT_NO_THROW(require_input_file({folder / "link", "the file"}));
  contains(input_error(folder / "absent"), "absent: the file is not there");
  contains(input_error(folder), "is a folder, expected a regular file");
  contains(input_error("/dev/zero"), "/dev/zero: the file is a device, pipe or socket");
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  contains(input_error(folder / "pipe"), "is a device, pipe or socket");
  write_bytes(folder / "empty", "");
  contains(input_error(folder / "empty"), "the file is empty");
  contains(input_error(folder / "a.h5" / "below"), "below");
  contains(input_error(folder / std::string(300, 'x')), "cannot be used");
  fs::create_symlink("loop", folder / "loop");
  contains(input_error(folder / "loop"), "cannot be used");
}

TEST_F(VerbFiles, Outputs) {
  EXPECT_NO_THROW(require_output_file(folder / "new", false, {}));
  EXPECT_NO_THROW(require_output_file(folder / "old", true, {}));
  contains(output_error(folder / "old", false), "old: exists; choose another --out, or replace");
  contains(output_error(""), "expected a name");
  contains(output_error(folder / "none" / "new"), "does not exist");
  contains(output_error(folder / "a.h5" / "new"), "does not exist");
  contains(output_error(folder), "a folder, expected the name of a file");
  contains(output_error(folder / "trailing/"), "does not exist");
  contains(output_error("/dev/null"), "a device, pipe or socket");
  contains(output_error(folder / std::string(300, 'x')), "cannot be used");
  contains(output_error("/proc/self/new"), "/proc/self");
}

TEST_F(VerbFiles, AnOutputIsNoInput) {
  const auto itself = "is the checkpoint itself; choose another --out";
  contains(output_error(folder / "a.h5"), itself);
  contains(output_error(folder / "." / "a.h5"), itself);
  fs::create_directories(folder / "sub");
  contains(output_error(folder / "sub" / ".." / "a.h5"), itself);
  fs::create_symlink("a.h5", folder / "soft");
  contains(output_error(folder / "soft"), itself);
  fs::create_hard_link(folder / "a.h5", folder / "hard");
  contains(output_error(folder / "hard"), itself);
  fs::create_directory_symlink(folder, folder / "sub" / "up");
  contains(output_error(folder / "sub" / "up" / "a.h5"), itself);
  // The new version is written under a name of its own first.
  fs::create_hard_link(folder / "a.h5", folder / "out.tmp");
  contains(output_error(folder / "out"), "is written as");
  fs::create_symlink("/nowhere", folder / "next.tmp");
  contains(output_error(folder / "next"), "is in the way");
}

TEST_F(VerbFiles, Folders) {
  EXPECT_NO_THROW(require_output_folder(folder / "new"));
  EXPECT_NO_THROW(require_output_folder(folder / "new/"));
  fs::create_directories(folder / "empty");
  EXPECT_NO_THROW(require_output_folder(folder / "empty"));
  const auto error = [](const fs::path& out) {
    return message_of<InputError>([&] { require_output_folder(out); });
  };
  contains(error(folder), "exists; choose another --out");
  contains(error(folder / "old"), "exists; choose another --out");
  contains(error("/dev/null"), "exists; choose another --out");
  contains(error(folder / "none" / "new"), "does not exist");
  contains(error(""), "expected a name");
}

TEST_F(VerbFiles, FilesOfAFolder) {
  fs::create_directories(folder / "sub");
  fs::create_symlink("a.h5", folder / "link");
  EXPECT_EQ(files_of(folder, "a file").size(), 3u);
  EXPECT_TRUE(files_of(folder / "absent", "a file").empty());
}

}  // namespace
}  // namespace elastic::test
