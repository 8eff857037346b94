// SPDX-License-Identifier: Apache-2.0
// Checkpoints: round trips, expectations, and damage of every kind.
#include "io/checkpoint_file.hpp"

#include <hdf5.h>

#include <chrono>
#include <csignal>
#include <sys/resource.h>
#include <thread>

#include "base/random.hpp"
#include "io/checkpoint_views.hpp"
#include "io/sealed_file.hpp"
#include "unit_tests/io/io_support.hpp"
#include "unit_tests/support/source_folder.hpp"

namespace elastic::test {
namespace {

template <class T>
std::vector<T> noise(index_t n, std::uint64_t stream) {
  std::vector<T> values(static_cast<std::size_t>(n));
  for (index_t i = 0; i < n; ++i)
    values[i] =
        static_cast<T>(1e3 * random_normal({5, RandomPurpose::test, stream}, std::uint64_t(i)));
  return values;
}

class CheckpointFileTest : public InFolder {
 protected:
  const std::vector<float> w = noise<float>(15 * 8, 1);
  const std::vector<double> m = noise<double>(33, 2);
  const std::vector<index_t> order = {3, 0, 2, 1};

  void fill(CheckpointWriter& writer) const {
    writer.tensor("model/layers.0.mlp.up", w.data(), 15, 8, StorageType::float32,
                  {{"axes", "F D"}});
    writer.tensor("model/half", w.data(), 8, 15, StorageType::bfloat16);
    writer.vector("optimizer/m", m.data(), 33);
    writer.vector("ranking/order", order.data(), 4);
    writer.text("deck", "<job>\nname = test\n");
    writer.attribute("step", 100);
    writer.attribute("tau", 0.1);
    writer.attribute("phase", "elastic");
  }
  std::filesystem::path save(const char* name) const {
    CheckpointWriter writer(folder / name);
    fill(writer);
    writer.commit();
    return folder / name;
  }
};

TEST_F(CheckpointFileTest, EverythingComesBack) {
  const CheckpointReader reader(save("a.h5"));
  ASSERT_EQ(reader.tensors().size(), 4u);
  EXPECT_EQ(reader.read<float>("model/layers.0.mlp.up"), w);
  EXPECT_EQ(reader.read<double>("optimizer/m"), m);
  EXPECT_EQ(reader.read<index_t>("ranking/order"), order);
  const auto half = reader.read<float>("model/half");
  for (std::size_t i = 0; i < w.size(); ++i)
    EXPECT_EQ(half[i], float_from_bfloat16(bfloat16_bits(w[i])));
  EXPECT_EQ(reader.read<double>("model/half")[7], double(half[7]));

  const TensorInfo& up = reader.info("model/layers.0.mlp.up");
  EXPECT_EQ(up.extents, Extents::matrix(15, 8));
  EXPECT_EQ(up.attributes, (Attributes{{"axes", "F D"}}));
  EXPECT_EQ(reader.text("deck"), "<job>\nname = test\n");
  EXPECT_EQ(reader.texts(), std::vector<std::string>{"deck"});
  EXPECT_FALSE(reader.has_text("other"));
  EXPECT_EQ(reader.attribute_as<index_t>("step"), 100);
  EXPECT_EQ(reader.attribute_as<double>("tau"), 0.1);
  EXPECT_EQ(reader.attribute_as<std::string>("phase"), "elastic");
  EXPECT_EQ(reader.attributes().size(), 3u);
  EXPECT_THROW(reader.attribute_as<double>("step"), InputError);
  EXPECT_NO_THROW(reader.verify());
  EXPECT_FALSE(std::filesystem::exists(folder / "a.h5.tmp"));
}

TEST_F(CheckpointFileTest, BlocksAreConvertedToo) {
  const CheckpointReader reader(save("a.h5"));
  std::vector<double> block(2 * 3);
  reader.read_block("model/half", Range(0, 2), Range(0, 3), block.data());
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 3; ++j)
      EXPECT_EQ(block[i * 3 + j], float_from_bfloat16(bfloat16_bits(w[i * 15 + j])));
}

// 3 MiB per row, so two rows per block, and blocks that are cut off at the end of the tensor.
TEST_F(CheckpointFileTest, TensorsOfManyBlocks) {
  const index_t rows = 7, columns = 3 << 18;
  std::vector<float> values(static_cast<std::size_t>(rows * columns));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 1021);
  {
    CheckpointWriter writer(folder / "whole.h5");
    writer.tensor("w", values.data(), rows, columns);
    writer.tensor("half", values.data(), rows, columns, StorageType::bfloat16);
    writer.vector("v", values.data(), rows * columns);
    writer.commit();
  }
  const Seal seal = read_seal(folder / "whole.h5");
  std::vector<index_t> first_rows;
  for (const auto& segment : seal.segments)
    if (segment.name == "w") first_rows.push_back(segment.first_row);
  EXPECT_EQ(first_rows, (std::vector<index_t>{0, 2, 4, 6}));
  const CheckpointReader reader(folder / "whole.h5");
  EXPECT_NO_THROW(reader.verify());
  for (const char* name : {"w", "v", "half"}) {
    const auto read = reader.read<float>(name);
    ASSERT_EQ(read.size(), values.size());
    for (std::size_t i = 0; i < read.size(); i += 997)
      ASSERT_EQ(read[i], name == std::string("half") ? widen(bfloat16(values[i])) : values[i]) << i;
  }
  std::vector<double> part(3 * 2);
  reader.read_block("w", Range(1, 4), Range(5, 7), part.data());
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 2; ++j) EXPECT_EQ(part[2 * i + j], values[(1 + i) * columns + 5 + j]);

  // Rows that come in other pieces, blocks that other writers write, in any order: one file.
  CheckpointWriter writer(folder / "pieces.h5");
  const Placement w = writer.place("w", Extents::matrix(rows, columns), StorageType::float32);
  for (const Range piece : {Range(0, 1), Range(1, 1), Range(1, 4), Range(4, 7)})
    writer.write_rows(w, piece, values.data() + piece.first * columns);
  writer.tensor("half", values.data(), rows, columns, StorageType::bfloat16);
  const Placement v = writer.place("v", Extents::vector(rows * columns), StorageType::float32);
  ASSERT_EQ(v.num_blocks(), 3);
  for (const index_t block : {2, 0, 1}) {
    BlockWriter other(writer.temporary(), BlockWriter::Mode::join);
    const std::uint64_t hash =
        other.write(v.offset_of(block), values.data() + v.rows_of(block).first, v.bytes_of(block));
    other.sync_and_verify();
    writer.add_hashes(v, block, {&hash, 1});
  }
  writer.finish_structure();
  std::exception_ptr failure;
  std::thread([&] {
    try {
      writer.commit();
    } catch (...) {
      failure = std::current_exception();
    }
  }).join();
  EXPECT_FALSE(failure);
  EXPECT_EQ(bytes_of(folder / "whole.h5"), bytes_of(folder / "pieces.h5"));
}

TEST_F(CheckpointFileTest, PlacedTensorsMustBeWhole) {
  CheckpointWriter writer(folder / "a.h5");
  const Placement place = writer.place("w", Extents::matrix(4, 2), StorageType::float64);
  EXPECT_THROW(writer.write_rows(place, {1, 2}, m.data()), ContractError);
  EXPECT_THROW(writer.write_rows(place, {0, 5}, m.data()), ContractError);
  writer.write_rows(place, {0, 2}, m.data());
  const std::uint64_t hash = 0;
  EXPECT_THROW(writer.add_hashes(place, 1, {&hash, 1}), ContractError);
  EXPECT_THROW(writer.add_hashes({.name = "v", .extents = {}}, 0, {&hash, 1}), ContractError);
  EXPECT_THROW(writer.commit(), ContractError);
}

TEST_F(CheckpointFileTest, EmptyTensorsComeBack) {
  {
    CheckpointWriter writer(folder / "a.h5");
    writer.tensor("none", w.data(), 0, 7);
    writer.tensor("nothing", w.data(), 7, 0, StorageType::bfloat16);
    writer.text("empty", "");
    writer.commit();
  }
  const CheckpointReader reader(folder / "a.h5");
  EXPECT_NO_THROW(reader.verify());
  EXPECT_EQ(reader.info("none").extents, Extents::matrix(0, 7));
  EXPECT_TRUE(reader.read<float>("none").empty());
  EXPECT_TRUE(reader.read<double>("nothing").empty());
  EXPECT_EQ(reader.text("empty"), "");
}

TEST_F(CheckpointFileTest, StoredValuesAreWidenedExactlyAndRoundedOnce) {
  std::vector<bfloat16> values;
  std::vector<float> widened;
  for (const float x : w) {
    values.push_back(bfloat16(x));
    widened.push_back(widen(values.back()));
  }
  {
    CheckpointWriter writer(folder / "a.h5");
    writer.tensor("own", values.data(), 15, 8);
    writer.tensor("wide", values.data(), 15, 8, StorageType::float32);
    writer.tensor("full", w.data(), 15, 8);
    writer.tensor("double", m.data(), 3, 11);
    writer.commit();
  }
  const CheckpointReader reader(folder / "a.h5");
  EXPECT_EQ(reader.info("own").type, StorageType::bfloat16);
  EXPECT_EQ(reader.info("wide").type, StorageType::float32);
  for (const char* name : {"own", "wide"}) EXPECT_EQ(reader.read<float>(name), widened) << name;
  for (const char* name : {"own", "wide", "full"}) {
    EXPECT_EQ(reader.read<bfloat16>(name), values) << name;
    std::vector<bfloat16> block(2 * 3);
    reader.read_block(name, Range(1, 3), Range(2, 5), block.data());
    EXPECT_EQ(block[4], values[2 * 8 + 3]) << name;
  }
  for (int i = 0; i < 33; ++i)
    EXPECT_EQ(reader.read<bfloat16>("double")[i], bfloat16(static_cast<float>(m[i])));
}

TEST_F(CheckpointFileTest, ViewsOfStoredValues) {
  const View2<bfloat16> parent("elastic::test", 4, 6), back("elastic::test", 3, 9);
  const auto h_parent = Kokkos::create_mirror_view(parent);
  for (index_t i = 0; i < 4; ++i)
    for (index_t j = 0; j < 6; ++j) h_parent(i, j) = bfloat16(10 * i + j);
  Kokkos::deep_copy(parent, h_parent);
  {
    CheckpointWriter writer(folder / "a.h5");
    write_view(writer, "p", prefix(parent, 3, 5));
    write_view(writer, "row", View1<bfloat16>(Kokkos::subview(parent, 2, Kokkos::ALL)),
               StorageType::float32);
    writer.commit();
  }
  const CheckpointReader reader(folder / "a.h5");
  EXPECT_EQ(reader.info("p").type, StorageType::bfloat16);
  read_view(reader, "p", prefix(back, 3, 5));
  const auto h_back = Kokkos::create_mirror_view_and_copy(HostSpace(), back);
  EXPECT_EQ(h_back(2, 4), bfloat16(24));
  EXPECT_EQ(h_back(2, 5), bfloat16(0)) << "beyond the prefix";
  const View1<bfloat16> row("elastic::test", 6);
  read_view(reader, "row", row);
  EXPECT_EQ(Kokkos::create_mirror_view_and_copy(HostSpace(), row)(5), bfloat16(25));
}

TEST_F(CheckpointFileTest, ViewsAndPrefixes) {
  const View2<double> parent("elastic::test", 4, 6), back("elastic::test", 3, 9);
  auto h_parent = Kokkos::create_mirror_view(parent);
  for (index_t i = 0; i < 4; ++i)
    for (index_t j = 0; j < 6; ++j) h_parent(i, j) = double(10 * i + j);
  Kokkos::deep_copy(parent, h_parent);
  {
    CheckpointWriter writer(folder / "a.h5");
    write_view(writer, "p", prefix(parent, 3, 5));
    write_view(writer, "row", View1<double>(Kokkos::subview(parent, 2, Kokkos::ALL)));
    writer.commit();
  }
  const CheckpointReader reader(folder / "a.h5");
  EXPECT_EQ(reader.info("p").extents, Extents::matrix(3, 5));
  read_view(reader, "p", prefix(back, 3, 5));
  const auto h_back = Kokkos::create_mirror_view_and_copy(HostSpace(), back);
  EXPECT_EQ(h_back(2, 4), 24.0);
  EXPECT_EQ(h_back(2, 5), 0.0);
  const View1<double> row("elastic::test", 6);
  read_view(reader, "row", row);
  EXPECT_EQ(Kokkos::create_mirror_view_and_copy(HostSpace(), row)(3), 23.0);
  EXPECT_THROW(read_view(reader, "p", back), InputError);
}

TEST_F(CheckpointFileTest, WriteReadWriteGivesTheSameBytes) {
  const auto first = save("a.h5");
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));  // no time of day may be in there
  {
    const CheckpointReader reader(first);
    CheckpointWriter writer(folder / "b.h5");
    for (const char* name :
         {"model/layers.0.mlp.up", "model/half", "optimizer/m", "ranking/order"}) {
      const auto& tensor = reader.info(name);
      const auto copy = [&]<class T>(const std::vector<T>& values) {
        writer.write(name, tensor.extents, values.data(), tensor.type, tensor.attributes);
      };
      if (tensor.type == StorageType::int64)
        copy(reader.read<index_t>(name));
      else if (tensor.type == StorageType::float64)
        copy(reader.read<double>(name));
      else
        copy(reader.read<float>(name));
    }
    writer.text("deck", reader.text("deck"));
    for (const char* name : {"step", "tau", "phase"})
      writer.attribute(name, reader.attribute(name));
    writer.commit();
  }
  EXPECT_EQ(bytes_of(first), bytes_of(folder / "b.h5"));
}

TEST_F(CheckpointFileTest, ExpectationsAreComparedBeforeReading) {
  const CheckpointReader reader(save("a.h5"));
  std::vector<float> out(200);
  const auto wrong = message_of<InputError>(
      [&] { reader.read("model/layers.0.mlp.up", Extents::matrix(8, 15), out.data()); });
  contains(wrong, "a.h5: model/layers.0.mlp.up is [15, 8], expected [8, 15]");
  EXPECT_THROW(reader.read("model/layers.0.mlp.up", Extents::vector(120), out.data()), InputError);
  contains(message_of<InputError>([&] { reader.read<float>("model/none"); }),
           "no tensor model/none");
  contains(message_of<InputError>([&] { reader.read<float>("ranking/order"); }),
           "holds int64, expected float32");
  contains(message_of<InputError>([&] { reader.read<index_t>("optimizer/m"); }),
           "holds float64, expected int64");
}

TEST_F(CheckpointFileTest, MisuseIsRefused) {
  CheckpointWriter writer(folder / "a.h5");
  writer.vector("m", m.data(), 33);
  EXPECT_THROW(writer.vector("m", m.data(), 33), ContractError);
  EXPECT_THROW(writer.vector("text/m", m.data(), 33), ContractError);
  EXPECT_THROW(writer.vector("i", order.data(), 4, StorageType::float32), ContractError);
  EXPECT_THROW(writer.vector("f", m.data(), 33, StorageType::int64), ContractError);
}

TEST_F(CheckpointFileTest, AnotherHdf5FileIsNoCheckpoint) {
  H5Fclose(H5Fcreate((folder / "a.h5").c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT));
  contains(message_of<InputError>([&] { CheckpointReader reader(folder / "a.h5"); }),
           "not a checkpoint");
}

TEST_F(CheckpointFileTest, WithoutCommitThereIsNoFile) {
  {
    CheckpointWriter writer(folder / "a.h5");
    fill(writer);
    EXPECT_TRUE(std::filesystem::exists(folder / "a.h5.tmp"));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder));
}

TEST_F(CheckpointFileTest, AFullDiskLeavesTheOldFileIntact) {
  const auto path = save("a.h5");
  const auto old = bytes_of(path);
  const auto large = noise<double>(1 << 17, 3);
  // A limit on the size of files fails writes as a full disk does:
  // at once, in the data, in attributes.
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  for (const rlim_t limit : {1 << 12, 1 << 19, (1 << 20) + (1 << 18)}) {
    const rlimit small{limit, before.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
    const auto message = message_of<RunError>([&] {
      CheckpointWriter writer(path);
      fill(writer);
      writer.vector("large", large.data(), 1 << 17);
      for (int i = 0; i < 40; ++i) writer.attribute(fmt::format("list{}", i), m);
      for (int i = 0; i < 40; ++i)
        writer.attribute(fmt::format("large list{}", i), std::vector<double>(1000, i));
      writer.commit();
    });
    setrlimit(RLIMIT_FSIZE, &before);
    contains(message, "a.h5.tmp: cannot ");
    contains(message, "File too large");
    EXPECT_EQ(bytes_of(path), old);
    EXPECT_FALSE(std::filesystem::exists(folder / "a.h5.tmp"));
  }
  EXPECT_NO_THROW(CheckpointReader(save("b.h5")).verify());
}

// The files of unit_tests/fixtures were written by the versions that introduced the formats.
class StoredFormat : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Formats, StoredFormat, testing::Values(1, 2));

TEST_P(StoredFormat, IsRead) {
  const auto path = fixtures_folder() / fmt::format("checkpoint_v{}.h5", GetParam());
  EXPECT_EQ(is_sealed(path), GetParam() == 2);
  const std::vector<index_t> order = {3, 0, 2, 1};
  const CheckpointReader reader(path);
  EXPECT_NO_THROW(reader.verify());
  ASSERT_EQ(reader.tensors().size(), 4u);
  std::vector<float> up(120);
  for (int i = 0; i < 120; ++i) up[i] = 0.25f * float(i) - 3;
  EXPECT_EQ(reader.read<float>("model/layers.0.mlp.up"), up);
  EXPECT_EQ(reader.read<double>("model/half")[7], -1.25);
  EXPECT_EQ(reader.read<index_t>("ranking/order"), order);
  EXPECT_EQ(reader.read<double>("optimizer/m")[2], 1.0 / 3);
  std::vector<double> part(2);
  reader.read_block("model/half", Range(1, 2), Range(3, 5), part.data());
  EXPECT_EQ(part, (std::vector<double>{1.5, 1.75}));
  EXPECT_EQ(reader.info("model/layers.0.mlp.up").attributes, (Attributes{{"axes", "F D"}}));
  EXPECT_EQ(reader.text("deck"), "<job>\nname = test\n");
  EXPECT_EQ(reader.attributes(),
            (Attributes{{"step", index_t(100)}, {"tau", 0.1}, {"phase", "elastic"}}));
}

TEST_F(CheckpointFileTest, DamageOfFormatOneIsFound) {
  const auto good = bytes_of(fixtures_folder() / "checkpoint_v1.h5");
  const double third = 1.0 / 3;
  auto bad = good;
  bad[good.find(std::string(reinterpret_cast<const char*>(&third), 8)) + 2] ^= 1;
  write_bytes(folder / "bad.h5", bad);
  const CheckpointReader reader(folder / "bad.h5");
  for (const auto& message : {message_of<InputError>([&] { reader.verify(); }),
                              message_of<InputError>([&] { reader.read<double>("optimizer/m"); })})
    contains(message, "bad.h5: optimizer/m is damaged");
  bad = good;
  bad[good.find("<job>")] ^= 1;
  write_bytes(folder / "bad.h5", bad);
  contains(message_of<InputError>([&] { CheckpointReader(folder / "bad.h5"); }),
           "manifest hash differs");
}

TEST_F(CheckpointFileTest, AMissingFolderIsARunError) {
  const auto message =
      message_of<RunError>([&] { CheckpointWriter writer(folder / "none" / "a.h5"); });
  contains(message, "none/a.h5");
}

}  // namespace
}  // namespace elastic::test
