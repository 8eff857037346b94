# SPDX-License-Identifier: Apache-2.0
# A run that was stopped and resumed gives the numbers of one that was not: history.csv and router.csv to the byte, the
# tensors of model.h5 to the bit. Stopped by the deck in every part of the plan, by signals, and killed without warning.
import os
import pathlib
import signal
import unittest.mock

from run_support import STOPPED, RunTest, Settings, main, rank_ids, tensors, wait_for

TRAINING = ["job/phases=pretrain,rank,elastic,slice", "evaluate/every_steps=8", "output/every_steps=2"]
SHORT = [*TRAINING, "pretrain/steps=12", "stage1/steps=12", "stage2/steps=8", "checkpoint/every_steps=5",
         "stage2/teacher=trainable", "stage2/teacher_cross_entropy_weight=0.5"]
LONG = [*TRAINING, "pretrain/steps=60", "checkpoint/every_steps=20"]  # time for a signal to arrive in the middle


class StopAfterStep(RunTest):
    """Plan: pretrain 1-12, stage1 13-24, stage2 25-32."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.run_deck("whole", *SHORT)

    def check(self, step):
        name = f"stopped_{step}"
        output = self.run_deck(name, *SHORT, f"job/stop_after_step={step}", code=STOPPED)
        self.assertIn(f"stopped after step {step}", output)
        self.assertFalse((self.folder / name / "model.h5").exists())
        self.assertTrue(all(int(row["step"]) <= step for row in self.rows(name)))
        output = self.run_deck(name, *SHORT, "--resume")
        self.assertIn(f"at step {step} of 32", output)
        self.assert_same_course("whole", name)

    def test_in_pretraining(self):
        self.check(7)

    def test_before_the_ranking(self):
        self.check(12)

    def test_in_the_first_stage(self):
        self.check(17)

    def test_between_the_stages(self):
        self.check(24)

    def test_in_the_second_stage(self):
        self.check(29)

    def test_stopped_twice(self):
        name = "stopped_twice"
        self.run_deck(name, *SHORT, "job/stop_after_step=9", code=STOPPED)
        self.run_deck(name, *SHORT, "job/stop_after_step=26", "--resume", code=STOPPED)
        self.run_deck(name, *SHORT, "--resume")
        self.assert_same_course("whole", name)

    def test_time_is_up(self):
        """No time is left, as the batch system says: once to the run, however many ranks it has."""
        name, asked = "time", self.folder / "asked"
        pbs = "printf '    Resource_List.walltime = 01:00:00\\n    resources_used.walltime = 01:00:00\\n'"
        for step, (job, tool, answer) in enumerate((("SLURM_JOB_ID=7 SLURM_JOB_END_TIME=", "squeue", "echo 0:00"),
                                                    ("PBS_JOBID=7.host", "qstat", pbs), ("FLUX_JOB_ID=f7", "flux", "echo 0")), 1):
            command = pathlib.Path(self.write(f"bin/{tool}", f"#!/bin/sh\necho {tool} >>{asked}\n{answer}\n"))
            # A launcher may put folders of its own before those of PATH.
            program = pathlib.Path(self.write("bin/program", f"""#!/bin/sh
                unset SLURM_JOB_ID PBS_JOBID FLUX_JOB_ID FLUX_ENCLOSING_ID
                PATH={command.parent}:$PATH {job} exec {Settings.program} "$@" """))
            for script in (command, program):
                script.chmod(0o700)
            with unittest.mock.patch.object(Settings, "program", str(program)):
                output = self.run_deck(name, *SHORT, *["--resume"] * (step > 1), code=STOPPED)
            self.assertIn("wall time: 0 s left", output)
            self.assertIn(f"stopped after step {step}; continue with --resume", output)
        self.run_deck(name, *SHORT, "--resume", "job/walltime=1-12")
        self.assertEqual(asked.read_text().split(), ["squeue", "qstat", "flux"])
        self.assert_same_course("whole", name)

    def test_stop_after_the_last_step_is_the_end(self):
        self.run_deck("stopped_32", *SHORT, "job/stop_after_step=32")
        self.assert_same_course("whole", "stopped_32")

    def test_resume_of_a_finished_run_changes_nothing(self):
        self.run_deck("finished", *SHORT)
        before = tensors(self.path("finished/parent.h5"))
        self.assertIn("at step 32 of 32", self.run_deck("finished", *SHORT, "--resume"))
        self.assert_same_course("whole", "finished")
        self.assertEqual(before, tensors(self.path("finished/parent.h5")))

    def test_nothing_to_resume(self):
        output = self.run_deck("none", *SHORT, "--resume", code=1)
        self.assertEqual(output.count("no checkpoint to resume from"), 1)


class Widths(RunTest):
    def test_fixed_widths_stay_as_they_are(self):
        fixed = [*SHORT, "router/widths=homogeneous", "elastic/per_layer="]
        self.run_deck("whole", *fixed)
        self.run_deck("stopped", *fixed, "job/stop_after_step=17", code=STOPPED)
        self.run_deck("stopped", *fixed, "--resume")
        self.assert_same_course("whole", "stopped")
        seen = {}
        for row in self.rows("whole", "router.csv"):
            self.assertEqual((row["probability"], row["expected_width"]), ("1", row["likely_width"]))
            seen.setdefault((row["budget"], row["axis"], row["layer"]), set()).add(row["likely_width"])
        self.assertEqual({len(widths) for widths in seen.values()}, {1})
        self.assertEqual(seen["1", "hidden", "-1"], {"48"})
        self.assertLess(int(*seen["0.5", "hidden", "-1"]), 48)
        history = self.rows("whole")
        costs = [float(row["relative_cost_0.5"]) for row in history if row["relative_cost_0.5"]]
        self.assertLess(max(costs) - min(costs), 1e-9)
        self.assertEqual({row["tau"] for row in history}, {""})

    def test_a_budget_that_nothing_meets_is_said_once(self):
        # Depth alone decides. The plan drops the last layer, the ranking the first, which has fewer parameters: the run
        # that goes on with a narrow tolerance finds nothing that meets the budget, and trains on.
        deck = ["job/phases=pretrain,rank,elastic", "model/hybrid_layer_pattern=-M", "elastic/hidden_size=",
                "elastic/mamba_num_heads=", "elastic/num_attention_heads=", "elastic/ffn_hidden_size=", "elastic/per_layer=",
                "elastic/drop_layers=0,1", "elastic/budgets=1,0.54", "stage2/budget_probability=", "rank/order=reversed",
                "rank/depth_measure=last_layers", "pretrain/steps=2", "stage1/steps=4", "stage2/steps=4",
                "evaluate/every_steps=2", "output/every_steps=2"]
        output = self.run_deck("narrow", *deck, "elastic/tolerance=0.5", "job/stop_after_step=4", code=STOPPED)
        self.assertNotIn("not validated", output)
        output = self.run_deck("narrow", *deck, "elastic/tolerance=0.02", "--resume", "--accept-changes")
        self.assertIn("<elastic>/tolerance: 0.5 before, 0.02 now", output)
        self.assertEqual(output.count("not validated: "), 1, output)
        self.assertIn("step 6: not validated: ", output)
        validated = {int(row["step"]): row["valid_loss_0.54"] != "" for row in self.rows("narrow")}
        self.assertEqual(validated, {2: False, 4: True, 6: False, 8: False, 10: False})


class Signals(RunTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.run_deck("whole", *LONG)

    def last_step(self, name):
        try:
            return int(self.rows(name)[-1]["step"])
        except (OSError, IndexError, ValueError, TypeError):
            return 0  # no row yet, or one that is being written

    def start_and_reach(self, name, step):
        process = self.start(2, self.deck, f"job/folder={self.path(name)}", *LONG)
        wait_for(lambda: self.last_step(name) >= step or process.poll() is not None)
        self.assertIsNone(process.poll(), "the run has ended before the signal")
        return process

    def resume(self, name):
        self.assertLess(self.last_step(name), 120)
        self.run_deck(name, *LONG, "--resume")
        self.assert_same_course("whole", name)

    def check_stop(self, name, send):
        process = self.start_and_reach(name, 10)
        send(process.pid)
        code, output = self.finish(process)
        self.assertEqual(code, STOPPED, output)
        self.assertIn("continue with --resume", output)
        self.resume(name)

    def test_terminate_one_rank(self):
        self.check_stop("terminated", lambda launcher: os.kill(rank_ids(launcher)[1], signal.SIGTERM))

    def test_user_signal_to_the_launcher(self):
        # mpirun and srun hand SIGUSR1 on to all ranks; batch systems send it before the time is up.
        self.check_stop("warned", lambda launcher: os.kill(launcher, signal.SIGUSR1))

    def test_kill_all_ranks(self):
        # The rows after the checkpoint of step 20 are written anew.
        process = self.start_and_reach("killed", 30)
        wait_for((self.folder / "killed/checkpoints/checkpoint_000020.h5").exists)  # written while steps go on
        for rank in rank_ids(process.pid):
            os.kill(rank, signal.SIGKILL)
        code, _ = self.finish(process)
        self.assertNotIn(code, (0, STOPPED))
        self.resume("killed")


if __name__ == "__main__":
    main()
