"""How many cores and threads this process may use, by the system and by whoever started it."""

import os
from collections.abc import Iterator
from pathlib import Path

from moe_distill.errors import InputError

_MOST = 1024  # threads, as threads= takes
_PROCESS, _MOUNT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def threads_of_environment() -> int | None:
    """Return what ``OMP_NUM_THREADS`` says, of several levels the first; None where it says no number.

    Raises:
        InputError: It says more threads than there can be.
    """
    return _number_in("OMP_NUM_THREADS")


def cores() -> int:
    """Return how many cores this process may use: those it is bound to, at most its quota and what Slurm
    says.

    Slurm says so too where it does not bind processes to them; containers and systemd limit the time, not the
    cores.

    Raises:
        InputError: Slurm says more than there can be.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = min((max(1, int(share)) for share in _quotas()), default=bound)
    return min(bound, quota, _number_in("SLURM_CPUS_PER_TASK") or bound)


def _number_in(variable: str) -> int | None:
    """Return the number of threads that a variable of the environment says; None where it says none."""
    first = os.environ.get(variable, "").partition(",")[0].strip()
    if not (first.isascii() and first.isdigit() and int(first) > 0):
        return None
    if int(first) > _MOST:
        raise InputError(variable, first, f"at most {_MOST}")
    return int(first)


def _quotas() -> Iterator[float]:
    """Yield the cores' worth of time that each cgroup above this process grants it, of cgroups v2 and v1."""
    try:
        lines = [line.split(":", 2) for line in _PROCESS.read_text().splitlines()]
    except OSError:  # no Linux
        return
    for _, controllers, name in lines:
        if controllers == "":
            for folder in _upwards(_MOUNT, name):
                yield from _share(_words(folder / "cpu.max"))
        elif "cpu" in controllers.split(","):
            for folder in _upwards(_MOUNT / "cpu", name):
                yield from _share(
                    [*_words(folder / "cpu.cfs_quota_us"), *_words(folder / "cpu.cfs_period_us")]
                )


def _upwards(mount: Path, name: str) -> Iterator[Path]:
    """Yield a cgroup's folder and those above it; in a container the mount may show the process's own as its
    root.
    """
    folder = mount / name.strip("/")
    yield from (folder, *(above for above in folder.parents if above == mount or mount in above.parents))


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []


def _share(words: list[str]) -> Iterator[float]:
    """Yield quota over period, both in microseconds; nothing where the quota is ``max`` or -1, or not to be
    read.
    """
    if len(words) == 2 and all(word.isdigit() for word in words) and int(words[1]):
        yield int(words[0]) / int(words[1])
