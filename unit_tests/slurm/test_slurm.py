# SPDX-License-Identifier: Apache-2.0
# elastic.x under a real Slurm: jobs of jobscripts/ that are signalled, or run out of time, are requeued and end with the
# numbers of an unbroken run; a wrong srun is explained; a rank that is killed takes the others with it.
import os
import pathlib
import re
import signal
import sys
import time

import slurm_cluster

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "project"))
from run_support import LIMIT_SECONDS, STOPPED, RunTest, Settings, main, rank_ids, wait_for  # noqa: E402

PLAN = ["job/phases=pretrain,rank,elastic,slice", "evaluate/every_steps=30", "output/every_steps=2", "pretrain/steps=60",
        "checkpoint/every_steps=25"]
SIZE = ["--nodes=1", "--ntasks-per-node=2", "--cpus-per-task=1", "--gpus-per-node=0", "--time=7"]  # of a job, here
LIMIT_AFTER_A_KILL = 30
cluster = None


def setUpModule():
    global cluster
    cluster = slurm_cluster.Cluster()
    cluster.start()


def tearDownModule():
    cluster.stop()
    wait_for(lambda: not slurm_cluster.other_processes())


class Slurm(RunTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.srun("--mpi=pmix", name="whole")

    @classmethod
    def start_srun(cls, *flags, name, arguments=()):
        return cluster.start_command("srun", "-n", "2", *flags, Settings.program, cls.deck, f"job/folder={cls.path(name)}",
                                     *PLAN, *arguments, cwd=Settings.root)

    @classmethod
    def srun(cls, *flags, code=0, **keywords):
        process = cls.start_srun(*flags, **keywords)
        got, output = cls.finish(process)
        if got != code:
            raise AssertionError(f"exit code {got}, expected {code}: {process.args}\n{output}")
        return output

    # --- jobs ---
    def submit(self, script, name, *arguments, options=(), **variables):
        """Job number. The script is as it stands in jobscripts/, on what this machine has."""
        variables = {"ELASTIC": Settings.program, "DECK": self.deck, "FOLDER": self.path(name), **variables}
        options = ["--parsable", f"--output={self.path(name)}.out", *SIZE, *options]
        answer = cluster.output("sbatch", *options, f"jobscripts/{script}", *PLAN, *arguments, cwd=Settings.root,
                                **{key: str(value) for key, value in variables.items()})
        self.assertRegex(answer, r"^\d+\n$")
        return answer.strip()

    def wait_for_end(self, number, name, state="COMPLETED"):
        """Number of restarts; fails unless the job ends in this state."""
        got, restarts, code = cluster.wait_for_job(number, LIMIT_SECONDS)
        if got != state:
            raise AssertionError(f"{got}, exit code {code}\n{self.text(name + '.out')}\n{cluster.logs()}")
        return restarts

    def last_step(self, name):
        try:
            return int(self.rows(name)[-1]["step"])
        except (OSError, IndexError, ValueError, TypeError):
            return 0  # no row yet, or one that is being written

    def test_signalled_job_is_requeued_and_resumes(self):
        job = self.submit("one_node.sh", "signalled", "parallel/micro_batch_size=2")
        wait_for(lambda: self.last_step("signalled") >= 10)
        self.assertEqual(cluster.output("scancel", "--signal=USR1", job), "")  # as --signal does it
        self.assertEqual(self.wait_for_end(job, "signalled"), 1)
        output = self.text("signalled.out")
        left = [int(seconds) for seconds in re.findall(r"wall time: (\d+) s left\n", output)]
        self.assertEqual(len(left), 2)
        for seconds in left:  # as squeue has said
            self.assertTrue(300 < seconds <= 420, seconds)
        self.assertEqual(output.count("continue with --resume"), 1)
        self.assertEqual(output.count("resumed from"), 1)
        self.assert_same_course("whole", "signalled")

    def test_job_that_runs_out_of_time_is_requeued_until_it_is_done(self):
        # The first two jobs have no time left from the start, as squeue says, hence make one step each.
        squeue = pathlib.Path(self.write("hurried/squeue", "#!/bin/sh\necho 0:00\n"))
        program = pathlib.Path(self.write("hurried.sh", f"""#!/bin/bash
            if ((${{SLURM_RESTART_COUNT:-0}} < 2)); then export SLURM_JOB_END_TIME= PATH={squeue.parent}:$PATH; fi
            exec {Settings.program} "$@" """))
        for script in (squeue, program):
            script.chmod(0o755)
        job = self.submit("requeue_chain.sh", "chain", ELASTIC=program)
        self.assertEqual(self.wait_for_end(job, "chain"), 2)
        output = self.text("chain.out")
        self.assertEqual(re.findall(r"stopped after step (\d+)", output), ["1", "2"])
        self.assertEqual(re.findall(r"resumed from .* at step (\d+)", output), ["1", "2"])
        self.assertEqual(output.count("a step may take"), 2)
        self.assert_same_course("whole", "chain")

    def test_chain_ends_where_nothing_is_gained(self):
        job = self.submit("requeue_chain.sh", "vain", "checkpoint/save=false", "job/stop_after_step=2")
        self.assertEqual(self.wait_for_end(job, "vain", state="FAILED"), 0)
        self.assertIn("the chain ends here", self.text("vain.out"))

    def test_element_of_the_scaling_array(self):
        job = self.submit("scaling_array.sh", "scaling", "job/phases=pretrain,report", options=["--array=1"])
        self.assertEqual(self.wait_for_end(job, "scaling"), 0)
        kind, ranks, rate = self.text("scaling/strong_2/rate.csv").strip().split(",")
        self.assertEqual((kind, ranks), ("strong", "2"))
        self.assertGreater(float(rate), 0)
        self.assertEqual(self.results("scaling/strong_2")["ranks"], 2)

    def test_every_script_is_accepted(self):
        for script in sorted(pathlib.Path(Settings.root, "jobscripts").glob("*.sh")):
            answer = cluster.output("sbatch", "--test-only", *SIZE, script)
            self.assertRegex(answer, r"Job \d+ to start at", script)

    # --- srun ---
    def test_exit_code_passes_through_srun(self):
        self.srun("--mpi=pmix", "--wait=20", name="stopped", arguments=["job/stop_after_step=3"], code=STOPPED)

    def test_srun_without_process_manager_is_explained(self):
        output = self.srun(name="alone", code=1)
        self.assertIn("srun --mpi=pmix", output)
        self.assertFalse(os.path.exists(self.path("alone")))

    def test_lone_processes_are_refused(self):
        # Open MPI starts lone processes when it does not know that it is under Slurm; other libraries do so anyhow.
        forget = ["env", "-u", "SLURM_JOBID", "-u", "SLURM_NODELIST"]
        process = cluster.start_command("srun", "-n", "2", *forget, Settings.program, self.deck, cwd=Settings.root)
        code, output = self.finish(process)
        self.assertEqual(code, 1, output)
        self.assertIn("srun started 2 tasks, but MPI sees a world of 1 process", output)

    def test_killed_rank_ends_the_others(self):
        process = self.start_srun("--mpi=pmix", "--wait=20", name="killed")
        wait_for(lambda: self.last_step("killed") >= 30 or process.poll() is not None)
        ranks = rank_ids(1)  # steps of Slurm are no children of srun
        self.assertEqual(len(ranks), 2)
        os.kill(ranks[1], signal.SIGKILL)
        start = time.monotonic()
        code, output = self.finish(process)
        wait_for(lambda: not rank_ids(1))
        self.assertLess(time.monotonic() - start, LIMIT_AFTER_A_KILL)
        self.assertEqual(code, 128 + signal.SIGKILL, output)
        self.assertRegex(output, r"task \d: Killed")
        self.srun("--mpi=pmix", name="killed", arguments=["--resume"])
        self.assert_same_course("whole", "killed")


if __name__ == "__main__":
    if slurm_cluster.why_not():
        print("skipped:", slurm_cluster.why_not())
        sys.exit(77)
    slurm_cluster.enter_own_processes()
    main()
