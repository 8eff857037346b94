// SPDX-License-Identifier: Apache-2.0
// Files know which run they are of.
#include "run/folder/run_identity.hpp"

#include "unit_tests/io/io_support.hpp"

namespace elastic::test {
namespace {

const std::string one(32, '1'), two(32, '2');

class RunIdentityTest : public InFolder {};

TEST_F(RunIdentityTest, EveryRunHasAnIdOfItsOwn) {
  const std::string id = new_run_id();
  EXPECT_EQ(id.size(), 32u);
  EXPECT_EQ(id.find_first_not_of("0123456789abcdef"), std::string::npos);
  EXPECT_NE(id, new_run_id());
}

TEST_F(RunIdentityTest, IsKeptInTheFolder) {
  EXPECT_FALSE(read_run_identity(folder / "run.id"));
  write_run_identity(folder / "run.id", {.id = one});
  EXPECT_EQ(read_run_identity(folder / "run.id")->id, one);
  EXPECT_EQ(read_run_identity(folder / "run.id")->steps_without_id, -1);
  write_run_identity(folder / "run.id", {.id = one, .steps_without_id = 8});
  EXPECT_EQ(read_run_identity(folder / "run.id")->steps_without_id, 8);
  write_bytes(folder / "run.id", "id 12\n");
  contains(message_of<InputError>([&] { read_run_identity(folder / "run.id"); }), "run.id");
}

TEST_F(RunIdentityTest, IsKeptInFiles) {
  const auto write = [&](const char* name, const FileIdentity& identity) {
    CheckpointWriter file(folder / name);
    file.attribute("step", index_t(8));
    file.attribute("elastic", index_t(1));
    file.text("deck", "<job>");
    write_file_identity(file, identity);
    file.commit();
    return read_head(CheckpointReader(folder / name));
  };
  const CheckpointHead head = write("a.h5", {one, "0123456789abcdef"});
  EXPECT_EQ(head.identity.run_id, one);
  EXPECT_EQ(head.identity.parent_hash, "0123456789abcdef");
  EXPECT_EQ(head.step, 8);
  EXPECT_TRUE(head.elastic);
  EXPECT_EQ(head.deck, "<job>");
  EXPECT_EQ(write("b.h5", {one, ""}).identity.parent_hash, "");
  EXPECT_EQ(write("c.h5", {}).identity.run_id, "");
}

TEST_F(RunIdentityTest, AnotherRunIsRefusedWithBothIds) {
  const auto head = [](const std::string& id, index_t step) {
    CheckpointHead head;
    head.identity.run_id = id;
    head.step = step;
    return head;
  };
  EXPECT_NO_THROW(require_same_run({.id = one}, head(one, 8), "c.h5"));
  const auto message =
      message_of<InputError>([&] { require_same_run({.id = one}, head(two, 8), "c.h5"); });
  for (const auto& part : {std::string("c.h5"), one, two}) contains(message, part);
  contains(message_of<InputError>([&] { require_same_run({.id = one}, head("", 8), "c.h5"); }),
           one);
  // The run had no id until step 8.
  const RunIdentity given{.id = one, .steps_without_id = 8};
  EXPECT_NO_THROW(require_same_run(given, head("", 8), "c.h5"));
  EXPECT_THROW(require_same_run(given, head("", 9), "c.h5"), InputError);
  EXPECT_THROW(require_same_run(given, head(two, 8), "c.h5"), InputError);
}

}  // namespace
}  // namespace elastic::test
