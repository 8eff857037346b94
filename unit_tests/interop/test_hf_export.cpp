// SPDX-License-Identifier: Apache-2.0
// Import and export give back the same bytes; submodels are those that plain indexing cuts out of
// the parent (fixtures/make_hf_fixtures.py), and compute what the parent's prefix does.
#include "interop/hf_export.hpp"

#include "elastic/cost_model.hpp"
#include "interop/strict_json.hpp"
#include "unit_tests/interop/interop_support.hpp"

namespace elastic::test {
namespace {

class HfExport : public InFolder {
 protected:
  fs::path new_folder(const std::string& name) {
    fs::create_directories(folder / name);
    return folder / name;
  }
  static ExportRequest request_for(const CheckpointReader& reader, const ModelShape& shape) {
    return {.parent = shape,
            .spec = full_spec(shape),
            .ranking = {},
            .origin = *read_hf_origin(reader),
            .type = {}};
  }
  /// As training writes it: float values of a model, nothing of the import.
  static void write_values(const fs::path& path, const LanguageModel<float>& model) {
    CheckpointWriter writer(path);
    for (const auto& p : model.parameters()) {
      const auto values = to_host(p.value);
      writer.write("model/" + p.info.name,
                   p.info.vector ? Extents::vector(p.info.columns)
                                 : Extents::matrix(p.info.rows, p.info.columns),
                   values.data(), StorageType::float32, {});
    }
    writer.commit();
  }
  /// Logits of an exported folder, imported again, on a fixture's tokens.
  std::vector<float> logits_of(const fs::path& hf, const std::string& fixture) {
    const auto reader = import_to(folder / "again.h5", hf);
    HfProblem<float> problem(reader, shape_of(hf), fixture);
    return problem.logits(problem.full_widths());
  }
};

/// A fixture as it is exported: tied embeddings are written twice.
std::map<std::string, std::string> expected_tensors(const std::string& name) {
  auto tensors = tensors_of(hf_fixture(name));
  if (name == "tied") tensors["lm_head.weight"] = tensors.at("backbone.embeddings.weight");
  return tensors;
}

/// The submodels of SLICES in make_hf_fixtures.py.
SubmodelSpec fixture_slice(const std::string& name, const ModelShape& shape) {
  const HfConfig cut = read_hf_config(bytes_of(hf_fixture(name) / "sliced" / "config.json"), name);
  const std::vector<std::size_t> dropped = name == "groups" ? std::vector<std::size_t>{1}
                                           : name == "bf16" ? std::vector<std::size_t>{0, 2}
                                                            : std::vector<std::size_t>{};
  SubmodelSpec spec = full_spec(shape);
  spec.name = "cut";
  spec.hidden_size = cut.shape.hidden_size;
  for (const auto l : dropped) spec.layers[l].keep = false;
  for (std::size_t l = 0; l < spec.layers.size(); ++l)
    for (const auto& layer : cut.shape.layers)
      if (layer.kind == shape.layers[l].kind) {
        spec.layers[l].width = layer.width;
        spec.layers[l].head_channels = layer.head_channels;
      }
  return spec;
}
const std::vector<std::string> sliced = {"groups", "gqa", "bf16"};

TEST_F(HfExport, ImportAndExportGiveTheSameBytes) {
  for (const auto& name : hf_models) {
    const auto reader = import_to(folder / (name + ".h5"), hf_fixture(name));
    auto request = request_for(reader, shape_of(hf_fixture(name)));
    request.max_shard_bytes = 9000;
    const auto out = new_folder(name);
    const auto summary = export_hf(reader, request, out);
    EXPECT_EQ(tensors_of(out), expected_tensors(name)) << name;
    EXPECT_EQ(summary.tied, name == "tied");
    EXPECT_EQ(summary.padding, 0);
    const auto before = read_hf_config(bytes_of(hf_fixture(name) / "config.json"), ""),
               after = read_hf_config(bytes_of(out / "config.json"), "");
    EXPECT_EQ(after.shape, before.shape);
    EXPECT_EQ(after.tied, before.tied);
  }
}

TEST_F(HfExport, SubmodelsAreThoseOfPlainIndexing) {
  for (const auto& name : sliced) {
    const auto reader = import_to(folder / (name + ".h5"), hf_fixture(name));
    auto request = request_for(reader, shape_of(hf_fixture(name)));
    request.spec = fixture_slice(name, request.parent);
    const auto out = new_folder(name);
    export_hf(reader, request, out);
    EXPECT_EQ(tensors_of(out), tensors_of(hf_fixture(name) / "sliced")) << name;
    EXPECT_EQ(shape_of(out), shape_of(hf_fixture(name) / "sliced"));
    // transformers on those files, and the prefix of the parent here
    const auto expected =
        numbers<float>(hf_fixture(name) / "sliced" / "expected.safetensors", "logits");
    EXPECT_LT(distance(logits_of(out, name), expected), 2e-4) << name;
    HfProblem<float> problem(reader, request.parent, name);
    EXPECT_LT(
        distance(problem.logits(prefix_widths<float>(request.parent, request.spec)), expected),
        2e-4)
        << name;
  }
}

Ranking random_ranking(const ModelShape& shape, std::uint64_t seed) {
  Draw draw(seed);
  ImportanceScores scores;
  for (index_t i = 0; i < shape.hidden_size; ++i) scores.hidden.push_back(draw.uniform());
  for (const auto& layer : shape.layers) {
    auto& units = scores.squares.emplace_back();
    for (index_t i = 0; i < layer.inner(); ++i) units.push_back(draw.uniform());
  }
  return rank_parent(shape, scores, 2);
}

TEST_F(HfExport, TheRankingIsUndone) {
  for (const auto& name : hf_models) {
    const auto reader = import_to(folder / (name + ".h5"), hf_fixture(name));
    auto request = request_for(reader, shape_of(hf_fixture(name)));
    LanguageModel<float> model(request.parent, true);
    load(reader, model.parameters());
    request.ranking = random_ranking(request.parent, 5);
    apply_ranking(request.parent, request.ranking, model.parameters());
    write_values(folder / "ranked.h5", model);
    const CheckpointReader ranked(folder / "ranked.h5");
    export_hf(ranked, request, new_folder(name));
    EXPECT_EQ(tensors_of(folder / name), expected_tensors(name)) << name;
    request.ranking.hidden[0] = request.ranking.hidden[1];
    contains(message_of<InputError>([&] { export_hf(ranked, request, new_folder("bad")); }),
             "its ranking is not one of the model");
  }
}

TEST_F(HfExport, ARankedSubmodelComputesWhatItsPrefixDoes) {
  for (const auto& name : sliced) {
    const auto reader = import_to(folder / (name + ".h5"), hf_fixture(name));
    auto request = request_for(reader, shape_of(hf_fixture(name)));
    request.spec = fixture_slice(name, request.parent);
    request.ranking = random_ranking(request.parent, 6);
    request.type = ElementType::f32;
    HfProblem<float> problem(reader, request.parent, name);
    apply_ranking(request.parent, request.ranking, problem.model.parameters());
    write_values(folder / "ranked.h5", problem.model);
    export_hf(CheckpointReader(folder / "ranked.h5"), request, new_folder(name));
    const auto prefix = problem.logits(prefix_widths<float>(request.parent, request.spec));
    EXPECT_TRUE(near(logits_of(folder / name, name), prefix, tolerance<float>(500))) << name;
    const auto unranked =
        numbers<float>(hf_fixture(name) / "sliced" / "expected.safetensors", "logits");
    EXPECT_GT(distance(prefix, unranked), 1e-2) << name;
  }
}

/// Widths of the layers of one kind that differ, and all that is padded: neurons, query heads,
/// Mamba heads and their channels.
SubmodelSpec unequal(const std::string& name, const ModelShape& shape) {
  SubmodelSpec spec = full_spec(shape);
  spec.name = "unequal";
  spec.hidden_size -= 3;
  if (name == "groups") {
    spec.layers[1].width = 10;
    spec.layers[2] = {.width = 2, .head_channels = 2};
  } else {
    spec.layers[0].width = 2;
    spec.layers[2].width = 4;
  }
  return spec;
}

TEST_F(HfExport, LayersThatDifferArePaddedWithoutAChangeOfAnyLogit) {
  for (const std::string name : {"groups", "gqa"}) {
    const auto reader = import_to(folder / (name + ".h5"), hf_fixture(name));
    auto request = request_for(reader, shape_of(hf_fixture(name)));
    request.spec = unequal(name, request.parent);
    request.ranking = random_ranking(request.parent, 8);
    HfProblem<float> problem(reader, request.parent, name);
    apply_ranking(request.parent, request.ranking, problem.model.parameters());
    write_values(folder / "ranked.h5", problem.model);
    const auto summary =
        export_hf(CheckpointReader(folder / "ranked.h5"), request, new_folder(name));
    ModelShape equal = request.parent;
    equal.hidden_size = request.spec.hidden_size;
    EXPECT_EQ(shape_of(folder / name), equal);
    EXPECT_EQ(summary.padding,
              parameter_count(equal) - parameter_count(request.parent, request.spec));
    EXPECT_GT(summary.padding, 0);
    const auto prefix = problem.logits(prefix_widths<float>(request.parent, request.spec));
    EXPECT_TRUE(near(logits_of(folder / name, name), prefix, tolerance<float>(500))) << name;
    // The norm of a group sees zeros, which is why Mamba layers are padded with copies.
    EXPECT_GT(distance(prefix, problem.logits(problem.full_widths())), 1e-2);
  }
  const auto up = numbers<float>(folder / "groups" / "model.safetensors",
                                 "backbone.layers.1.mixer.up_proj.weight");
  EXPECT_EQ(std::count(up.begin(), up.end(), 0.0f), 14 * 13);
  EXPECT_EQ(std::count(up.begin() + 10 * 13, up.end(), 0.0f), 14 * 13);
}

TEST_F(HfExport, WidthsOfMlpsAsAList) {
  const auto reader = import_to(folder / "a.h5", hf_fixture("groups"));
  auto request = request_for(reader, shape_of(hf_fixture("groups")));
  request.form = WidthForm::per_layer;
  request.spec.layers[1].width = 10;
  request.spec.layers[2].width = 2;  // padded all the same
  const auto out = new_folder("out");
  EXPECT_GT(export_hf(reader, request, out).padding, 0);
  const auto config = parse_json(bytes_of(out / "config.json"), "config.json");
  EXPECT_EQ(config.at("intermediate_size"), OrderedJson::array({10, 24}));
  EXPECT_EQ(config.at("mamba_num_heads"), 4);
  EXPECT_FALSE(config.contains("block_configs"));
  const SafetensorsReader file(out / "model.safetensors");
  EXPECT_EQ(file.at("backbone.layers.1.mixer.up_proj.weight").shape,
            (std::vector<index_t>{10, 16}));
  EXPECT_EQ(file.at("backbone.layers.4.mixer.up_proj.weight").shape,
            (std::vector<index_t>{24, 16}));
  request.spec.layers[1].width = request.spec.layers[4].width = 6;
  export_hf(reader, request, new_folder("equal"));
  EXPECT_EQ(shape_of(folder / "equal").layers[1].width, 6);
}

TEST_F(HfExport, HeterogeneousSubmodels) {
  const auto reader = import_to(folder / "a.h5", hf_fixture("groups"));
  auto request = request_for(reader, shape_of(hf_fixture("groups")));
  request.spec.layers[1].width = 10;
  request.spec.layers[2].width = 2;
  request.spec.layers[2].head_channels = 3;  // 12 channels per head would hold both
  const auto message =
      message_of<InputError>([&] { export_hf(reader, request, new_folder("refused")); });
  contains(message, "layers 0 and 2 (mamba) differ: 4 x 4 and 2 x 3");
  contains(message, "more than the");
  EXPECT_TRUE(fs::is_empty(folder / "refused"));
  request.form = WidthForm::heterogeneous;
  const auto out = new_folder("out");
  EXPECT_EQ(export_hf(reader, request, out).padding, 0);
  EXPECT_EQ(shape_of(out), sliced_shape(request.parent, request.spec));
  HfProblem<float> problem(reader, request.parent, "groups");
  EXPECT_TRUE(near(logits_of(out, "groups"),
                   problem.logits(prefix_widths<float>(request.parent, request.spec)),
                   tolerance<float>(500)));
}

TEST_F(HfExport, ElementTypes) {
  const auto reader = import_to(folder / "a.h5", hf_fixture("groups"));
  auto request = request_for(reader, shape_of(hf_fixture("groups")));
  request.type = ElementType::bf16;
  export_hf(reader, request, new_folder("narrow"));
  const auto exact = numbers<float>(hf_fixture("groups") / "model.safetensors", "lm_head.weight"),
             narrow = numbers<float>(folder / "narrow" / "model.safetensors", "lm_head.weight");
  for (std::size_t i = 0; i < exact.size(); ++i)
    ASSERT_EQ(narrow[i], float_from_bfloat16(bfloat16_bits(exact[i])));
  contains(bytes_of(folder / "narrow" / "config.json"), "\"torch_dtype\": \"bfloat16\"");
  // Without memory of an import: as stored, and a config of its own.
  request.type.reset();
  request.origin = {};
  export_hf(reader, request, new_folder("fresh"));
  EXPECT_EQ(tensors_of(folder / "fresh"), tensors_of(hf_fixture("groups")));
  EXPECT_EQ(shape_of(folder / "fresh"), request.parent);
}

TEST_F(HfExport, EmbeddingsThatWereTrainedApartAreUntied) {
  const auto reader = import_to(folder / "a.h5", hf_fixture("tied"));
  auto request = request_for(reader, shape_of(hf_fixture("tied")));
  LanguageModel<float> model(request.parent, true);
  load(reader, model.parameters());
  auto head = to_host(model.output_layer().value);
  head[3] += 1;
  assign(model.output_layer().value, head);
  write_values(folder / "trained.h5", model);
  const auto summary =
      export_hf(CheckpointReader(folder / "trained.h5"), request, new_folder("out"));
  EXPECT_FALSE(summary.tied);
  EXPECT_EQ(numbers<float>(folder / "out" / "model.safetensors", "lm_head.weight"), head);
  EXPECT_FALSE(open_hf_folder(folder / "out").config.tied);
}

TEST_F(HfExport, NumbersThatTheTypeCannotHold) {
  const auto good = import_to(folder / "a.h5", hf_fixture("groups"));
  const auto with = [&](float value, ElementType type, bool cut = false) {
    const std::string name = "model/final_norm.weight";
    CheckpointWriter writer(folder / "b.h5");
    for (const auto& text : good.texts()) writer.text(text, good.text(text));
    for (const auto& tensor : good.tensors()) {
      auto values = good.read<float>(tensor.name);
      if (tensor.name == name) values[3] = value;
      writer.write(tensor.name, tensor.extents, values.data(), tensor.type, tensor.attributes);
    }
    writer.commit();
    const CheckpointReader reader(folder / "b.h5");
    auto request = request_for(reader, shape_of(hf_fixture("groups")));
    request.type = type;
    if (cut) request.spec.hidden_size = 3;
    return export_hf(reader, request, new_folder("out"));
  };
  EXPECT_NO_THROW(with(65504, ElementType::f16));
  contains(message_of<InputError>([&] { with(70000, ElementType::f16); }),
           "b.h5: model/final_norm.weight: element 3 is 70000, beyond the largest F16 of 65504; "
           "the nearest --dtype that holds it is bf16");
  EXPECT_NO_THROW(with(70000, ElementType::f16, true));  // of a channel that is not written
  EXPECT_NO_THROW(with(3.38e38f, ElementType::bf16));
  contains(message_of<InputError>([&] { with(3.4e38f, ElementType::bf16); }),
           "the nearest --dtype that holds it is fp32");
  // Halves end at 2^-24; half of that and less becomes 0, and is counted.
  EXPECT_EQ(with(0x1.1p-25f, ElementType::f16).vanished, 0u);
  EXPECT_EQ(with(0x1p-25f, ElementType::f16).vanished, 1u);
  EXPECT_EQ(with(0x1p-25f, ElementType::f16, true).vanished, 0u);
  EXPECT_EQ(with(0, ElementType::f16).vanished, 0u);
  EXPECT_EQ(with(1e-30f, ElementType::bf16).vanished, 0u);
  for (const auto type : {ElementType::f32, ElementType::bf16, ElementType::f16})
    contains(message_of<NumericsError>([&] { with(HUGE_VALF, type); }),
             "model/final_norm.weight: element 3 is inf, expected finite numbers");
}

TEST_F(HfExport, DamageIsFound) {
  import_to(folder / "a.h5", hf_fixture("groups"));
  std::string bytes = bytes_of(folder / "a.h5");
  // A number of the last neuron, which the submodel does not even keep.
  const auto values = numbers<float>(hf_fixture("groups") / "model.safetensors",
                                     "backbone.layers.1.mixer.up_proj.weight");
  const auto at = bytes.find(
      std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)));
  ASSERT_NE(at, std::string::npos);
  bytes[at + values.size() * sizeof(float) - 1] ^= 1;
  write_bytes(folder / "a.h5", bytes);
  const CheckpointReader reader(folder / "a.h5");
  auto request = request_for(reader, shape_of(hf_fixture("groups")));
  for (auto& layer : request.spec.layers)
    if (layer.width == 24) layer.width = 12;
  contains(message_of<InputError>([&] { export_hf(reader, request, new_folder("out")); }),
           "model/layers.1.mixer.up_proj is damaged");
  EXPECT_TRUE(fs::is_empty(folder / "out"));
}

TEST_F(HfExport, SmallFilesAreGivenBack) {
  const auto source = new_folder("source");
  fs::copy(hf_fixture("groups"), source, fs::copy_options::recursive);
  write_bytes(source / "empty.txt", "");
  write_bytes(source / "README.md", "of the parent");
  write_bytes(source / "pytorch_model.bin", "weights");
  write_bytes(source / ".hidden", "no");
  const auto reader = import_to(folder / "a.h5", source);
  const auto out = new_folder("out");
  EXPECT_EQ(restore_hf_files(reader, out), 2u);
  EXPECT_EQ(bytes_of(out / "tokenizer.model"), bytes_of(source / "tokenizer.model"));
  EXPECT_EQ(bytes_of(out / "tokenizer.model").back(), '\0');
  EXPECT_EQ(bytes_of(out / "empty.txt"), "");
  EXPECT_EQ(read_hf_origin(reader)->config, bytes_of(source / "config.json"));
}

TEST_F(HfExport, NamesOfKeptFilesStayInTheFolder) {
  for (const std::string name : {"../x", "a/b", ".profile", "model.safetensors", "config.json"}) {
    CheckpointWriter writer(folder / "bad.h5");
    writer.text("hf_file." + name, "content.");
    writer.commit();
    contains(message_of<InputError>(
                 [&] { restore_hf_files(CheckpointReader(folder / "bad.h5"), new_folder("out")); }),
             "is not a file kept by an import");
  }
}

}  // namespace
}  // namespace elastic::test
