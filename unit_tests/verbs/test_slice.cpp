// SPDX-License-Identifier: Apache-2.0
// A submodel cut out of a checkpoint is the submodel; mistakes are named and cost no file.
#include "verbs/slice.hpp"

#include "verbs/evaluate.hpp"
#include "unit_tests/state/stored_run.hpp"

namespace elastic::test {
namespace {

class Slice : public StoredRun {
 protected:
  std::string slice_error(const std::filesystem::path& from, const std::string& budget,
                          const std::filesystem::path& out, bool force = false) {
    return message_of<InputError>([&] { slice_checkpoint(from, budget, out, force); });
  }
  std::vector<Evaluated> evaluate(const std::filesystem::path& path,
                                  const std::string& budget = "") const {
    return evaluate_checkpoint(Communicator::self(), path, budget, {});
  }
};

TEST_F(Slice, ASliceIsTheSubmodel) {
  const auto out = folder / "small.h5";
  contains(slice_checkpoint(model, "small", out, false), "submodel small of");
  const CheckpointReader reader(out);
  EXPECT_NO_THROW(reader.verify());
  EXPECT_EQ(reader.attribute_as<std::string>("kind"), "submodel");
  EXPECT_EQ(reader.text("deck"), deck.text);
  const SubmodelSpec spec = submodel_for(deck.config, *state, 0.5);
  EXPECT_EQ(read_shape(reader), sliced_shape(state->model->shape(), spec));
  const StoredModel stored = read_stored_model(reader);
  EXPECT_EQ(static_cast<double>(stored.model->parameters().num_elements()), parameters(spec));
  // A prefix of the parent and a model of its own give the same held-out numbers.
  const auto prefix = evaluate(model, "small"), sliced = evaluate(out);
  ASSERT_EQ(sliced.size(), 1u);
  EXPECT_EQ(sliced[0].name, "small");
  EXPECT_EQ(sliced[0].parameters, prefix.at(0).parameters);
  EXPECT_NEAR(sliced[0].valid_loss, prefix.at(0).valid_loss, 1e-5);
  EXPECT_EQ(sliced[0].accuracy, prefix.at(0).accuracy);
}

TEST_F(Slice, HomogeneousWidthsNeedNoRouter) {
  const ModelShape& parent = state->model->shape();
  const auto out = folder / "alike.h5";
  contains(slice_checkpoint(write_parent(), "0.6", out, false, SliceBy::homogeneous),
           "submodel 0.6 of");
  const ModelShape shape = read_shape(CheckpointReader(out));
  EXPECT_EQ(shape.num_layers(), parent.num_layers());
  EXPECT_EQ(shape.layers[1].width, shape.layers[4].width);
  EXPECT_NEAR(parameter_count(shape) / parameter_count(parent), 0.6, 0.03);
  contains(message_of<InputError>([&] {
             slice_checkpoint(model, "0.01", folder / "none.h5", false, SliceBy::homogeneous);
           }),
           "no homogeneous widths cost 0.01");
}

TEST_F(Slice, UntrainedBudgetsLieBetweenTheStoredOnes) {
  const CheckpointReader reader(model);
  const StoredModel stored = read_stored_head(reader);
  for (const char* budget : {"0.6", "0.55", "0.65"}) {
    const SubmodelSpec spec = find_submodel(reader, stored, budget);
    for (const auto& other : stored_submodels(reader, stored.shape))
      EXPECT_TRUE(other.budget > spec.budget ? is_nested(spec, other) : is_nested(other, spec))
          << budget << " beside " << other.name;
  }
}

TEST_F(Slice, NothingIsOverwrittenUnasked) {
  const auto out = folder / "out.h5";
  write_bytes(out, "precious");
  contains(slice_error(model, "small", out), "exists; choose another --out");
  EXPECT_EQ(bytes_of(out), "precious");
  EXPECT_NO_THROW(slice_checkpoint(model, "small", out, true));
  EXPECT_NO_THROW(CheckpointReader{out});
  const std::string before = bytes_of(model);
  contains(slice_error(model, "small", model, true), "is the checkpoint itself");
  EXPECT_EQ(bytes_of(model), before);
  contains(slice_error(model, "small", folder / "nowhere" / "out.h5"), "does not exist");
  contains(slice_error(model, "small", folder, true), "a folder");
}

TEST_F(Slice, BudgetsThatAreNot) {
  const auto out = folder / "out.h5";
  const auto unknown = slice_error(model, "smal", out);
  contains(unknown, "model.h5: no budget 'smal'");
  contains(unknown, "large, middle, small");
  contains(unknown, "nearest is 'small'");
  contains(slice_error(model, "1.5", out), "expected a number in (0, 1]");
  contains(slice_error(model, "0", out), "expected a number in (0, 1]");
  const auto unreachable = slice_error(model, "0.01", out);
  contains(unreachable, "the nearest reachable budgets are");
  contains(unreachable, "model.h5");
  contains(slice_error(write_parent(), "0.6", out), "holds no router");
  slice_checkpoint(model, "small", folder / "small.h5", false);
  contains(slice_error(folder / "small.h5", "0.3", out), "is one submodel (small) already");
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST_F(Slice, OutOfATrainingCheckpointByTheRouter) {
  contains(slice_checkpoint(write_training(), "0.6", folder / "out.h5", false), "submodel 0.6");
  EXPECT_EQ(read_shape(CheckpointReader(folder / "out.h5")),
            sliced_shape(state->model->shape(), submodel_for(deck.config, *state, 0.6)));
}

}  // namespace
}  // namespace elastic::test
