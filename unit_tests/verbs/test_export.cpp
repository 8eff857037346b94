// SPDX-License-Identifier: Apache-2.0
// import and export on a folder of the transformers library and on files as a run leaves them.
#include "verbs/export.hpp"

#include "state/stored_model.hpp"
#include "verbs/import.hpp"
#include "verbs/import_deck.hpp"
#include "verbs/inspect.hpp"
#include "verbs/slice.hpp"
#include "unit_tests/interop/interop_support.hpp"
#include "unit_tests/train/small_run.hpp"

namespace elastic::test {
namespace {

class VerbExport : public InFolder {
 protected:
  void SetUp() override {
    InFolder::SetUp();
    parent = folder / "parent.h5";
    import_checkpoint({hf_fixture("groups"), parent, false});
  }
  std::string error_of(const ExportOptions& options) {
    return message_of<InputError>([&] { export_checkpoint(options); });
  }
  /// The elastic model of a run whose deck names the imported parent, one homogeneous submodel.
  fs::path write_run(const fs::path& named_parent) {
    const CheckpointReader reader(parent);
    const StoredModel stored = read_stored_model(reader);
    SubmodelSpec spec = full_spec(stored.shape);
    spec.name = "small";
    spec.budget = 0.5;
    spec.hidden_size = 10;
    spec.layers[4].keep = false;
    SubmodelSpec odd = full_spec(stored.shape), full = odd;
    odd.name = "odd";
    const auto mamba = stored.shape.pattern().rfind('M');
    odd.layers[mamba].head_channels = 3;
    CheckpointWriter writer(folder / "run.h5");
    const auto deck = read_run_config(deck_of(stored.shape, "run", named_parent.string()), "", {});
    write_model(writer, *stored.model, deck.text, "elastic");
    for (const auto& one : {full, odd, spec}) write_spec(writer, one);
    writer.commit();
    return folder / "run.h5";
  }
  fs::path parent;
};

TEST_F(VerbExport, AnImportIsACheckpoint) {
  const CheckpointReader reader(parent);
  EXPECT_NO_THROW(reader.verify());
  const StoredModel stored = read_stored_model(reader);
  EXPECT_EQ(stored.kind, "import");
  EXPECT_EQ(stored.shape, shape_of(hf_fixture("groups")));
  EXPECT_EQ(parent_shape(stored.deck.config), stored.shape);
  HfProblem<float> problem(reader, stored.shape, "groups");
  for (const auto& p : stored.model->parameters())
    EXPECT_TRUE(bitwise_equal(p.value, problem.model.parameters().find(p.info.name)->value));
  contains(inspect_checkpoint(parent, {.tensors = true, .verify = true}), "import");
  const auto again = [&](bool force) {
    return import_checkpoint({hf_fixture("bf16"), parent, force});
  };
  contains(message_of<InputError>([&] { again(false); }), "exists");
  contains(again(true), "-M-*-M, 7046 parameters in 35 tensors");
}

TEST_F(VerbExport, AnImportMayHaveAnyNameOfText) {
  for (const char* name :
       {"a model (copy).h5", ".h5", "_x-1.2.h5", "a#b.h5", "\"a\" & b .h5", "a, &"}) {
    import_checkpoint({hf_fixture("groups"), folder / name, false});
    EXPECT_EQ(read_stored_head(CheckpointReader(folder / name)).deck.config.job.parent,
              (folder / name).string());
  }
  contains(message_of<InputError>([&] {
             import_checkpoint({hf_fixture("groups"), folder / "a\x01.h5", false});
           }),
           "byte 0x01");
  EXPECT_FALSE(fs::exists(folder / "a\x01.h5"));
}

TEST_F(VerbExport, AnImportReplacesNothingThatItReads) {
  const auto source = folder / "source";
  fs::copy(hf_fixture("groups"), source, fs::copy_options::recursive);
  const auto error = [&](const fs::path& out) {
    return message_of<InputError>([&] { import_checkpoint({source, out, true}); });
  };
  const std::string before = bytes_of(source / "model.safetensors");
  for (const char* name : {"model.safetensors", "config.json", "tokenizer.model"})
    contains(error(source / name), "is a file of the imported folder itself");
  fs::create_symlink(source / "model.safetensors", folder / "link");
  contains(error(folder / "link"), "is a file of the imported folder itself");
  EXPECT_EQ(bytes_of(source / "model.safetensors"), before);
  import_checkpoint({source, source / "inside.h5", false});
  EXPECT_NO_THROW(import_checkpoint({source, source / "inside.h5", true}));
}

TEST_F(VerbExport, TheWholeModelComesBack) {
  contains(export_checkpoint({.checkpoint = parent, .out = folder / "hf/"}), "the model of");
  EXPECT_EQ(tensors_of(folder / "hf"), tensors_of(hf_fixture("groups")));
  EXPECT_EQ(bytes_of(folder / "hf" / "tokenizer.model"),
            bytes_of(hf_fixture("groups") / "tokenizer.model"));
  EXPECT_FALSE(fs::exists(folder / "hf.tmp"));
}

TEST_F(VerbExport, ASubmodelOfARunRemembersItsOrigin) {
  const ExportOptions options{
      .checkpoint = write_run(parent), .budget = "small", .out = folder / "hf", .dtype = "bf16"};
  contains(export_checkpoint(options), "submodel small of");
  EXPECT_TRUE(fs::exists(folder / "hf" / "tokenizer.model"));
  const HfFolder exported = open_hf_folder(folder / "hf");
  EXPECT_EQ(exported.config.shape.pattern(), "M-M*");
  EXPECT_EQ(exported.config.shape.hidden_size, 10);
  EXPECT_EQ(exported.origin.types.at("lm_head.weight"), ElementType::bf16);
  contains(exported.origin.config, "\"mamba_ssm_cache_dtype\": \"float32\"");
}

TEST_F(VerbExport, AnOriginThatIsGone) {
  const auto run = write_run(folder / "moved.h5");
  contains(export_checkpoint({.checkpoint = run, .budget = "small", .out = folder / "fresh"}),
           "0 other files");
  EXPECT_EQ(open_hf_folder(folder / "fresh").config.shape.hidden_size, 10);
  contains(export_checkpoint(
               {.checkpoint = run, .budget = "small", .out = folder / "given", .origin = parent}),
           "1 other files");
  contains(error_of({.checkpoint = run, .out = folder / "bad", .origin = run}),
           "is not an imported checkpoint");
  import_checkpoint({hf_fixture("gqa"), folder / "other.h5", false});
  contains(error_of({.checkpoint = run, .out = folder / "bad", .origin = folder / "other.h5"}),
           "is of a model with 47 tokens, this one has 33");
}

TEST_F(VerbExport, ASlicedFileIsExportedAsTheBudgetIs) {
  // Other element types in A_log, D and dt_bias, and layers that have other numbers in the slice.
  import_checkpoint({hf_fixture("bf16"), folder / "mixed.h5", false});
  {
    HfOrigin origin = *read_hf_origin(CheckpointReader(folder / "mixed.h5"));
    origin.types["backbone.layers.5.mixer.A_log"] = ElementType::f32;
    origin.types["backbone.layers.5.mixer.D"] = ElementType::f64;
    origin.types["backbone.layers.1.mixer.D"] = ElementType::f16;
    const CheckpointReader imported(folder / "mixed.h5");
    CheckpointWriter writer(parent);
    for (const auto& text : imported.texts())
      if (!text.starts_with("hf.")) writer.text(text, imported.text(text));
    writer.attribute("kind", std::string("import"));
    write_hf_origin(writer, origin);
    for (const auto& tensor : imported.tensors())
      writer.write(tensor.name, tensor.extents, imported.read<float>(tensor.name).data(),
                   StorageType::float32, tensor.attributes);
    writer.commit();
  }
  const auto run = write_run(parent);
  for (const std::string budget : {"small", "1"}) {
    const auto direct = folder / ("direct-" + budget), sliced = folder / ("sliced-" + budget),
               file = folder / (budget + ".h5");
    export_checkpoint({.checkpoint = run, .budget = budget, .out = direct});
    slice_checkpoint(run, budget, file, false, SliceBy::router);
    export_checkpoint({.checkpoint = file, .out = sliced});
    EXPECT_EQ(tensors_of(direct), tensors_of(sliced));
    EXPECT_EQ(bytes_of(direct / "config.json"), bytes_of(sliced / "config.json"));
    EXPECT_EQ(tensors_of(direct).size(),
              tensors_of(hf_fixture("bf16")).size() - (budget == "small" ? 3 : 0));
    const auto types = open_hf_folder(direct).origin.types;
    EXPECT_EQ(
        types.at(budget == "small" ? "backbone.layers.4.mixer.D" : "backbone.layers.5.mixer.D"),
        ElementType::f64);
  }
}

TEST_F(VerbExport, WhatCannotBePaddedNamesTheNearestBudgetThatCan) {
  const auto run = write_run(parent);
  contains(error_of({.checkpoint = run, .budget = "odd", .out = folder / "hf"}),
           "submodel 'odd': layers 0 and 2 (mamba) differ");
  contains(error_of({.checkpoint = run, .budget = "odd", .out = folder / "hf"}),
           "The nearest budget of this file that exports is '1'");
  EXPECT_FALSE(fs::exists(folder / "hf"));
  EXPECT_NO_THROW(export_checkpoint(
      {.checkpoint = run, .budget = "odd", .out = folder / "hf", .heterogeneous = true}));
  // A whole model that came in this form leaves in it.
  import_checkpoint({folder / "hf", folder / "again.h5", false});
  export_checkpoint({.checkpoint = folder / "again.h5", .out = folder / "back"});
  EXPECT_EQ(tensors_of(folder / "back"), tensors_of(folder / "hf"));
}

TEST_F(VerbExport, FoldersAreNotOverwritten) {
  const auto out = folder / "hf";
  fs::create_directories(out);
  EXPECT_NO_THROW(export_checkpoint({.checkpoint = parent, .out = out}));
  const auto before = bytes_of(out / "model.safetensors");
  contains(error_of({.checkpoint = parent, .out = out}), "exists; choose another --out");
  EXPECT_EQ(bytes_of(out / "model.safetensors"), before);
  contains(error_of({.checkpoint = parent, .out = folder / "no" / "hf"}), "does not exist");
  contains(error_of({.checkpoint = parent, .out = folder / "b", .dtype = "int8"}),
           "expected fp16, bf16, fp32 or original");
  fs::create_directories(folder / "c.tmp");
  contains(error_of({.checkpoint = parent, .out = folder / "c"}), "interrupted export");
}

TEST_F(VerbExport, HeterogeneousSubmodelsOfARun) {
  const auto deck = small_deck();
  const TrainState<Real> state = small_state(deck.config);
  write_elastic_model(folder / "model.h5", deck, state, 3);
  ExportOptions options{.checkpoint = folder / "model.h5", .budget = "0.6", .out = folder / "hf"};
  options.heterogeneous = true;
  export_checkpoint(options);

  // Exported, imported again, and sliced: the same logits.
  import_checkpoint({folder / "hf", folder / "again.h5", false});
  const StoredModel again = read_stored_model(CheckpointReader(folder / "again.h5"));
  const SubmodelSpec spec = submodel_for(deck.config, state, 0.6);
  const auto sliced = slice_model(*state.model, spec);
  EXPECT_EQ(again.shape, sliced->shape());
  const auto logits_of = [&](const LanguageModel<float>& model) {
    ModelProblem<float> problem(model.shape(), 2, {21});
    Kokkos::deep_copy(problem.model.parameters().values(), model.parameters().values());
    return problem.logits(problem.full_widths());
  };
  EXPECT_TRUE(near(logits_of(*again.model), logits_of(*sliced), tolerance<float>(500)));
}

}  // namespace
}  // namespace elastic::test
