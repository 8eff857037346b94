# SPDX-License-Identifier: Apache-2.0
# A real Slurm on this machine for as long as a test needs it: munged, slurmctld and slurmd in a temporary folder, with
# ports and sockets of their own. Needs root, and the packages slurmctld, slurmd, slurm-client.
#
#   with Cluster() as cluster:
#       cluster.run("srun", "-n", "2", "hostname")
#
# enter_own_processes() must come first: the test goes on in a process namespace of its own, and with its end, however
# that comes about, the kernel ends everything in it: no daemon, job step or rank can stay behind.
import os
import pathlib
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time

COMMANDS = ["munged", "slurmctld", "slurmd", "srun", "sbatch", "scontrol", "squeue", "scancel", "unshare"]
PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"
OWN = "ELASTIC_OWN_PROCESSES"
SECONDS_TO_START = 20
SECONDS_OF_CREDENTIALS = 5  # the least that Slurm takes; before that, slurmd refuses a requeued job as one that was killed
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")

CONFIGURATION = """\
ClusterName=elastic
SlurmctldHost=localhost
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire={expire}
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
TmpFS={folder}/tmp
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
JobRequeue=1
ReturnToService=2
KillWait=2
SlurmdParameters=config_overrides
NodeName=localhost CPUs=4 State=UNKNOWN
PartitionName=test Nodes=localhost Default=YES MaxTime=60 State=UP
"""


def why_not():
    """What is missing on this machine; empty if nothing is."""
    if os.geteuid() != 0:
        return "a Slurm of our own needs root"
    missing = [name for name in COMMANDS if not shutil.which(name, path=PATH)]
    return "not installed: " + ", ".join(missing) if missing else ""


def enter_own_processes():
    """Starts this program again as the first process of a namespace, and ends with its exit code."""
    if OWN in os.environ:
        return
    separate = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if subprocess.run([*separate, "true"], capture_output=True).returncode != 0:
        print("skipped: this system refuses a process namespace")
        sys.exit(77)
    os.environ[OWN] = "1"
    os.execvp(separate[0], [*separate, sys.executable, "-B", *sys.argv])


def other_processes():
    """All that run in the namespace besides this one, its first, which is the parent of orphans."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
    return [int(p.name) for p in pathlib.Path("/proc").iterdir() if p.name.isdigit() and int(p.name) != os.getpid()]


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Cluster:
    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="elastic_slurm_"))
        self.daemons = []

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    # --- daemons ---
    def start(self):
        self.folder.chmod(0o755)  # munged refuses sockets that others cannot reach
        for name in ("state", "spool", "tmp"):
            (self.folder / name).mkdir()
        controller_port, node_port = free_ports(2)
        configuration = self.folder / "slurm.conf"
        configuration.write_text(CONFIGURATION.format(folder=self.folder, expire=SECONDS_OF_CREDENTIALS,
                                                      controller_port=controller_port, node_port=node_port))
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_", "PMIX_"))}
        self.environment.update(PATH=PATH, SLURM_CONF=str(configuration))
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        files = {name: self.folder / f"munge.{name}" for name in ("socket", "pid", "log", "seed")}
        self.daemon("munged", "--foreground", f"--key-file={key}", f"--socket={files['socket']}",
                    f"--pid-file={files['pid']}", f"--log-file={files['log']}", f"--seed-file={files['seed']}")
        self.wait_for(files["socket"].exists, "munged")
        self.daemon("slurmctld", "-D")
        self.daemon("slurmd", "-D", "-N", "localhost")
        self.wait_for(lambda: "idle" in self.output("sinfo", "--noheader", "--format=%t"), "an idle node")

    def daemon(self, *command):
        with open(self.folder / f"{command[0]}.out", "w") as out:
            self.daemons.append(subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=out,
                                                 stderr=subprocess.STDOUT, start_new_session=True))

    def wait_for(self, condition, what):
        end = time.monotonic() + SECONDS_TO_START
        while not condition():
            ended = [d.args[0] for d in self.daemons if d.poll() is not None]
            if ended or time.monotonic() > end:
                raise AssertionError(f"no {what}; ended: {ended}\n{self.logs()}")
            time.sleep(0.05)

    def stop(self):
        for daemon in reversed(self.daemons):  # slurmd ends the steps of its jobs
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def logs(self):
        return "\n".join(f"--- {f.name}\n{f.read_text(errors='replace')[-3000:]}"
                         for f in sorted(self.folder.glob("*")) if f.suffix in (".log", ".out"))

    # --- commands ---
    def start_command(self, *command, cwd=None, **environment):
        return subprocess.Popen([str(c) for c in command], cwd=cwd, env=dict(self.environment, **environment), text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                start_new_session=True)

    def output(self, *command, **keywords):
        """What a command prints, errors included; whether it succeeded does not matter."""
        return self.start_command(*command, **keywords).communicate(timeout=60)[0]

    def job(self, number):
        """State (PENDING, RUNNING, COMPLETED, ...), number of restarts, exit code."""
        fields = dict(field.partition("=")[::2] for field in self.output("scontrol", "show", "job", number).split())
        return fields.get("JobState", ""), int(fields.get("Restarts", 0)), fields.get("ExitCode", "")

    def wait_for_job(self, number, seconds):
        """What job() says at its end. A requeued job is let go as soon as slurmd has forgotten the earlier one."""
        end = time.monotonic() + seconds
        requeued = None
        while time.monotonic() < end:
            state, restarts, code = self.job(number)
            if state in ENDED:
                return state, restarts, code
            if state != "PENDING" or restarts == 0:
                requeued = None
            elif requeued is None:
                requeued = time.monotonic()
            elif time.monotonic() > requeued + SECONDS_OF_CREDENTIALS + 1:
                self.output("scontrol", "update", f"JobId={number}", "StartTime=now")
            time.sleep(0.1)
        raise AssertionError(f"job {number}: no end after {seconds} s: {self.job(number)}\n{self.logs()}")
