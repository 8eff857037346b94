// SPDX-License-Identifier: Apache-2.0
// Pictures by a script of their own: the one of the tree, run without a shell and within its time.
#include "run/plots.hpp"

#include <cstdlib>

#include "io/durable_file.hpp"
#include "run/plot_script.hpp"
#include "unit_tests/io/io_support.hpp"
#include "unit_tests/support/source_folder.hpp"

namespace elastic::test {
namespace {
namespace fs = std::filesystem;

class Plots : public InFolder {
 protected:
  void SetUp() override {
    InFolder::SetUp();
    run.root = folder / "it's a; run";
    fs::create_directories(run.root);
  }
  void TearDown() override {
    unsetenv("ELASTIC_PYTHON");
    InFolder::TearDown();
  }
  void use_python(const std::string& script) {
    const auto path = folder / "python";
    write_file_durably(path, "#!/bin/sh\n" + script + "\n");
    fs::permissions(path, fs::perms::owner_all);
    setenv("ELASTIC_PYTHON", path.c_str(), 1);
  }
  RunFolder run;
};

TEST_F(Plots, TheScriptGetsTheFolder) {
  use_python("test \"$1\" = -B && test -f \"$2\" && touch \"$3/losses.png\"");
  EXPECT_EQ(draw_plots(run), std::nullopt);
  EXPECT_TRUE(fs::exists(run.root / "losses.png"));
  EXPECT_EQ(read_file(run.root / "plot.py"), plot_script_text);
}

TEST_F(Plots, GivesTheScriptsLastWordAsTheReason) {
  use_python("echo 'first'; echo 'matplotlib is missing' >&2; exit 1");
  EXPECT_EQ(draw_plots(run).value_or("drawn"), "matplotlib is missing");
  fs::remove_all(run.root);
  EXPECT_TRUE(draw_plots(run)) << "plot.py cannot be written";
}

TEST_F(Plots, AScriptThatHangsIsEnded) {
  use_python("exec sleep 30");
  contains(draw_plots(run, 0.1).value_or(""), "needs more than 0.1 s");
}

TEST(PlotScript, IsThatOfTheTree) {
  EXPECT_EQ(read_file(source_folder() / "scripts" / "plot_run.py"), plot_script_text);
}

}  // namespace
}  // namespace elastic::test
