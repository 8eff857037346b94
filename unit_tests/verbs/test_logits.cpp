// SPDX-License-Identifier: Apache-2.0
// The verb logits against the forward pass, on every kind of checkpoint.
#include "verbs/logits.hpp"

#include <CLI/CLI.hpp>

#include "io/hdf5_file.hpp"
#include "verbs/slice.hpp"
#include "verbs/verbs.hpp"
#include "unit_tests/state/stored_run.hpp"

namespace elastic::test {
namespace {

const std::vector<token_t> example_tokens = {1, 7, 30, 63, 0, 2, 2, 9, 11, 40, 5};

class VerbLogits : public StoredRun {
 protected:
  void SetUp() override {
    StoredRun::SetUp();
    write_bytes(folder / "ids.txt", "1 7 30 63\n0 2 2\n\n9 11 40 5\n");
  }
  LogitsOptions options(const std::filesystem::path& checkpoint, const std::string& budget = "") {
    return {.checkpoint = checkpoint,
            .budget = budget,
            .tokens = folder / "ids.txt",
            .out = folder / "logits.h5",
            .force = true};
  }
  std::vector<float> written(const LogitsOptions& which) {
    write_logits(which);
    const auto file = Hdf5File::open(which.out);
    const auto info = file.info("logits");
    EXPECT_EQ(info.type, StorageType::float32);
    EXPECT_EQ(info.extents, Extents::matrix(11, 64));
    std::vector<index_t> tokens(11);
    file.read_block("tokens", {0, 11}, {0, 1}, tokens.data());
    EXPECT_EQ(std::vector<token_t>(tokens.begin(), tokens.end()), example_tokens);
    std::vector<float> logits(11 * 64);
    file.read_block("logits", {0, 11}, {0, 64}, logits.data());
    return logits;
  }
  std::vector<float> forward(const LanguageModel<float>& of, const SubmodelSpec& spec) {
    Arena arena;
    const LayerContext context{
        .exec = {}, .arena = &arena, .batch = 1, .seq_length = 11, .segment = {}};
    auto pass = of.make_pass(Keep::nothing);
    of.forward(context, prefix_widths<float>(of.shape(), spec), to_device(example_tokens), pass);
    const auto logits = arena.matrix<float>(11, of.shape().vocab_size);
    of.logits({}, pass.hidden, logits);
    return to_host(logits);
  }
};

TEST_F(VerbLogits, AreThoseOfTheForwardPass) {
  const auto full = forward(*state->model, full_spec(state->model->shape()));
  EXPECT_EQ(written(options(model)), full);
  const auto small = forward(*state->model, submodel_for(deck.config, *state, 0.5));
  EXPECT_EQ(written(options(model, "small")), small);
  EXPECT_NE(full, small);
  slice_checkpoint(model, "small", folder / "small.h5", false);
  EXPECT_TRUE(near(written(options(folder / "small.h5")), small, tolerance<float>(500)));

  const auto training = write_training();
  EXPECT_EQ(written(options(training)), full);
  EXPECT_EQ(written(options(training, "small")), small);

  EXPECT_EQ(written(options(write_parent())),
            forward(*state->elastic->teacher, full_spec(state->model->shape())));
}

TEST_F(VerbLogits, ChunksChangeNothing) {
  const auto whole = written(options(model));
  for (const std::size_t rows : {1, 3, 10}) {
    auto chunked = options(model);
    chunked.bytes_at_once = rows * 64 * sizeof(float);
    EXPECT_TRUE(near(written(chunked), whole, tolerance<float>(64))) << rows;
  }
}

TEST_F(VerbLogits, FromTheCommandLine) {
  const auto run = [&](const std::string& line) {
    CLI::App app("", "elastic.x");
    VerbOptions parsed;
    add_verbs(app, parsed);
    app.parse(line);
    return run_verb(Communicator::self(), parsed);
  };
  const auto in_folder = [&](const char* name) { return (folder / name).string(); };
  EXPECT_EQ(run(fmt::format("logits {} --budget small --tokens {} --out {}", model.string(),
                            in_folder("ids.txt"), in_folder("verb.h5"))),
            ExitCode::success);
  write_logits(options(model, "small"));
  EXPECT_EQ(bytes_of(folder / "verb.h5"), bytes_of(folder / "logits.h5"));
  EXPECT_EQ(run(fmt::format("generate {} --budget small --tokens {} --max-tokens 3 --out {}",
                            model.string(), in_folder("ids.txt"), in_folder("texts.txt"))),
            ExitCode::success);
  EXPECT_FALSE(bytes_of(folder / "texts.txt").empty());
  EXPECT_THROW(run("logits a.h5 --out b.h5"), CLI::ParseError);  // no tokens
  EXPECT_THROW(run("generate a.h5"), InputError);
}

TEST_F(VerbLogits, NumbersThatAreNotFinite) {
  Kokkos::deep_copy(state->model->parameters().values(), 3e38f);  // sums of them overflow
  write_elastic_model(model, deck, *state, 0);
  contains(message_of<NumericsError>([&] { write_logits(options(model)); }),
           "logits: after token 0 the logit of word 0 is ");
  EXPECT_FALSE(std::filesystem::exists(folder / "logits.h5"));
}

TEST_F(VerbLogits, MistakesLeaveNoFile) {
  const auto error = [&](const LogitsOptions& which) {
    return message_of<InputError>([&] { write_logits(which); });
  };
  contains(error(options(model, "smal")), "nearest is 'small'");
  contains(error(options(folder / "absent.h5")), "absent.h5");
  write_bytes(folder / "ids.txt", "1 2\n3 64\n");
  contains(error(options(model)), "ids.txt, line 2: token 64 is outside the vocabulary [0, 64)");
  EXPECT_FALSE(std::filesystem::exists(folder / "logits.h5"));
  auto itself = options(model);
  itself.out = model;
  contains(error(itself), "is the checkpoint itself");
  auto unforced = options(model);
  unforced.force = false;
  write_bytes(unforced.out, "precious");
  contains(error(unforced), "exists; choose another --out, or replace it with --force");
  EXPECT_EQ(bytes_of(unforced.out), "precious");
  auto endless = options(model);
  endless.tokens = "/dev/zero";
  contains(error(endless), "the file of token ids is a device");
  EXPECT_NO_THROW(CheckpointReader{model});
}

}  // namespace
}  // namespace elastic::test
