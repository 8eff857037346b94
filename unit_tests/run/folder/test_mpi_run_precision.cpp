// SPDX-License-Identifier: Apache-2.0
// A run that goes on keeps its precision; a new one has that of the rule, on all ranks.
#include "run/folder/run_precision.hpp"

#include <gmock/gmock.h>

#include "comm/collectives.hpp"
#include "io/checkpoint_folder.hpp"
#include "kernels/products/gemm.hpp"
#include "run/folder/run_folder.hpp"
#include "run/folder/run_identity.hpp"
#include "unit_tests/train/small_run.hpp"

namespace elastic::test {
namespace {
namespace fs = std::filesystem;

class RunPrecision : public testing::Test {
 protected:
  void SetUp() override {
    std::string root =
        (fs::temp_directory_path() / fmt::format("precision_{}", ::getpid())).string();
    broadcast(world, root);
    run.root = root;
    on_root([&] {
      fs::remove_all(run.root);
      fs::create_directories(run.checkpoints());
    });
  }
  void TearDown() override {
    on_root([&] { fs::remove_all(run.root); });
  }
  template <class Work>
  void on_root(const Work& work) const {
    if (world.is_root()) work();
    barrier(world);
  }
  /// A checkpoint as far as the choice looks at it.
  void save(index_t step, const std::string& deck) const {
    on_root([&] {
      CheckpointWriter file(CheckpointFolder(run.checkpoints(), 0).path_of(step));
      file.attribute("step", step);
      file.attribute("elastic", index_t(0));
      file.text("deck", deck);
      write_file_identity(file, {std::string(32, 'a'), ""});
      file.commit();
    });
  }
  void save(index_t step, Precision precision) const {
    save(step, read_run_config(small_deck_text, "", {}, {precision, ""}).text);
  }
  PrecisionConfig precision(bool resume, std::optional<index_t> from = {}, index_t width = 24) {
    RunConfig config;
    config.job.folder = run.root.string();
    config.model.hidden_size = width;
    return automatic_precision(world, config, resume, from);
  }

  const Communicator world = Communicator::world();
  RunFolder run;
};

TEST_F(RunPrecision, OfANewRunIsThatOfTheRule) {
  save(2, Precision::bfloat16);
  EXPECT_EQ(precision(false).compute, Precision::float32);
  EXPECT_EQ(precision(false, {}, 4096).compute,
            kernels::bfloat16_products_are_fast() ? Precision::bfloat16 : Precision::float32);
}

TEST_F(RunPrecision, OfAResumedRunIsThatOfItsCheckpoint) {
  EXPECT_EQ(precision(true).compute, Precision::float32) << "there is none";
  save(2, Precision::float32);
  save(4, Precision::bfloat16);
  EXPECT_EQ(precision(true).compute, Precision::bfloat16);
  EXPECT_EQ(precision(true, 2, 4096).compute, Precision::float32);
  EXPECT_THAT(precision(true, 4).reason, testing::HasSubstr("checkpoint_000004.h5"));
}

TEST_F(RunPrecision, PassesOverACheckpointThatCannotBeRead) {
  save(2, Precision::bfloat16);
  on_root([&] { write_bytes(CheckpointFolder(run.checkpoints(), 0).path_of(4), "no checkpoint"); });
  EXPECT_EQ(precision(true).compute, Precision::bfloat16);
}

TEST_F(RunPrecision, BeforeTheKeyRunsWereInFloat32) {
  save(2, "<job>\nname = old\n");
  EXPECT_EQ(precision(true, {}, 4096).compute, Precision::float32);
}

}  // namespace
}  // namespace elastic::test
