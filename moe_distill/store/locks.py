"""Locks between processes."""

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
    """Hold a lock file meanwhile; the system frees it when its holder ends, however that ends.

    Args:
        path: The lock file; its folder is made where it is missing.
        key: The configuration key that says where it lies.
        waiting: What is said where another process holds it; nothing where it is empty.
        refusal: What is allowed instead; where it is empty, another holder is waited for.

    Raises:
        InputError: The file system has no such locks, the file is one that only another user may write, or
            another process holds it and is not to be waited for.
    """
    # A soft lock would be a marker file: what a killed process of another machine left would be waited for
    # for ever.
    lock = FileLock(path, fallback_to_soft=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0.1)
        except Timeout as held:
            if refusal:
                raise InputError(key, path.parent, refusal) from held
            if waiting:
                say(waiting, style="yellow")
            lock.acquire()
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise InputError(key, path.parent, "a folder on a file system with flock") from error
        if error.errno in _REFUSED and path.exists():
            allowed = "a folder whose lock files all who share it may write: chmod -R g+w, and umask 002 from now on"
            raise InputError(key, path, f"{allowed} ({error.strerror})") from error
        raise
    try:
        yield
    finally:
        lock.release()
