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

/// Where the config ties the embeddings and the files have another head, programs use the head.
TEST_F(HfImport, AHeadOfItsOwnIsUsed) {
  const auto copy = copy_of("groups");
  change_config(copy, "tie_word_embeddings", true);
  const HfFolder opened = open_hf_folder(copy);
  EXPECT_FALSE(opened.config.tied);
  contains(opened.config.warnings.at(0),
           "config.json: tie_word_embeddings is true, but there is a tensor lm_head.weight");
  const auto reader = import_to(folder / "a.h5", copy);
  EXPECT_FALSE(read_hf_origin(reader)->tied);
  const auto untied = import_to(folder / "b.h5", hf_fixture("groups"));
  for (const auto& tensor : untied.tensors())
    EXPECT_EQ(reader.info(tensor.name).checksum, tensor.checksum) << tensor.name;

  // A head of other rows or of another type is no head of this model.
  const auto with_head = [&](ElementType type, std::vector<index_t> shape, double value) {
    const auto tied = copy_of("tied");
    const SafetensorsReader old(hf_fixture("tied") / "model.safetensors");
    std::vector<SafetensorsTensor> plan;
    for (const auto& entry : old.entries()) plan.push_back({entry.name, entry.type, entry.shape});
    plan.push_back({"lm_head.weight", type, shape});
    SafetensorsWriter writer(tied / "model.safetensors", plan);
    for (const auto& entry : old.entries()) {
      std::vector<char> data(entry.bytes());
      old.read(entry, 0, data.size(), data.data());
      writer.write(entry.name, data.data());
      if (entry.name != "backbone.embeddings.weight" || plan.back().bytes() != data.size())
        continue;
      float first = 0;
      std::memcpy(&first, data.data(), sizeof first);
      first += static_cast<float>(value);
      std::memcpy(data.data(), &first, sizeof first);
      writer.write("lm_head.weight", data.data());
    }
    if (plan.back().bytes() != old.at("backbone.embeddings.weight").bytes())
      writer.write("lm_head.weight", std::vector<char>(plan.back().bytes()).data());
    writer.commit();
    return tied;
  };
  const auto shape = open_hf_folder(hf_fixture("tied")).config.shape;
  const index_t words = shape.vocab_size, hidden = shape.hidden_size;
  EXPECT_TRUE(open_hf_folder(with_head(ElementType::f32, {words, hidden}, 0)).config.tied);
  EXPECT_FALSE(open_hf_folder(with_head(ElementType::f32, {words, hidden}, 1)).config.tied);
  contains(error_of(with_head(ElementType::f32, {words + 1, hidden}, 0)),
           "tensor 'lm_head.weight' is F32");
  contains(error_of(with_head(ElementType::i64, {words, hidden}, 0)),
           "tensor 'lm_head.weight' is I64");
}

/// No input takes a time step out of the range that the weights give: a limit outside of it is
/// taken, one inside is refused, and a time_step_min inside deserves a warning.
TEST_F(HfImport, TimeStepsThatOthersClamp) {
  const TimeStepRange range = time_step_range(open_hf_folder(hf_fixture("groups")));
  EXPECT_GT(range.lowest, 0);
  EXPECT_LT(range.lowest, range.highest);
  const auto limited = [&](double low, double high) {
    const auto copy = copy_of("groups");
    change_config(copy, "time_step_limit", {low, high});
    return copy;
  };
  EXPECT_NO_THROW(open_hf_folder(limited(0, range.highest * 1.01)));
  EXPECT_NO_THROW(open_hf_folder(limited(range.lowest * 0.99, 1e30)));
  for (const auto& copy : {limited(0, range.highest * 0.99), limited(range.lowest * 1.01, 1e30)}) {
    contains(error_of(limited(0, range.highest * 0.99)), "config.json: time_step_limit is [0, ");
    contains(error_of(copy), fmt::format("between {:.3g} and", range.lowest));
  }
  const auto warned = [&](double least) {
    const auto copy = copy_of("groups");
    change_config(copy, "time_step_min", least);
    return open_hf_folder(copy).config.warnings.size();
  };
  EXPECT_EQ(warned(range.lowest * 0.99), 0);
  EXPECT_EQ(warned(range.lowest * 1.01), 1);
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
  change_config(copy, "tie_word_embeddings", true);
  change_config(copy, "vocab_size", 34);  // a head that is there is checked like any tensor
  contains(error_of(copy), "tensor 'backbone.embeddings.weight' is F32 [33, 16]");
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
