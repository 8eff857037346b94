// SPDX-License-Identifier: Apache-2.0
// The teacher of a run is the one it began with, or comes back from its copy.
#include "run/folder/parent_copy.hpp"

#include <vector>

#include "io/checkpoint_file.hpp"
#include "io/sealed_file.hpp"
#include "unit_tests/io/io_support.hpp"

namespace elastic::test {
namespace {
namespace fs = std::filesystem;

class ParentCopyTest : public InFolder {
 protected:
  void SetUp() override {
    InFolder::SetUp();
    run.root = folder / "run";
    fs::create_directories(run.root);
    write(run.parent(), 1);
    hash = keep_parent_copy(run);
    copy = parent_copy(run, hash);
    whole = bytes_of(run.parent());
  }
  /// A file whose numbers begin with `first`.
  static void write(const fs::path& path, float first) {
    CheckpointWriter file(path);
    std::vector<float> values(3000);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = first + static_cast<float>(i);
    file.vector("model/x", values.data(), 3000);
    file.commit();
  }
  static void flip(const fs::path& path, double place) {
    std::string bytes = bytes_of(path);
    bytes[static_cast<std::size_t>(place * static_cast<double>(bytes.size() - 1))] ^= 1;
    write_bytes(path, bytes);
  }
  void require() const { require_parent(Communicator::self(), run, hash); }

  RunFolder run;
  std::string hash, whole;
  fs::path copy;
};

TEST_F(ParentCopyTest, IsTheSameFileUnderTheNameOfItsHash) {
  EXPECT_EQ(hash, seal_hash(run.parent()));
  EXPECT_EQ(copy, run.checkpoints() / ("parent_" + hash + ".copy"));
  EXPECT_EQ(bytes_of(copy), whole);
  EXPECT_NO_THROW(CheckpointReader(copy).verify());
  require();
  EXPECT_FALSE(fs::exists(run.abandoned()));
}

TEST_F(ParentCopyTest, AnyDamageOfTheParentIsRepaired) {
  int number = 0;
  for (const double place : {0.0, 0.01, 0.3, 0.7, 0.99, 1.0}) {
    flip(run.parent(), place);
    const std::string damaged = bytes_of(run.parent());
    require();
    EXPECT_EQ(bytes_of(run.parent()), whole) << place;
    EXPECT_EQ(bytes_of(run.abandoned() / std::to_string(++number) / "parent.h5"), damaged);
  }
  EXPECT_EQ(bytes_of(copy), whole) << "damage of one is not damage of the other";
}

TEST_F(ParentCopyTest, AMissingAnEmptyAndAForeignParentAreReplaced) {
  fs::remove(run.parent());
  require();
  EXPECT_EQ(bytes_of(run.parent()), whole);
  write_bytes(run.parent(), "");
  require();
  EXPECT_EQ(bytes_of(run.parent()), whole);
  write(run.parent(), 2);
  require();
  EXPECT_EQ(bytes_of(run.parent()), whole);
}

TEST_F(ParentCopyTest, WithoutAGoodOneBothAreNamed) {
  flip(run.parent(), 0.5);
  flip(copy, 0.5);
  const auto message = message_of<InputError>([&] { require(); });
  for (const auto& part : {run.parent().string(), copy.string(), std::string("--from")})
    contains(message, part);
  fs::remove(copy);
  write(run.parent(), 2);
  const auto foreign = message_of<InputError>([&] { require(); });
  for (const auto& part : {hash, seal_hash(run.parent()), std::string("is missing")})
    contains(foreign, part);
  EXPECT_FALSE(fs::exists(run.abandoned())) << "nothing was touched";
}

TEST_F(ParentCopyTest, ADamagedParentIsNotCopied) {
  flip(run.parent(), 0.5);
  fs::remove(copy);
  EXPECT_THROW(keep_parent_copy(run), InputError);
  EXPECT_TRUE(fs::is_empty(run.checkpoints()));
}

}  // namespace
}  // namespace elastic::test
