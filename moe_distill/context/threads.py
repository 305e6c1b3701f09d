"""How many cores and threads this process may use, as limited by the system, a container or Slurm."""

import os
from collections.abc import Iterator
from pathlib import Path

from moe_distill.errors import InputError

_MOST = 1024  # threads; the option `threads` has the same limit
# The cgroups that this process belongs to, and where the limits of every cgroup can be read.
_PROCESS, _MOUNT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def threads_of_environment() -> int | None:
    """Return the number in ``OMP_NUM_THREADS``, or None if there is none.

    OpenMP allows a list such as ``4,2``, one number for each nesting level; the first one counts.

    Raises:
        InputError: The number is above 1024.
    """
    return _number_in("OMP_NUM_THREADS")


def cores() -> int:
    """Return how many cores this process may use.

    That is the number of cores it is bound to, but no more than its share of CPU time and than
    ``SLURM_CPUS_PER_TASK``.

    Raises:
        InputError: ``SLURM_CPUS_PER_TASK`` is above 1024.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # Containers and systemd limit the CPU time, not the cores: 2.5 cores' worth of time counts as 2 cores.
    quota = min((max(1, int(share)) for share in _quotas()), default=bound)
    # Slurm does not bind processes to their cores on every cluster, so its variable counts too.
    return min(bound, quota, _number_in("SLURM_CPUS_PER_TASK") or bound)


def _number_in(variable: str) -> int | None:
    """Return the number of threads in a variable of the environment, or None if it holds no number."""
    first = os.environ.get(variable, "").partition(",")[0].strip()
    # isdigit alone accepts digits such as "²", which int() does not.
    if not (first.isascii() and first.isdigit() and int(first) > 0):
        return None
    if int(first) > _MOST:
        raise InputError(variable, first, f"at most {_MOST}")
    return int(first)


def _quotas() -> Iterator[float]:
    """Yield how many cores' worth of CPU time each cgroup of this process grants it (cgroups v2 and v1)."""
    try:
        # Each line is "id:controllers:path"; the path may contain colons.
        lines = [line.split(":", 2) for line in _PROCESS.read_text().splitlines()]
    except OSError:  # no Linux
        return
    for _, controllers, name in lines:
        if controllers == "":  # version 2, where one hierarchy has all controllers
            for folder in _upwards(_MOUNT, name):
                yield from _share(_words(folder / "cpu.max"))  # "quota period"
        elif "cpu" in controllers.split(","):
            for folder in _upwards(_MOUNT / "cpu", name):
                quota, period = _words(folder / "cpu.cfs_quota_us"), _words(folder / "cpu.cfs_period_us")
                yield from _share([*quota, *period])


def _upwards(mount: Path, name: str) -> Iterator[Path]:
    """Yield a cgroup's folder and its parents up to the mount.

    In a container the mount may show the process's own cgroup as its root; then ``name`` does not exist below
    it, and only the mount itself has files to read.
    """
    folder = mount / name.strip("/")
    yield folder
    yield from (parent for parent in folder.parents if parent.is_relative_to(mount))


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        # Without control groups there is no such file, and no limit.
        return []


def _share(words: list[str]) -> Iterator[float]:
    """Yield quota / period, both in microseconds; nothing if there is no quota or it cannot be read."""
    # "No quota" is "max" in version 2 and -1 in version 1: neither consists of digits.
    if len(words) == 2 and all(word.isdigit() for word in words) and int(words[1]):
        yield int(words[0]) / int(words[1])
