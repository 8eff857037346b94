// SPDX-License-Identifier: Apache-2.0
// A resumed run notices that its data are others than before.
#include "run/folder/data_files.hpp"

#include "unit_tests/io/io_support.hpp"

namespace elastic::test {
namespace {

class DataFilesTest : public InFolder {
 protected:
  std::string file(const char* name, const std::string& content) const {
    write_bytes(folder / name, content);
    return (folder / name).string();
  }
  static std::string lines(SourceKind source, const std::vector<std::string>& names) {
    DataConfig data;
    data.source = source;
    data.train = names;
    return data_files(data);
  }
};

TEST_F(DataFilesTest, EveryFileOfTheSourceIsNamed) {
  const auto a = file("a b.txt", "some text"), idx = file("c.idx", "1"), bin = file("c.bin", "22");
  const auto text = lines(SourceKind::text, {a});
  EXPECT_EQ(text.substr(0, 2), "9 ");
  contains(text, a + "\n");
  const auto indexed = lines(SourceKind::indexed, {(folder / "c").string()});
  contains(indexed, idx);
  contains(indexed, bin);
  EXPECT_EQ(lines(SourceKind::reasoning, {}), "");
  contains(message_of<InputError>([&] { lines(SourceKind::text, {"no.txt"}); }), "no.txt");
}

TEST_F(DataFilesTest, OtherContentsAreRefusedUnlessAccepted) {
  const std::string large(std::size_t(3) << 20, 'x');
  const auto a = file("a", large);
  const auto before = lines(SourceKind::text, {a});
  EXPECT_NO_THROW(check_data_files(before, before, "c.h5", false));
  for (const std::size_t place : {std::size_t(0), large.size() - 1}) {
    std::string other = large;
    other[place] = 'y';
    file("a", other);
    const auto now = lines(SourceKind::text, {a});
    const auto message =
        message_of<InputError>([&] { check_data_files(before, now, "c.h5", false); });
    for (const auto& part : {std::string("c.h5"), a, std::string("--accept-changes")})
      contains(message, part);
    EXPECT_NO_THROW(check_data_files(before, now, "c.h5", true));
  }
  file("a", large + "x");
  EXPECT_THROW(check_data_files(before, lines(SourceKind::text, {a}), "c.h5", false), InputError);
}

TEST_F(DataFilesTest, AMaskIsPartOfTheData) {
  file("c.idx", "1"), file("c.bin", "22"), file("d.idx", "3"), file("d.bin", "44");
  DataConfig data;
  data.source = SourceKind::indexed;
  data.train = {(folder / "c").string(), (folder / "d").string()};
  const auto without = data_files(data);
  const auto mask = file("c.mask", "10"), last = file("d.mask", "11");
  const auto with = data_files(data);
  contains(with, mask + "\n");
  EXPECT_NO_THROW(check_data_files(with, with, "c.h5", false));
  const auto message = [](const std::string& before, const std::string& now) {
    return message_of<InputError>([&] { check_data_files(before, now, "c.h5", false); });
  };
  for (const auto& name : {mask, last}) {
    contains(message(without, with), name + ": was not there, or ignored, before");
    contains(message(with, without), name + ": is not there, or ignored, now");
  }
  EXPECT_EQ(message(with, without).find(".bin"), std::string::npos);
  file("c.mask", "01");
  contains(message(with, data_files(data)), mask + ": 2 bytes with the hash");
  data.loss_mask = LossMask::ignored;
  EXPECT_EQ(data_files(data), without);
  std::filesystem::remove(mask);
  data.loss_mask = LossMask::required;
  contains(message_of<InputError>([&] { data_files(data); }), mask);
}

TEST_F(DataFilesTest, AFileThatMovedIsTheSame) {
  const auto before = lines(SourceKind::text, {file("a", "text")});
  EXPECT_NO_THROW(
      check_data_files(before, lines(SourceKind::text, {file("b", "text")}), "c.h5", false));
  EXPECT_NO_THROW(check_data_files("", before, "c.h5", false)) << "of an earlier version";
}

}  // namespace
}  // namespace elastic::test
