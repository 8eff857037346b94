# SPDX-License-Identifier: Apache-2.0
# Threads of a rank: in deterministic mode any number of them gives the same bits, and on the default route the same losses
# but for rounding. With a Serial Kokkos only products that a library multiplies have several threads.
import os
import unittest.mock

from run_support import RunTest, main

SHORT = ["job/phases=pretrain,rank,elastic,slice", "pretrain/steps=4", "stage1/steps=3", "stage2/steps=2", "evaluate/every_steps=0",
         "checkpoint/save=false", "output/every_steps=1"]
ROUNDING = 1e-4  # relative, of losses of the first steps


class Threads(RunTest):
    def run_threads(self, name, threads, *arguments):
        """One rank, which no launcher binds to a core (cmake/ElasticFolder.cmake)."""
        with unittest.mock.patch.dict(os.environ, {"OMP_NUM_THREADS": str(threads)}):
            self.run_deck(name, *SHORT, *arguments, ranks=1)

    def test_the_same_bits_on_the_deterministic_route(self):
        for precision in ("float32", "bfloat16"):
            for threads in (1, 2, 4):
                with self.subTest(precision=precision, threads=threads):
                    self.run_threads(f"{precision}_{threads}", threads, f"precision/compute={precision}", "job/deterministic=true")
                    self.assert_same_course(f"{precision}_1", f"{precision}_{threads}")

    def test_the_same_losses_on_the_default_route(self):
        for threads in (1, 2):
            self.run_threads(f"default_{threads}", threads)
        one, two = self.rows("default_1"), self.rows("default_2")
        self.assertEqual(len(one), 9)
        for a, b in zip(one, two, strict=True):
            self.assertAlmostEqual(float(a["loss"]) / float(b["loss"]), 1, delta=ROUNDING, msg=a["step"])


if __name__ == "__main__":
    main()
