# SPDX-License-Identifier: Apache-2.0
# The checks of the tree can fail: each is fed good and bad examples.
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import comments
import docs_code_blocks
import document_paths
import file_rules
import kernel_arguments
import kernel_labels
import kinds
import layering
import mutants_apply
import same_output
import test_coverage
import tree

HERE = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(HERE / "scripts"))
import readme_outputs  # noqa: E402

SPDX = "// SPDX-License-Identifier: Apache-2.0\n"


class TreeTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)

    def write(self, name, text):
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def problems(self, module, *arguments):
        return "\n".join(module.check(self.root, *arguments))


class Tree(TreeTest):
    def test_comments_go_and_strings_stay(self):
        text = 'a("x // y"); // "elastic"\n/* b\n */ c'
        self.assertEqual(tree.without_comments(text).split(), ["a(\"x", "//", "y\");", "c"])
        self.assertEqual(tree.line_of(tree.without_comments(text), tree.without_comments(text).index("c")), 3)

    def test_build_folders_are_left_out(self):
        self.write("src/a.hpp", "")
        self.write("src/build-x/b.hpp", "")
        self.assertEqual([f.name for f in tree.sources(self.root)], ["a.hpp"])


class Layering(TreeTest):
    def setUp(self):
        super().setUp()
        self.write("src/base/types.hpp", "")
        self.write("src/base/version.hpp.in", "")
        self.write("src/run/run.hpp", "")
        self.write("src/kernels/products/gemm.hpp", '#include "base/types.hpp"\n#include "base/version.hpp"\n#include <dnnl.h>\n')
        self.write("src/main.cpp", '#include "run/run.hpp"\n')

    def test_the_good_tree_passes(self):
        self.assertEqual(self.problems(layering), "")

    def test_upward_include(self):
        self.write("src/kernels/bad.cpp", '\n#include "run/run.hpp"\n')
        self.assertIn("src/kernels/bad.cpp:2: src/kernels may include base, not run", self.problems(layering))

    def test_comment_is_no_include(self):
        self.write("src/kernels/good.cpp", '// #include "run/run.hpp"\n/*\n#include "run/run.hpp"\n*/\n')
        self.assertEqual(self.problems(layering), "")

    def test_include_without_folder_or_file(self):
        self.write("src/base/bad.cpp", '#include "types.hpp"\n#include "base/none.hpp"\n')
        self.assertIn('write #include "folder/file.hpp"', self.problems(layering))
        self.assertIn("there is no src/base/none.hpp", self.problems(layering))

    def test_library_behind_a_door(self):
        self.write("src/base/bad.cpp", "#include <mpi.h>\n")
        self.assertIn("only src/comm may include <mpi.h>", self.problems(layering))

    def test_unknown_folder(self):
        self.write("src/util/bad.cpp", "")
        self.assertIn("folder src/util is not in the table", self.problems(layering))

    def test_circle_of_files(self):
        self.write("src/base/a.hpp", '#include "base/b.hpp"\n')
        self.write("src/base/b.hpp", '#include "base/c.hpp"\n#include "base/types.hpp"\n')
        self.write("src/base/c.hpp", "")
        self.assertEqual(self.problems(layering), "")
        self.write("src/base/c.hpp", '#include "base/a.hpp"\n')
        self.assertEqual(self.problems(layering), "src/base/a.hpp:1: files include each other in a circle: "
                         "base/a.hpp -> base/b.hpp -> base/c.hpp -> base/a.hpp")

    def test_circle_of_folders(self):
        self.write("src/kernels/rows/x.cpp", '#include "kernels/products/gemm.hpp"\n')
        self.write("src/kernels/rows/y.hpp", "")
        self.assertEqual(self.problems(layering), "")
        self.write("src/kernels/products/gemm.cpp", '\n#include "kernels/rows/y.hpp"\n')
        self.assertEqual(self.problems(layering), "src/kernels/products:1: folders include each other in a circle: "
                         "kernels/products -> kernels/rows -> kernels/products "
                         "(kernels/products/gemm.cpp:2, kernels/rows/x.cpp:1)")

    def test_links(self):
        self.write("src/kernels/CMakeLists.txt", "elastic_folder(kernels LINK elastic_base\n  elastic_comm)\n")
        self.assertEqual(self.problems(layering), "src/kernels/CMakeLists.txt:2: elastic_kernels may not link elastic_comm")


class TestCoverage(TreeTest):
    def setUp(self):
        super().setUp()
        self.write("src/base/long.hpp", "\n" * 41)
        self.write("src/base/long.cpp", "")
        self.write("src/base/short.hpp", "\n" * 40)
        self.write("src/kernels/scan/ssd.cpp", "\n" * 41)
        self.write("src/kernels/scan/ssd_chunk.cpp", "\n" * 41)
        self.write("unit_tests/base/test_long.cpp", "")
        self.write("unit_tests/kernels/scan/test_mpi_ssd.cpp", "")
        self.readme("| `ssd_chunk` | `kernels/scan/test_mpi_ssd.cpp` |")

    def readme(self, row, heading="## Tests", folder="kernels"):
        self.write(f"src/{folder}/README.md", f"# {folder}\n{heading}\n| file | tested by |\n|---|---|\n{row}\n")

    def test_the_good_tree_passes(self):
        self.assertEqual(self.problems(test_coverage), "")

    def test_file_without_test(self):
        self.write("src/base/new.cpp", "\n" * 41)
        self.write("src/main.cpp", "\n" * 41)
        self.assertIn("src/base/new: 41 lines; neither unit_tests/base/test_new.cpp nor a row of src/base/README.md",
                      self.problems(test_coverage))
        self.assertIn("src/main: 41 lines; neither unit_tests/test_main.cpp nor a row of src/README.md",
                      self.problems(test_coverage))

    def test_row_in_another_section(self):
        self.readme("| `ssd_chunk` | `kernels/scan/test_mpi_ssd.cpp` |", "## Files")
        self.assertIn("src/kernels/scan/ssd_chunk: 41 lines", self.problems(test_coverage))

    def test_rows_that_are_wrong(self):
        for row, message in (("| `ssd_chunk` | `kernels/test_none.cpp` |", "there is no unit_tests/kernels/test_none.cpp"),
                             ("| `ssd_chunk` | `../src/base/none.hpp` |", "there is no unit_tests/../src/base/none.hpp"),
                             ("| `ssd_chunk` | the others |", "no test file is named"),
                             ("| `long` | `base/test_long.cpp` |", "there is no long in src/kernels"),
                             ("| `ssd` | `base/test_long.cpp` |", "ssd has a test of its own")):
            self.readme(row)
            self.assertIn(f"src/kernels/README.md:5: {message}", self.problems(test_coverage), row)


class KernelLabels(TreeTest):
    def check_text(self, text):
        self.write("src/kernels/x.cpp", text)
        return self.problems(kernel_labels)

    def test_good_names_pass(self):
        self.assertEqual(self.check_text("""
            Kokkos::parallel_for("elastic::a", Policy(exec, 0, n), f);
            Kokkos::parallel_reduce(
                "elastic::b", n, f, sum);
            Kokkos::parallel_for(Kokkos::TeamThreadRange(team, n), f);
            Kokkos::parallel_for(row_stripes(team, n), f);
            Kokkos::parallel_for(label, policy, f);
            m_x = View1<S>("elastic::x", n);  // View1<S>("x", n)
            Kokkos::View<unsigned char*, MemorySpace> y("elastic::y", n);
            View2<S> z(Kokkos::view_alloc(Kokkos::WithoutInitializing, "elastic::z"), n, m);
            View2<S> alias(x.data(), n, m);
            fence(exec, "elastic::f");"""), "")

    def test_bad_names(self):
        for bad in ('Kokkos::parallel_for(Policy(exec, 0, n), f);', 'Kokkos::parallel_scan("scan", n, f);',
                    'Kokkos::parallel_reduce(\n  n, f, s);', 'x = View1<S>("x", n);', 'View2<const float> x("x", n, m);',
                    'Kokkos::View<S*, Space> x("x", n);', 'HostView1<int> x{"x", n};',
                    'View1<S> x(Kokkos::view_alloc(Kokkos::WithoutInitializing, "x"), n);',
                    'Kokkos::Profiling::pushRegion("step");', 'fence(ExecutionSpace(), "end");'):
            self.assertEqual(self.check_text(bad).count("src/kernels/x.cpp:1: "), 1, bad)


class KernelArguments(TreeTest):
    def check_text(self, arguments, name="src/kernels/rows/x.hpp"):
        self.write(name, f"void f({arguments});\n")
        return self.problems(kernel_arguments)

    def test_eight_arguments_pass(self):
        self.assertEqual(self.check_text(""), "")
        self.assertEqual(self.check_text("int a,\n  Pair<int, int> b, F<void(int, int)> c, int d = g(1, 2), X e = {1, 2}, int, int, int"), "")

    def test_nine_arguments(self):
        many = ", ".join(f"View2<T> a{i}" for i in range(9))
        self.assertIn("src/kernels/rows/x.hpp:1: f takes 9 arguments, at most 8", self.check_text(many))

    def test_comments_and_other_folders_do_not_count(self):
        self.assertEqual(self.check_text("int a, int b  // c, d, e, f, g, h, i\n"), "")
        self.assertEqual(self.check_text("int, " * 9 + "int", "src/layers/x.hpp"), "")


class Kinds(TreeTest):
    def check_text(self, text, file="src/plan/x.cpp"):
        self.write("src/arch/mlp_kind.cpp", '.tensors = {{"up_proj", inner, hidden, normal, "up_proj.weight"},\n'
                                            '{"norm.weight", one, inner, ones, "norm.weight"}},\n')
        self.write(file, text)
        return self.problems(kinds)

    def test_good_texts_pass(self):
        for good in ("description_of(layer).memory(shape);", "// as LayerKind::mlp and up_proj",
                     "if (a.kind != b.kind) return;", "if (c == '-') return;", 'name = "layers.3.norm.weight";',
                     "enum class CacheKind { state };", 'x = "sup_proj";'):
            self.assertEqual(self.check_text(good), "", good)

    def test_bad_texts(self):
        for bad, message in (("f(LayerKind::mlp);", "names LayerKind"), ("if (layer.kind == '-') f();", "compares"),
                             ("if ('M' == layer.kind) f();", "compares"), ("if (layer.symbol() != '*') f();", "compares"),
                             ("switch (s) { case 'M': f(); }", "compares"), ('if (name.ends_with("up_proj")) f();', "by name"),
                             ('find("layers.0.mixer.up_proj");', "by name")):
            self.assertIn("src/plan/x.cpp:2: " + message, self.check_text("\n" + bad).replace("knows a tensor of a kind ", ""), bad)

    def test_rooms_that_know(self):
        self.assertEqual(self.check_text("f(LayerKind::mlp);", "src/layers/layer.cpp"), "")

    def test_a_tree_without_descriptions(self):
        self.assertIn("no list of tensors", self.problems(kinds))


class FileRules(TreeTest):
    def check_text(self, text, name="src/base/x.hpp"):
        self.write("src/base/README.md", "")
        self.write(name, text)
        return self.problems(file_rules)

    def test_good_files_pass(self):
        self.assertEqual(self.check_text(SPDX + "#pragma once\n"), "")
        self.assertEqual(self.check_text("#!/bin/sh\n# SPDX-License-Identifier: Apache-2.0\n", "scripts/x.sh"), "")

    def test_bad_files(self):
        good = SPDX + "#pragma once\n"
        for bad, message in (("#pragma once\n", "the first line is not"), (SPDX, "no #pragma once"),
                             (good + "\tint x;\n", "x.hpp:3: a tab"), (good + "// caf\u00e9\n", "x.hpp:3: not ASCII"),
                             (good + "\n" * 500, "502 lines"), (good + "// TO" "DO later\n", "unfinished"),
                             (good + "// see /ro" "ot/x\n", "a path of one machine"), (good + "int x;", "no line break"),
                             (good + "int x;\r\n", "carriage return")):
            self.assertIn(message, self.check_text(bad))

    def test_licence_of_scripts(self):
        self.assertIn(".ci/run:1: the first line", self.check_text("#!/bin/sh\n", ".ci/run"))

    def test_readme_of_a_folder(self):
        (self.root / "src/new").mkdir(parents=True)
        self.assertEqual(self.problems(file_rules), "src/new: has no README.md")

    def test_components_of_a_folder(self):
        for i in range(20):
            self.write(f"src/base/a{i}.hpp", SPDX + "#pragma once\n")
            self.write(f"src/base/a{i}.cpp", SPDX)
        self.assertEqual(self.check_text(SPDX + "#pragma once\n", "src/base/sub/a20.hpp"), "")
        self.assertEqual(self.check_text(SPDX + "#pragma once\n", "src/base/a20.hpp"),
                         "src/base: 21 components beside each other, at most 20")

    def test_median_of_the_files(self):
        self.write("src/base/a.cpp", SPDX + "\n" * 99)
        self.assertEqual(self.check_text(SPDX + "\n" * 98, "src/base/b.cpp"), "")
        self.assertEqual(self.check_text(SPDX + "\n" * 99, "src/base/b.cpp"),
                         "src: the median file has 100 lines, must be less than 100")

    def test_size_of_fixtures(self):
        for size, problems in ((2_000_000, ""), (2_000_001, "unit_tests/fixtures: 2000001 bytes, at most 2000000")):
            self.write("unit_tests/fixtures/hf/x.h5", "x" * size)
            self.write("src/base/README.md", "")
            self.assertEqual(self.problems(file_rules), problems)


class Comments(TreeTest):
    def check_text(self, text):
        self.write("src/base/arena.hpp", "")
        self.write("doc/numerics.md", "")
        self.write("src/io/x.hpp", text)
        return self.problems(comments)

    def test_good_comments_pass(self):
        self.assertEqual(self.check_text("""// What it is. Its order: doc/numerics.md.
// The same holds for memory: base/arena.hpp, ../base/ar*.hpp and report.md.
int official = 0;  // of ranks; Office("// Of") is code
const char* url = "// The same none.hpp";
""" + "int x" + " " * 200 + ";\n"), "")

    def test_bad_comments(self):
        for bad, message in (("\n/// Of a View.", 'x.hpp:2: a comment starts with "Of"'),
                             ("int a;  ///< The same for b.", 'x.hpp:1: a comment starts with "The same"'),
                             ("// One.\n//\n//   Of it.", 'x.hpp:3: a comment starts with "Of"'),
                             ("// One.\nint a;  // Of it.", 'x.hpp:2: a comment starts with "Of"'),
                             ("// " + "x" * 98, "x.hpp:1: a comment reaches column 101, at most 100"),
                             ("int a;" + " " * 93 + "// a", "x.hpp:1: a comment reaches column 103, at most 100"),
                             ("// See paper.md 1.4.", "x.hpp:1: there is no file paper.md"),
                             ("// See src/base/none.hpp.", "x.hpp:1: there is no file src/base/none.hpp"),
                             ("/* none*.cpp */", "x.hpp:1: there is no file none*.cpp")):
            self.assertIn(message, self.check_text(bad), bad)


class Format(TreeTest):
    def setUp(self):
        super().setUp()
        (self.root / "scripts").mkdir()
        for file in ("scripts/format.sh", "scripts/lib.sh", ".clang-format"):
            shutil.copy(HERE / file, self.root / file)

    def format(self, *arguments):
        done = subprocess.run([self.root / "scripts/format.sh", *arguments], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        if done.returncode == 77:
            self.skipTest(done.stdout)
        return done.returncode, done.stdout

    def test_unformatted_file_is_named_and_mended(self):
        good, bad = self.write("src/a/good.hpp", "int x = 1;\n"), self.write("src/a b.cpp", "int  x=1;\nint  y=1;\n")
        code, text = self.format("--check")
        self.assertEqual((code, text.count("src/a b.cpp"), text.count("good")), (1, 1, 0), text)
        self.assertEqual(self.format(), (0, ""))
        self.assertEqual(self.format("--check")[0], 0)
        self.assertEqual((good.read_text(), bad.read_text()), ("int x = 1;\n", "int x = 1;\nint y = 1;\n"))


class DocsCodeBlocks(TreeTest):
    def check_text(self, text):
        (self.root / "build-1").mkdir(exist_ok=True)
        self.write("build-1/program", "yes\n")
        self.write("README.md", text)
        return self.problems(docs_code_blocks, self.root / "build-1")

    def test_blocks_run_in_a_copy_with_the_build_folder(self):
        text = "```sh run\ngrep -q yes build/program && touch new\n```\ntext\n```sh run\ntest -e new\n```\n"
        self.assertEqual(self.check_text(text), "")
        self.assertFalse((self.root / "new").exists())

    def test_failing_block(self):
        for bad in ("false\ntrue", "false | true", "echo $UNDEFINED_NAME", "exit 3"):
            self.assertIn("README.md:2: exit code", self.check_text(f"```sh run\n{bad}\n```\n"), bad)

    def test_no_marked_block(self):
        self.assertIn("no block is marked", self.check_text("```sh\nfalse\n```\n"))


class DocumentPaths(TreeTest):
    README = ("`src/base/types.{hpp,cpp}` `base/types` `doc/*.md` `types.hpp` `types` `job/seed` `base/seed` `a / b` "
              "`src/FOLDER/X.cpp` `runs/x/y.md` [page](doc/page.md#place) [site](https://a.b/c)\n"
              "## The tree\n```\nsrc/  base\ndoc/  documents\n```\n\n"
              "**Reading order** `src/base/types.hpp` -> [page](doc/page.md)\n-> `src/base/types.cpp`.\n\n")

    def setUp(self):
        super().setUp()
        self.write("src/base/types.hpp", "line\n" * 1200)
        self.write("src/base/types.cpp", "line\n" * 1199)
        self.write("src/base/README.md", "| file | content |\n|---|---|\n| `types` | it |\n")
        self.write("doc/input_reference.md", "## `<base>`\n\n| `seed` | 1 |\n")
        self.write("doc/page.md", "one\n")
        self.write("README.md", self.README)

    def test_the_good_tree_passes(self):
        self.assertEqual(self.problems(document_paths), "")

    def test_missing_files(self):
        for bad in ("src/base/none.hpp", "base/none", "doc/none.md", "src/base/types.{hpp,md}", "none.hpp", "base/sed",
                    "scr/base/types.hpp"):
            self.write("doc/page.md", f"\n`{bad}`\n")
            self.assertIn(f"doc/page.md:2: there is no {bad}", self.problems(document_paths))

    def test_link_that_leads_nowhere(self):
        self.write("doc/page.md", "\n[x](README.md)\n")
        self.assertIn("doc/page.md:2: the link to README.md leads nowhere", self.problems(document_paths))

    def test_tables_of_folders(self):
        self.write("src/base/error.hpp", "")
        self.assertIn("src/base/README.md:1: does not say what error is", self.problems(document_paths))
        self.write("src/base/README.md", "| file | content |\n|---|---|\n| `types`, `error` | |\n| `gone` | |\n")
        self.assertEqual(self.problems(document_paths), "src/base/README.md:4: there is no src/base/gone")

    def test_map_of_the_tree(self):
        self.write("src/new/x.hpp", "")
        self.write("src/new/README.md", "`x`")
        self.assertEqual(self.problems(document_paths), "README.md:4: the map of the tree does not name src/new")
        self.write("README.md", self.README.replace("doc/  documents", "new/\ndocs/  documents"))
        self.assertIn("README.md:4: there is no folder docs", self.problems(document_paths))
        self.write("README.md", self.README.replace("## The tree", "## Trees"))
        self.assertIn("has no map of the tree", self.problems(document_paths))

    def test_reading_order(self):
        self.write("doc/page.md", "one\ntwo\n")
        self.assertIn("the reading order has 2401 lines", self.problems(document_paths))
        self.write("README.md", self.README.replace("-> `src/base/types.cpp`", "-> `x/types.cpp`"))
        self.assertIn("README.md:8: there is no x/types.cpp to read", self.problems(document_paths))
        self.write("README.md", self.README.replace("Reading order", "Order"))
        self.assertIn("has no reading order", self.problems(document_paths))


class ReadmeOutputs(TreeTest):
    RUN = ("== run: deck\nplan     stage  steps\n         all        9\nstep 0: stage a begins\na step 1 loss 2\na step 2 loss 1\n"
           "m.h5 holds 2 submodels; one more costs 7 bytes\nregion calls\nbudget  parameters cost valid KL accuracy cut widths\n"
           "parent         100   1.000      0.5          -     99.8%              -\n"
           "0.5             50   0.500      0.6   1.20e-02     91.5%          30.3%  hidden 4, M 2\nreport: r.md\n")
    BLOCK = ("<!-- output quickstart -->\n```\n== run: deck\nplan     stage  steps\n         all        9\n"
             "step 0: stage a begins\n...\nm.h5 holds 2 submodels; one more costs 7 bytes\n...\n"
             "budget  parameters cost valid KL accuracy cut widths\n"
             "parent         100   1.000      0.5          -     99.8%              -\n"
             "0.5             50   0.500      0.6   1.20e-02     91.5%          30.3%  hidden 4, M 2\nreport: r.md\n```\n")
    TEXT = ("The parent solves 99.8 % of the problems, the submodel with half of its parameters 91.5 %. The same widths cut out of\n"
            "the ranked parent without elastic training solve 30.3 %, each further submodel costs 7 bytes\n")

    def check_text(self, text, **records):
        self.write("README.md", text)
        return "\n".join(readme_outputs.check(self.root, records))

    def test_block_and_sentences_of_the_record_pass(self):
        self.assertEqual(self.check_text(self.TEXT + self.BLOCK, quickstart=self.RUN), "")

    def test_another_number_is_found_and_mended(self):
        for old, new in (("loss 1\n", "loss 0\n"), ("region calls", "regions")):  # not shown
            self.assertEqual(self.check_text(self.TEXT + self.BLOCK, quickstart=self.RUN.replace(old, new)), "")
        for old, new in (("        9\n", "        8\n"), ("91.5%", "91.6%"), ("costs 7 bytes", "costs 8 bytes")):
            records = {"quickstart": self.RUN.replace(old, new)}
            self.assertIn("write it anew", self.check_text(self.TEXT + self.BLOCK, **records))
            mended = readme_outputs.render(self.TEXT + self.BLOCK, records)
            self.assertEqual(self.check_text(mended, **records), "")
        self.assertIn("91.6 %", readme_outputs.render(self.TEXT + self.BLOCK, {"quickstart": self.RUN.replace("91.5%", "91.6%")}))
        self.assertIn("write it anew", self.check_text(self.TEXT.replace("30.3", "30.4") + self.BLOCK, quickstart=self.RUN))

    def test_block_without_record_and_record_without_block(self):
        self.assertIn("no block <!-- output quickstart -->", self.check_text(self.TEXT, quickstart=self.RUN))
        with self.assertRaises(SystemExit):
            self.check_text(self.TEXT + self.BLOCK)

    def test_records_of_different_runs(self):
        inspect = "submodels  0.5      budget 0.5     50 parameters ( 50.0%)  hidden 4, M 2\n"
        self.assertEqual(list(readme_outputs.contradictions({"quickstart": self.RUN, "inspect": inspect})), [])
        for old, new in ((" 50 ", " 51 "), ("M 2", "M 3"), ("budget 0.5", "budget 0.6")):
            other = {"quickstart": self.RUN, "inspect": inspect.replace(old, new)}
            self.assertNotEqual(list(readme_outputs.contradictions(other)), [], new)


class MutantsApply(TreeTest):
    ENTRY = "mutant  a\nfile    src/a.cpp\ntests   base/test_a\nfault   Adds one.\n- x + 1\n+ x\n"

    def check_entry(self, entry, more=""):
        self.write("src/a.cpp", "int f(int x) { return x + 1; }\n")
        self.write("unit_tests/base/test_a.cpp", "TEST(A, Adds) {}\n")
        self.write("unit_tests/mutants/a.mutants", f"# comment\n{entry}\n{more}")
        return self.problems(mutants_apply)

    def test_good_and_bad_entries(self):
        self.assertEqual(self.check_entry(self.ENTRY), "")
        for old, new, message in (("- x + 1", "- x + 2", "occurs 0 times"), ("- x + 1", "- x", "occurs 2 times"),
                                  ("+ x", "+ x + 1", "changes nothing"), ("src/a", "src/b", "there is no src/b.cpp"),
                                  ("test_a", "test_b", "there is no unit_tests/base/test_b.cpp"),
                                  ("fault   Adds one.", "", "no fault"), ("file  ", "files ", "is no line of an entry")):
            self.assertIn(message, self.check_entry(self.ENTRY.replace(old, new)))
        self.assertIn("a.mutants:9: mutant a is also in unit_tests/mutants/a.mutants:2", self.check_entry(self.ENTRY, self.ENTRY))


class SameOutput(TreeTest):
    def test_equal_and_different(self):
        file = self.write("x.md", "a\nb\n")
        self.assertEqual(same_output.difference(file, ["printf", "a\\nb\\n"]), "")
        self.assertIn("+c", same_output.difference(file, ["printf", "a\\nc\\n"]))
        self.assertIn("write it anew", same_output.difference(file, ["printf", "a\\nb"]))
        self.assertIn("write it anew", same_output.difference(self.root / "none.md", ["printf", "a\\n"]))
        self.assertIn("exit code 1", same_output.difference(file, ["false"]))
        self.assertIn("prints nothing", same_output.difference(self.root / "none.md", ["true"]))


if __name__ == "__main__":
    unittest.main()
