// SPDX-License-Identifier: Apache-2.0
// Folders of the transformers library: logits and gradients of every tensor, and what is refused.
#include "interop/hf_import.hpp"

#include "interop/strict_json.hpp"
#include "unit_tests/interop/interop_support.hpp"

namespace elastic::test {
namespace {

class HfImport : public InFolder {
 protected:
  fs::path copy_of(const std::string& name) {
    const auto copy = folder / "copy";
    fs::remove_all(copy);
    fs::copy(hf_fixture(name), copy, fs::copy_options::recursive);
    return copy;
  }
  void change_config(const fs::path& hf, const char* key, const OrderedJson& value) {
    auto json = parse_json(bytes_of(hf / "config.json"), "");
    json[key] = value;
    write_bytes(hf / "config.json", dump_json(json));
  }
  std::string error_of(const fs::path& hf) {
    return message_of<InputError>([&] { open_hf_folder(hf); });
  }
};

TEST_F(HfImport, LogitsOfTransformers) {
  constexpr double largest = 2e-4;  // of logits of order 1
  for (const auto& name : hf_models) {
    const auto reader = import_to(folder / (name + ".h5"), hf_fixture(name));
    HfProblem<float> problem(reader, shape_of(hf_fixture(name)), name);
    const auto expected = numbers<float>(problem.expected, "logits");
    EXPECT_LT(distance(problem.logits(problem.full_widths()), expected), largest) << name;
    EXPECT_GT(distance(std::vector<float>(expected.size(), 0), expected), 1) << name;
  }
}

TEST_F(HfImport, GradientsOfTransformers) {
  for (const auto& name : hf_models) {
    const auto reader = import_to(folder / (name + ".h5"), hf_fixture(name));
    // Gradients have the names and shapes of the values: they are imported like them.
    const auto copy = copy_of(name);
    for (const auto& file : fs::directory_iterator(copy))
      if (file.path().filename().string().starts_with("model")) fs::remove(file);
    fs::rename(copy / "gradients.safetensors", copy / "model.safetensors");
    const auto gradients = import_to(folder / "gradients.h5", copy);

    HfProblem<float> problem(reader, shape_of(hf_fixture(name)), name);
    problem.differentiate(problem.full_widths(), Keep::everything,
                          1.0 / static_cast<double>(problem.context.num_tokens()));
    const bool tied = open_hf_folder(hf_fixture(name)).config.tied;
    for (const auto& p : problem.model.parameters()) {
      auto ours = to_host(p.gradient);
      if (tied && p.info.name == "output_layer") continue;
      if (tied && p.info.name == "word_embeddings") {  // theirs is one tensor in two roles
        const auto head = to_host(problem.model.output_layer().gradient);
        for (std::size_t i = 0; i < ours.size(); ++i) ours[i] += head[i];
      }
      EXPECT_TRUE(near(ours, gradients.read<float>("model/" + p.info.name), tolerance<float>(400)))
          << name << " " << p.info.name;
    }
  }
}

TEST_F(HfImport, TypesAreKept) {
  const auto reader = import_to(folder / "a.h5", hf_fixture("bf16"));
  EXPECT_EQ(reader.info("model/layers.1.mixer.in_proj.x").type, StorageType::bfloat16);
  const auto half = import_to(folder / "b.h5", hf_fixture("fp16"));
  EXPECT_EQ(half.info("model/layers.1.mixer.in_proj.x").type, StorageType::float32);
  EXPECT_EQ(read_hf_origin(half)->types.at("lm_head.weight"), ElementType::f16);
  EXPECT_EQ(std::get<std::string>(half.info("model/layers.0.mixer.out_proj").attributes.at("axes")),
            "hidden mamba_inner");
  EXPECT_NO_THROW(reader.verify());
}

TEST_F(HfImport, TiedEmbeddingsAreTwoTensors) {
  const auto reader = import_to(folder / "a.h5", hf_fixture("tied"));
  EXPECT_EQ(reader.read<float>("model/word_embeddings"), reader.read<float>("model/output_layer"));
  EXPECT_TRUE(read_hf_origin(reader)->tied);
}

TEST_F(HfImport, NamesOfTheModules) {
  // Other spelling of the names: "model." in front, as in a state_dict of transformers 5.
  const auto copy = copy_of("groups");
  std::string bytes = bytes_of(copy / "model.safetensors");
  const auto before = tensors_of(copy);
  std::vector<SafetensorsTensor> plan;
  const SafetensorsReader old(hf_fixture("groups") / "model.safetensors");
  const auto renamed = [](const std::string& name) {
    return name.starts_with("backbone.") ? "model." + name.substr(9) : name;
  };
  for (const auto& entry : old.entries())
    plan.push_back({renamed(entry.name), entry.type, entry.shape});
  SafetensorsWriter writer(copy / "model.safetensors", plan);
  for (const auto& entry : old.entries()) {
    std::vector<char> data(entry.bytes());
    old.read(entry, 0, data.size(), data.data());
    writer.write(renamed(entry.name), data.data());
  }
  writer.commit();
  const auto reader = import_to(folder / "a.h5", copy);
  EXPECT_EQ(read_hf_origin(reader)->prefix, "model.");
  const auto expected = import_to(folder / "b.h5", hf_fixture("groups"));
  for (const auto& tensor : expected.tensors())
    EXPECT_EQ(reader.info(tensor.name).checksum, tensor.checksum) << tensor.name;
}

/// Rates that the scan cannot hold are found when the folder is opened.
TEST_F(HfImport, RatesBeyondRangeNameTheirTensor) {
  const auto with = [&](float value) {
    const auto copy = copy_of("groups");
    const SafetensorsReader old(hf_fixture("groups") / "model.safetensors");
    std::vector<SafetensorsTensor> plan;
    for (const auto& entry : old.entries()) plan.push_back({entry.name, entry.type, entry.shape});
    SafetensorsWriter writer(copy / "model.safetensors", plan);
    bool first = true;
    for (const auto& entry : old.entries()) {
      std::vector<char> data(entry.bytes());
      old.read(entry, 0, data.size(), data.data());
      if (entry.name.ends_with("A_log") && std::exchange(first, false))
        std::memcpy(data.data() + sizeof(float), &value, sizeof(float));
      writer.write(entry.name, data.data());
    }
    writer.commit();
    return copy;
  };
  for (const float value : {89.0f, std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity(), std::nanf("")}) {
    const auto error = error_of(with(value));
    contains(error, "mixer.A_log': element 1 is " + fmt::format("{}", value));
    contains(error, "expected finite numbers <= 88.72");
  }
  EXPECT_NO_THROW(open_hf_folder(with(88.5f)));
  EXPECT_NO_THROW(open_hf_folder(with(-200.0f)));
}

TEST_F(HfImport, WeightsMustBeThoseOfTheConfig) {
  contains(error_of(folder), "is not a folder with config.json");
  auto copy = copy_of("groups");
  change_config(copy, "hidden_size", 17);
  contains(error_of(copy), "expected BF16, F16, F32 or F64 [33, 17]");
  copy = copy_of("groups");
  change_config(copy, "vocab_size", 1 << 28);  // nothing of that size is ever allocated
  contains(error_of(copy), "expected BF16, F16, F32 or F64 [268435456, 16]");
  copy = copy_of("groups");
  change_config(copy, "mamba_head_dim", 1 << 20);
  contains(error_of(copy), "is F32");
  copy = copy_of("groups");
  change_config(copy, "mamba_head_dim", 1 << 28);
  contains(error_of(copy), "width * head_channels");
  copy = copy_of("groups");
  change_config(copy, "layers_block_type",
                {"linear_attention", "mlp", "linear_attention", "full_attention"});
  contains(error_of(copy), "is no part of the model that config.json describes");
  copy = copy_of("groups");
  change_config(copy, "layers_block_type",
                {"linear_attention", "mlp", "linear_attention", "full_attention", "mlp", "mlp"});
  contains(error_of(copy), "no tensor 'backbone.layers.5.");
  copy = copy_of("tied");
  change_config(copy, "tie_word_embeddings", false);
  contains(error_of(copy), "no tensor 'lm_head.weight'");
  copy = copy_of("groups");
  change_config(copy, "tie_word_embeddings", true);  // a head that is there is ignored
  EXPECT_NO_THROW(open_hf_folder(copy));
}

TEST_F(HfImport, NumbersThatAreNotFiniteNameTheirTensor) {
  for (const std::string name : {"groups", "bf16", "fp16"}) {
    const SafetensorsReader old(hf_fixture(name) / "model.safetensors");
    const auto& entry = old.at("backbone.norm_f.weight");
    for (const double bad : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
      const auto copy = copy_of(name);
      std::string bytes = bytes_of(copy / "model.safetensors");
      convert_elements(ElementType::f64, &bad, 1, entry.type,
                       bytes.data() + entry.begin + 7 * size_of(entry.type));
      write_bytes(copy / "model.safetensors", bytes);
      CheckpointWriter writer(folder / "a.h5");
      const auto message =
          message_of<InputError>([&] { import_weights(open_hf_folder(copy), writer); });
      contains(message,
               "model.safetensors: tensor 'backbone.norm_f.weight': "
               "element 7 is ");
    }
  }
}

TEST_F(HfImport, WeightsOfIntegersAreRefused) {
  const auto copy = copy_of("groups");
  std::string bytes = bytes_of(copy / "model.safetensors");
  const auto at = bytes.find("\"F32\"");
  bytes.replace(at, 5, "\"I32\"");
  write_bytes(copy / "model.safetensors", bytes);
  contains(error_of(copy), "is I32");
}

TEST_F(HfImport, AFileCutAfterItWasOpenedIsFound) {
  const auto copy = copy_of("groups");
  const HfFolder opened = open_hf_folder(copy);
  fs::resize_file(copy / "model.safetensors", fs::file_size(copy / "model.safetensors") / 2);
  CheckpointWriter writer(folder / "a.h5");
  contains(message_of<InputError>([&] { import_weights(opened, writer); }), "cannot read tensor");
}

}  // namespace
}  // namespace elastic::test
