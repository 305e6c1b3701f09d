"""File locks between processes."""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from moe_distill.errors import InputError
from moe_distill.terminal import say

_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
_REFUSED = (errno.EACCES, errno.EPERM)


@contextlib.contextmanager
def locked(path: Path, key: str = "paths.store", waiting: str = "", refusal: str = "") -> Iterator[None]:
    """Hold a lock file during the block; the system frees it when the process ends, however it ends.

    Args:
        path: The lock file; its folder is created.
        key: The configuration key that decides where it lies, for error messages.
        waiting: A line to print while another process holds the lock; empty for none.
        refusal: What the user may do instead: if given and another process holds the lock, an error is
            raised. If empty, the lock is waited for.

    Raises:
        InputError: The file system has no locks, only another user may write the file, or another process
            holds the lock and ``refusal`` is given.
    """
    # A soft lock is a marker file: one left by a killed process of another machine would block for ever.
    lock = FileLock(path, fallback_to_soft=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0.1)  # first briefly, so that nothing is printed about a short wait
        except Timeout as error:
            if refusal:
                raise InputError(key, path.parent, refusal) from error
            if waiting:
                say(waiting, style="yellow")
            lock.acquire()
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise InputError(key, path.parent, "a folder on a file system with flock") from error
        if error.errno in _REFUSED and path.exists():
            allowed = "a folder whose lock files everyone who shares it can write"
            advice = f"run chmod -R g+w, then use umask 002 ({error.strerror})"
            raise InputError(key, path, f"{allowed}: {advice}") from error
        raise
    try:
        yield
    finally:
        lock.release()
