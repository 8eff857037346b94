// SPDX-License-Identifier: Apache-2.0
// Folders of shards: index and files must agree.
#include "interop/hf_files.hpp"

#include "unit_tests/interop/interop_support.hpp"

namespace elastic::test {
namespace {

class HfFiles : public InFolder {
 protected:
  /// Tensors w0, w1, ... of 4 floats each in files of at most `max_bytes`.
  void write(int count, std::uint64_t max_bytes) {
    std::vector<SafetensorsTensor> tensors;
    for (int i = 0; i < count; ++i)
      tensors.push_back({fmt::format("w{}", i), ElementType::f32, {2, 2}});
    HfWeightsWriter writer(folder, tensors, max_bytes);
    for (int i = 0; i < count; ++i) {
      const std::vector<float> values(4, static_cast<float>(i));
      writer.write(tensors[static_cast<std::size_t>(i)].name, values.data());
    }
    writer.commit();
  }
  void replace_in_index(const std::string& from, const std::string& to) {
    std::string text = bytes_of(index);
    ASSERT_NE(text.find(from), std::string::npos);
    text.replace(text.find(from), from.size(), to);
    write_bytes(index, text);
  }
  std::string error() {
    return message_of<InputError>([&] { HfWeights weights(folder); });
  }
  fs::path index;
  void SetUp() override {
    InFolder::SetUp();
    index = folder / "model.safetensors.index.json";
  }
};

TEST_F(HfFiles, OneFileOrShards) {
  write(3, 1000);
  EXPECT_TRUE(fs::exists(folder / "model.safetensors"));
  EXPECT_FALSE(fs::exists(index));
  EXPECT_EQ(HfWeights(folder).bytes(), 48u);
  fs::remove(folder / "model.safetensors");

  write(5, 32);
  for (const char* name : {"model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors"})
    EXPECT_TRUE(fs::exists(folder / name)) << name;
  contains(bytes_of(index), "\"total_size\": 80");
  const HfWeights weights(folder);
  EXPECT_EQ(weights.tensors().size(), 5u);
  const auto& last = weights.at("w4");
  float value;
  last.file->read(*last.entry, 12, 4, &value);
  EXPECT_EQ(value, 4);
  contains(message_of<InputError>([&] { weights.at("w5"); }), "no tensor 'w5'");
}

TEST_F(HfFiles, ATensorLargerThanAShardHasItsOwn) {
  write(2, 10);
  EXPECT_TRUE(fs::exists(folder / "model-00002-of-00002.safetensors"));
  EXPECT_EQ(HfWeights(folder).tensors().size(), 2u);
}

TEST_F(HfFiles, NamesOutsideTheFolderAreRefused) {
  write(2, 16);
  const std::string original = bytes_of(index), name = "\"model-00002-of-00002.safetensors\"";
  for (const std::string bad :
       {R"("../secret.safetensors")", R"("/etc/passwd")", R"("..")", R"("")", R"("a\\b")",
        R"("a/b")", "7", R"("a\u0000b")", R"(".hidden")"}) {
    write_bytes(index, original);
    replace_in_index(name, bad);
    contains(error(), "expected a name in the same folder");
  }
}

TEST_F(HfFiles, IndexAndFilesMustAgree) {
  contains(error(), "holds neither");
  write(2, 16);
  const std::string original = bytes_of(index);
  replace_in_index("model-00002-of-00002", "model-00001-of-00002");
  contains(error(), "'w1' should be in model-00001-of-00002.safetensors, which lacks it");
  write_bytes(index, original);
  replace_in_index("\"w1\"", "\"w2\"");
  contains(error(), "'w1' is in model-00002-of-00002.safetensors, which weight_map does not say");
  write_bytes(index, original);
  replace_in_index("\"w1\"", "\"w0\"");
  contains(error(), "stands twice");
  write_bytes(index, "{\"weight_map\": []}");
  contains(error(), "lacks the object weight_map");
  write_bytes(index, original);
  fs::copy_file(folder / "model-00001-of-00002.safetensors",
                folder / "model-00002-of-00002.safetensors", fs::copy_options::overwrite_existing);
  contains(error(), "'w0' stands in another file too");
  fs::remove(folder / "model-00002-of-00002.safetensors");
  contains(error(), "cannot open");
}

}  // namespace
}  // namespace elastic::test
