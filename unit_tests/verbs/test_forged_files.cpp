// SPDX-License-Identifier: Apache-2.0
// Files with right hashes and wrong values: every verb refuses them, naming file and object.
#include "unit_tests/state/forged_file.hpp"
#include "unit_tests/state/stored_run.hpp"
#include "verbs/evaluate.hpp"
#include "verbs/export.hpp"
#include "verbs/generate.hpp"
#include "verbs/inspect.hpp"
#include "verbs/logits.hpp"
#include "verbs/slice.hpp"

namespace elastic::test {
namespace {

class ForgedFiles : public StoredRun {
 protected:
  /// Every verb on a forged copy of model.h5 ends with an E that names the file and this object.
  template <class E>
  void refused_by_all(const Forgery& forgery, const std::string& object, bool inspect = true) {
    const auto forged = folder / "forged.h5", out = folder / "out", ids = folder / "ids.txt";
    write_forged(model, forged, forgery);
    write_bytes(ids, "1 2 3\n");
    const auto refused = [&](const char* verb, const auto& work) {
      const std::string message = message_of<E>(work);
      EXPECT_TRUE(contains(message, "forged.h5") && contains(message, object)) << verb;
      EXPECT_FALSE(std::filesystem::exists(out)) << verb;
    };
    if (inspect) refused("inspect", [&] { inspect_checkpoint(forged, {.verify = true}); });
    refused("slice", [&] { slice_checkpoint(forged, "small", out, false); });
    refused("export", [&] { export_checkpoint({.checkpoint = forged, .out = out}); });
    refused("evaluate", [&] { evaluate_checkpoint(Communicator::self(), forged, "", {}); });
    refused("generate", [&] {
      GenerateOptions options;
      options.checkpoint = forged;
      options.tokens = ids;
      generate_from_checkpoint(options);
    });
    refused("logits",
            [&] { write_logits({.checkpoint = forged, .budget = "", .tokens = ids, .out = out}); });
  }
  std::string text(const std::string& name) { return CheckpointReader(model).text(name); }
};

TEST_F(ForgedFiles, ShapesAndTensors) {
  refused_by_all<InputError>(
      {.texts = {{"shape", with(text("shape"), "\"vocab_size\":64", "\"vocab_size\":8589934592")}}},
      "'vocab_size' is 8589934592");
  refused_by_all<InputError>(
      {.texts = {{"shape", with(text("shape"), "\"hidden_size\":24", "\"hidden_size\":25")}}},
      "model/word_embeddings");
  refused_by_all<InputError>({.texts = {{"shape", std::nullopt}}}, "shape");
}

TEST_F(ForgedFiles, RankingsAndSubmodels) {
  std::vector<index_t> hidden(24, 0);
  refused_by_all<InputError>({.orders = {{"ranking/hidden", hidden}}}, "ranking/hidden: element 1");
  refused_by_all<InputError>(
      {.texts = {{"submodel.middle",
                  with(text("submodel.middle"), "\"budget\":0.7", "\"budget\":-7")}}},
      "the text 'submodel.middle': budget -7");
}

TEST_F(ForgedFiles, KindsAndDecks) {
  refused_by_all<InputError>({.attributes = {{"kind", std::string("model")}}}, "attribute kind");
  refused_by_all<InputError>({.attributes = {{"step", index_t{-3}}}}, "attribute step");
  refused_by_all<InputError>({.texts = {{"deck", "<job>\nsed = 3\n"}}}, "'seed'");
}

TEST_F(ForgedFiles, NumbersThatAreNotFinite) {
  refused_by_all<NumericsError>(
      {.tensors = {{"model/final_norm.weight", {Extents::vector(24), HUGE_VALF}}}},
      "model/final_norm.weight", /*inspect=*/false);
}

}  // namespace
}  // namespace elastic::test
