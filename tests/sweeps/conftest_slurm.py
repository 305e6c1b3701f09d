"""A real Slurm of one node, from Debian's packages: no systemd, no cgroups, no accounting, loopback alone."""

import os
import secrets
import shutil
import socket
import subprocess
import time

import pytest

PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"  # of daemons
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")
CONF = """
ClusterName=throwaway
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmdParameters=config_overrides
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
KillWait=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(count):
    """Return ports that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [held.getsockname()[1] for held in sockets]
    for held in sockets:
        held.close()
    return ports


class Slurm:
    """Daemons as children of this process, below one folder."""

    def __init__(self, folder):
        self.folder, self.daemons = folder, []
        self.env = os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": PATH}

    def start(self):
        """Start them; return when the node waits for jobs."""
        folder, host = self.folder, socket.gethostname().partition(".")[0]
        for name in ("state", "spool"):
            (folder / name).mkdir()
        folder.chmod(0o755)  # munged wants nobody else to write there
        (folder / "munge.key").write_bytes(secrets.token_bytes(1024))
        (folder / "munge.key").chmod(0o600)
        text = CONF.format(folder=folder, host=host, ports=free_ports(2), cores=max(2, os.cpu_count()))
        (folder / "slurm.conf").write_text(text)
        munge = [f"--{what}={folder}/munge.{end}" for what, end in (("socket", "sock"), ("key-file", "key"))]
        munge += [f"--{what}={folder}/munge.{what}" for what in ("pid-file", "seed-file", "log-file")]
        self.daemon("munged", "--foreground", "--force", *munge)
        self.until(lambda: (folder / "munge.sock").exists())
        self.daemon("slurmctld", "-D")
        self.until(
            lambda: self("scontrol", "ping", check=False).endswith("UP")
        )  # slurmd asks again only after a while
        self.daemon("slurmd", "-D")
        self.until(lambda: self("sinfo", "-h", "-o", "%T", check=False) == "idle")

    def daemon(self, *command):
        """Start one in the foreground."""
        log = (self.folder / f"{command[0]}.out").open("wb")
        self.daemons.append(
            subprocess.Popen(command, env=self.env, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        )

    def stop(self):
        """End every job and every daemon."""
        self("scancel", "--signal=KILL", "--full", "--user=root", check=False)
        self("scancel", "--user=root", check=False)
        end = time.monotonic() + 10
        while self("squeue", "-h", check=False) and time.monotonic() < end:
            time.sleep(0.1)
        for daemon in reversed(self.daemons):
            daemon.terminate()
            try:
                daemon.wait(timeout=10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def __call__(self, *command, check=True):
        """Run a command of Slurm; return what it prints."""
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout.strip()

    def until(self, condition, seconds=60):
        """Wait for a condition; fail with the daemons' logs when it does not come, or a daemon ends."""
        end = time.monotonic() + seconds
        while not condition():
            alive = all(daemon.poll() is None for daemon in self.daemons)
            logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in self.folder.glob("*.log"))
            assert alive and time.monotonic() < end, logs
            time.sleep(0.1)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A running Slurm; skips where its packages are not installed."""
    missing = [name for name in NEEDED if not shutil.which(name, path=PATH)]
    if missing or os.geteuid():
        pytest.skip(
            f"needs root and Debian's slurm-wlm, munge and slurm-client: no {' '.join(missing) or 'root'}"
        )
    pytest.importorskip("submitit")
    started = Slurm(tmp_path_factory.mktemp("slurm"))
    try:
        started.start()
        yield started
    finally:
        started.stop()
