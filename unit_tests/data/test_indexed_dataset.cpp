// SPDX-License-Identifier: Apache-2.0
// Megatron's .bin/.idx files: golden bytes, every element type, and every way to be wrong.
#include "data/indexed_dataset.hpp"

#include <cstring>

#include "unit_tests/data/data_support.hpp"

namespace elastic::test {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

template <class T>
std::string bytes(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}
template <class T>
std::string bytes(T value) {
  return bytes(std::vector<T>{value});
}

/// The parts of an index file, each free to be wrong.
struct Index {
  std::string magic = std::string("MMIDIDX\0\0", 9);
  std::uint64_t version = 1;
  std::uint8_t dtype = 4;
  std::vector<std::int32_t> lengths = {3, 2, 0, 4};
  std::vector<std::int64_t> offsets = {0, 12, 20, 20};
  std::vector<std::int64_t> documents = {0, 2, 2, 4};  // 5, 0 and 4 tokens
  std::string modes;
  std::uint64_t sequences = 4, document_indices = 4;

  std::string text() const {
    return magic + bytes(version) + bytes(dtype) + bytes(sequences) + bytes(document_indices) +
           bytes(lengths) + bytes(offsets) + bytes(documents) + modes;
  }
};
const std::vector<std::int32_t> ids = {10, 11, 12, 13, 14, 15, 16, 17, 18};

class IndexedDatasetTest : public testing::Test {
 protected:
  std::string prefix() const { return m_folder.path("data"); }
  void write(const Index& index, const std::string& bin = bytes(ids)) const {
    m_folder.write("data.idx", index.text());
    m_folder.write("data.bin", bin);
  }
  /// The error of opening the files; must name the index file.
  std::string refusal(const Index& index, const std::string& bin = bytes(ids)) const {
    write(index, bin);
    const auto message = input_error([&] { IndexedDataset(prefix(), 100); });
    EXPECT_THAT(message, HasSubstr(prefix() + ".idx"));
    return message;
  }
  std::vector<token_t> document(const IndexedDataset& dataset, index_t d) const {
    std::vector<token_t> result(static_cast<std::size_t>(dataset.document_length(d)));
    dataset.read(d, 0, result);
    return result;
  }

  TemporaryFolder m_folder;
};

TEST_F(IndexedDatasetTest, ReadsDocumentsOfSeveralSequences) {
  write({});
  const IndexedDataset dataset(prefix(), 100);
  EXPECT_EQ(dataset.num_documents(), 3);
  EXPECT_EQ(dataset.num_tokens(), 9);
  EXPECT_THAT(document(dataset, 0), ElementsAre(10, 11, 12, 13, 14));
  EXPECT_THAT(document(dataset, 1), ElementsAre());
  EXPECT_THAT(document(dataset, 2), ElementsAre(15, 16, 17, 18));
  for (index_t begin = 0; begin <= 5; ++begin)
    for (index_t count = 0; begin + count <= 5; ++count) {
      std::vector<token_t> out(static_cast<std::size_t>(count));
      dataset.read(0, begin, out);
      for (index_t i = 0; i < count; ++i)
        EXPECT_EQ(out[static_cast<std::size_t>(i)], 10 + begin + i);
    }
  std::vector<token_t> out(3);
  EXPECT_THROW(dataset.read(0, 3, out), ContractError);
  EXPECT_THROW(dataset.read(3, 0, out), ContractError);
}

TEST_F(IndexedDatasetTest, SequencesMayLieInAnyOrderInTheFile) {
  Index index;
  index.offsets = {24, 16, 0, 0};
  write(index);
  const IndexedDataset dataset(prefix(), 100);
  EXPECT_THAT(document(dataset, 0), ElementsAre(16, 17, 18, 14, 15));
  EXPECT_THAT(document(dataset, 2), ElementsAre(10, 11, 12, 13));
}

TEST_F(IndexedDatasetTest, EmptySequencesInsideADocumentAreSkipped) {
  Index index;
  index.lengths = {5, 0, 0, 4};
  index.offsets = {0, 0, 4, 20};  // where an empty sequence lies does not matter
  index.documents = {0, 0, 4, 4};
  write(index);
  const IndexedDataset dataset(prefix(), 100);
  EXPECT_THAT(document(dataset, 1), ElementsAre(10, 11, 12, 13, 14, 15, 16, 17, 18));
  EXPECT_EQ(dataset.document_length(0) + dataset.document_length(2), 0);
}

TEST_F(IndexedDatasetTest, EveryIntegerType) {
  const auto check = [&](std::uint8_t dtype, std::int64_t item, const std::string& bin) {
    Index index;
    index.dtype = dtype;
    index.offsets = {0, 3 * item, 5 * item, 5 * item};
    write(index, bin);
    const IndexedDataset dataset(prefix(), 100);
    EXPECT_THAT(document(dataset, 2), ElementsAre(15, 16, 17, 18)) << "dtype " << int(dtype);
  };
  check(1, 1, bytes(std::vector<std::uint8_t>(ids.begin(), ids.end())));
  check(2, 1, bytes(std::vector<std::int8_t>(ids.begin(), ids.end())));
  check(3, 2, bytes(std::vector<std::int16_t>(ids.begin(), ids.end())));
  check(4, 4, bytes(ids));
  check(5, 8, bytes(std::vector<std::int64_t>(ids.begin(), ids.end())));
  check(8, 2, bytes(std::vector<std::uint16_t>(ids.begin(), ids.end())));
}

TEST_F(IndexedDatasetTest, WriterGivesTheBytesOfTheFormat) {
  const std::vector<std::vector<token_t>> documents = {{10, 11, 12}, {}, {13}};
  for (const bool small : {true, false}) {
    write_indexed_dataset(prefix(), small ? 65499 : 65500, documents);
    Index expected;
    expected.dtype = small ? 8 : 4;
    expected.lengths = {3, 0, 1};
    expected.offsets = {0, small ? 6 : 12, small ? 6 : 12};
    expected.documents = {0, 1, 2, 3};
    expected.sequences = 3;
    const auto content = [](const std::string& path) {
      std::ifstream file(path, std::ios::binary);
      return std::string(std::istreambuf_iterator<char>(file), {});
    };
    EXPECT_EQ(content(prefix() + ".idx"), expected.text());
    EXPECT_EQ(content(prefix() + ".bin"), small ? bytes(std::vector<std::uint16_t>{10, 11, 12, 13})
                                                : bytes(std::vector<std::int32_t>{10, 11, 12, 13}));
    const IndexedDataset dataset(prefix(), 100);
    for (index_t d = 0; d < 3; ++d)
      EXPECT_EQ(document(dataset, d), documents[static_cast<std::size_t>(d)]);
  }
  EXPECT_THROW(write_indexed_dataset(prefix(), 13, documents), InputError);
  EXPECT_THROW(write_indexed_dataset(m_folder.path("absent/data"), 100, documents), RunError);
}

TEST_F(IndexedDatasetTest, AnEmptyDatasetHasNoDocuments) {
  write_indexed_dataset(prefix(), 100, {});
  const IndexedDataset dataset(prefix(), 100);
  EXPECT_EQ(dataset.num_documents(), 0);
  EXPECT_EQ(dataset.num_tokens(), 0);
}

TEST_F(IndexedDatasetTest, RefusesMissingFiles) {
  EXPECT_THAT(input_error([&] { IndexedDataset(prefix(), 100); }),
              HasSubstr(prefix() + ".idx: cannot be opened"));
  m_folder.write("data.idx", Index().text());
  EXPECT_THAT(input_error([&] { IndexedDataset(prefix(), 100); }),
              HasSubstr(prefix() + ".bin: cannot be opened"));
}

TEST_F(IndexedDatasetTest, RefusesAWrongHeader) {
  Index index;
  index.magic[0] = 'X';
  EXPECT_THAT(refusal(index), HasSubstr("does not start with \"MMIDIDX\""));
  index = {};
  index.version = 2;
  EXPECT_THAT(refusal(index), HasSubstr("version 2; expected 1"));
  for (const int dtype : {6, 7}) {
    index = {};
    index.dtype = static_cast<std::uint8_t>(dtype);
    EXPECT_THAT(refusal(index), HasSubstr(fmt::format("dtype code {} (floating point)", dtype)));
  }
  for (const int dtype : {0, 9, 255}) {
    index.dtype = static_cast<std::uint8_t>(dtype);
    EXPECT_THAT(refusal(index), HasSubstr(fmt::format("dtype code {}; expected integers", dtype)));
  }
}

TEST_F(IndexedDatasetTest, RefusesEveryTruncationAndExtension) {
  const std::string whole = Index().text();
  m_folder.write("data.bin", bytes(ids));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    m_folder.write("data.idx", whole.substr(0, size));
    EXPECT_THROW(IndexedDataset(prefix(), 100), InputError) << size << " bytes";
  }
  m_folder.write("data.idx", whole + "x");
  EXPECT_THAT(input_error([&] { IndexedDataset(prefix(), 100); }),
              HasSubstr("1 bytes after the last index; expected none"));
  Index multimodal;
  multimodal.modes = std::string(4, '\0');
  EXPECT_THAT(refusal(multimodal), HasSubstr("modes of a multimodal dataset"));
}

/// Counts whose products with 12 and 8 overflow 64 bits to something that looks right.
TEST_F(IndexedDatasetTest, RefusesCountsThatDoNotFit) {
  for (const std::uint64_t count : {std::uint64_t{5}, std::uint64_t{1} << 62,
                                    (std::uint64_t{1} << 62) + 4, ~std::uint64_t{0}}) {
    Index index;
    index.sequences = count;
    EXPECT_THAT(refusal(index), HasSubstr(fmt::format("{} sequences", count)));
    index = {};
    index.document_indices = count;
    EXPECT_THAT(refusal(index), HasSubstr(fmt::format("{} document indices", count)));
  }
  Index index;
  index.document_indices = (std::uint64_t{1} << 61) + 4;  // times 8 is 32 again
  EXPECT_THAT(refusal(index), HasSubstr("do not fit"));
  index = {};
  index.documents.clear();
  index.document_indices = 0;
  EXPECT_THAT(refusal(index), HasSubstr("no document index"));
}

TEST_F(IndexedDatasetTest, RefusesWrongSequences) {
  Index index;
  index.lengths[1] = -1;
  EXPECT_THAT(refusal(index), HasSubstr("sequence 1 has length -1"));
  index = {};
  index.lengths[3] = 5;
  EXPECT_THAT(refusal(index), AllOf(HasSubstr("sequence 3: 5 tokens of 4 bytes from byte 20"),
                                    HasSubstr("has only 36 bytes")));
  EXPECT_THAT(refusal({}, bytes(ids).substr(0, 35)), HasSubstr("sequence 3"));
  for (const std::int64_t offset :
       {std::int64_t{-4}, std::int64_t{24}, std::numeric_limits<std::int64_t>::max(),
        std::numeric_limits<std::int64_t>::min()}) {
    index = {};
    index.offsets[3] = offset;
    EXPECT_THAT(refusal(index), HasSubstr(fmt::format("from byte {} on", offset)));
  }
  index = {};
  index.offsets[2] = 37;  // an empty sequence must lie inside as well
  EXPECT_THAT(refusal(index), HasSubstr("sequence 2"));
  index = {};
  index.lengths = {9, 9, 9, 9};  // many tokens on few bytes
  index.offsets = {0, 0, 0, 0};
  EXPECT_THAT(refusal(index), HasSubstr("expected no overlap"));
}

TEST_F(IndexedDatasetTest, RefusesWrongDocuments) {
  Index index;
  index.documents[0] = 1;
  EXPECT_THAT(refusal(index), HasSubstr("document 0 starts at sequence 1"));
  index.documents[0] = -1;
  EXPECT_THAT(refusal(index), HasSubstr("document 0 starts at sequence -1"));
  index = {};
  index.documents = {0, 3, 2, 4};
  EXPECT_THAT(refusal(index), HasSubstr("document index 2 is 2, less than the 3 before it"));
  index.documents = {0, 5, 5, 4};
  EXPECT_THAT(refusal(index), HasSubstr("document index 1 is 5; expected at most the 4 sequences"));
  index.documents = {0, -2, 2, 4};
  EXPECT_THAT(refusal(index), HasSubstr("document index 1 is -2"));
  index.documents = {0, 2, 2, 3};
  EXPECT_THAT(refusal(index), HasSubstr("the last document ends at sequence 3; expected all 4"));
}

TEST_F(IndexedDatasetTest, RefusesIdsOutsideTheVocabulary) {
  const auto message = [&](const std::string& bin, index_t vocab_size) {
    write({}, bin);
    const IndexedDataset dataset(prefix(), vocab_size);
    return input_error([&] { document(dataset, 2); });
  };
  EXPECT_THAT(message(bytes(ids), 18),
              AllOf(HasSubstr(prefix() + ".bin"), HasSubstr("token 3 of document 2 is 18"),
                    HasSubstr("vocabulary [0, 18)")));
  auto negative = ids;
  negative[6] = -1;
  EXPECT_THAT(message(bytes(negative), 100), HasSubstr("token 1 of document 2 is -1"));
  // Before they are read: all of them, or of many those of some blocks.
  write({}, bytes(ids));
  EXPECT_NO_THROW(IndexedDataset(prefix(), 19).check_ids());
  const IndexedDataset narrow(prefix(), 18);
  EXPECT_THAT(input_error([&] { narrow.check_ids(); }),
              HasSubstr("token 3 of document 2 is 18; expected an id of the vocabulary [0, 18)"));
  EXPECT_NO_THROW(narrow.check_ids({.rank = 1, .size = 2}));  // rank 0 has the only block
  write({});
  EXPECT_THROW(IndexedDataset(prefix(), 0), InputError);
  // An i64 id must not be cut to 32 bits before it is checked.
  Index index;
  index.dtype = 5;
  index.offsets = {0, 24, 40, 40};
  std::vector<std::int64_t> wide(ids.begin(), ids.end());
  wide[0] = (std::int64_t{1} << 32) + 5;
  write(index, bytes(wide));
  const IndexedDataset dataset(prefix(), 100);
  EXPECT_THROW(document(dataset, 0), InputError);
}

TEST_F(IndexedDatasetTest, ManyIdsAreLookedAtInBlocks) {
  std::vector<std::vector<token_t>> documents(40, std::vector<token_t>(10000, 7));
  documents[13][6000] = 90;  // token 136,000 of 400,000: in block 2 of 65,536
  write_indexed_dataset(prefix(), 100, documents);
  const IndexedDataset dataset(prefix(), 90);
  EXPECT_THAT(input_error([&] { dataset.check_ids(); }),
              HasSubstr("token 6000 of document 13 is 90"));
  EXPECT_NO_THROW(dataset.check_ids({.rank = 1, .size = 2}));  // blocks 1, 3 and 5
  EXPECT_THROW(dataset.check_ids({.rank = 2, .size = 3}), InputError);
  EXPECT_THROW(dataset.check_ids({}, 200000), InputError);  // blocks 0, 2, 4, 6
  EXPECT_NO_THROW(dataset.check_ids({}, 130000));           // blocks 0, 3, 6
}

}  // namespace
}  // namespace elastic::test
