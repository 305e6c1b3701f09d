"""Errors of the file system as one line that names the setting and the folder at fault."""

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from moe_distill.errors import InputError
from moe_distill.store.damage import set_aside

_FULL_BELOW_BYTES = 1 << 20
_FULL = ("no space left", "quota exceeded")
_REFUSED = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENAMETOOLONG,
)


@contextlib.contextmanager
def in_place_of(path: Path) -> Iterator[Path]:
    """Give a name to write under, which then takes the place of ``path``; nothing is left where writing
    fails.

    A folder in that place is set aside.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        keep(temporary)
        if path.is_dir() and not path.is_symlink():
            set_aside(path, "it is a folder")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def keep(path: Path) -> None:
    """Have a file on the disk before its name says that it is whole, even where the machine loses power."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Have a folder's names on the disk: a file that was renamed in it is there under its new name after a
    crash.
    """
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems sync no folders
            raise
    finally:
        os.close(opened)


def explained(error: BaseException, folders: Mapping[str, Path]) -> InputError | None:
    """Return an error of the file system as the user's own, or None where it is none or lies elsewhere.

    Args:
        error: What was raised.
        folders: The folders that are written to, by the key of the configuration that names each.
    """
    if isinstance(error, InputError) or not isinstance(error, Exception):
        return None
    number, path = _number_of(error), getattr(error, "filename", None)
    within = _holding(Path(os.fsdecode(path)), folders) if isinstance(path, str | bytes | Path) else None
    full = [key for key, folder in folders.items() if _is_full(folder)]
    if any(words in str(error).lower() for words in _FULL) or (number not in _REFUSED and full):
        at = within or next(iter(full or folders))
        allowed = (
            "a folder with room; the disk is full, nothing half-written was kept, the same command goes on"
        )
        return InputError(at, folders[at], allowed)
    cannot_exist = number == errno.ENOENT and within is not None and not folders[within].exists()
    if number not in _REFUSED and not cannot_exist:
        return None
    key = within or (next(iter(folders)) if path is None else None)
    if key is None or number is None:
        return None
    lost = path is not None and Path(os.fsdecode(path)).is_symlink() and not Path(os.fsdecode(path)).exists()
    said = "A link to nothing" if number == errno.EEXIST and lost else os.strerror(number)
    what = f" ({said}: {os.fsdecode(path)})" if path is not None else f" ({said})"
    return InputError(key, folders[key], f"a folder that can be read and written{what}")


def _number_of(error: Exception) -> int | None:
    """Return the system's number of an error, also of one that safetensors tells in its text alone."""
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else None


def _holding(path: Path, folders: Mapping[str, Path]) -> str | None:
    """Return the key of the innermost folder that holds a path, or is made below it."""
    path = path.absolute()
    around = {k: f.absolute() for k, f in folders.items() if path.is_relative_to(f.absolute())}
    around |= {
        k: f.absolute() for k, f in folders.items() if f.absolute().is_relative_to(path) and not f.exists()
    }
    return max(around, key=lambda key: len(around[key].parts), default=None)


def _is_full(folder: Path) -> bool:
    try:
        place = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
        usage = shutil.disk_usage(place)
    except OSError:
        return False
    return usage.total > 0 and usage.free < _FULL_BELOW_BYTES  # /proc and its like have no size at all


def expanded(path: str | Path, key: str) -> Path:
    """Return a path of which ``~`` or ``~name`` in front is the home of a user.

    Args:
        path: As typed.
        key: What it was typed for.

    Raises:
        InputError: There is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(key, path, "a path; what ~ begins is the home of a user, here of none") from error


class guard_disk:
    """Inside the block, an error of the disk under one of some folders becomes one line.

    Args:
        folders: Those that are written to, by the key of the configuration that names each.
    """

    def __init__(self, folders: Mapping[str, str | Path]) -> None:
        self.folders = {key: expanded(folder, key) for key, folder in folders.items()}

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if error is not None and (ours := explained(error, self.folders)) is not None:
            raise ours from error
