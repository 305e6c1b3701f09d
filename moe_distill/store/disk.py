"""Write files atomically, and explain errors of the file system in one line.

The line names the setting and the folder at fault.
"""

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
# In the text of an error, as libraries such as safetensors pass on only that.
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
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary file name that replaces ``path`` after the block; it is removed if writing fails.

    A folder that lies at ``path`` is set aside.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with atomic_path(Path(folder, "a.txt")) as temporary:
        ...         _ = temporary.write_text("done")
        ...     Path(folder, "a.txt").read_text()
        'done'
    """
    # In the same folder, as a rename is atomic only within one file system.
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        sync_file(temporary)
        if path.is_dir() and not path.is_symlink():
            set_aside(path, "it is a folder")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sync_file(path: Path) -> None:
    """Flush a file to the disk, so that it survives a loss of power."""
    # Before a rename: the file system may otherwise write the new name before the content.
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Flush a folder to the disk, so that a file renamed in it has its new name after a crash.

    Raises:
        OSError: The folder cannot be opened or flushed.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems sync no folders
            raise
    finally:
        os.close(descriptor)


def as_input_error(error: BaseException, folders: Mapping[str, Path]) -> InputError | None:
    """Return an error of the file system as an InputError, or None if it is another kind or lies elsewhere.

    Args:
        error: Any exception.
        folders: The folders that the program writes to, each by the configuration key that sets it.

    Example:
        >>> error = PermissionError(errno.EACCES, "Permission denied", "/mnt/a")
        >>> print(as_input_error(error, {"paths.store": Path("/mnt")}))
        paths.store=/mnt: a folder that can be read and written (Permission denied: /mnt/a)
    """
    if isinstance(error, InputError) or not isinstance(error, Exception):
        return None
    number = _number_of(error)
    filename = getattr(error, "filename", None)
    path = Path(os.fsdecode(filename)) if isinstance(filename, str | bytes | Path) else None
    within = None if path is None else _holding(path, folders)
    full = [key for key, folder in folders.items() if _is_full(folder)]
    # A full disk surfaces as other errors too, such as a file that was cut short.
    if any(words in str(error).lower() for words in _FULL) or (number not in _REFUSED and full):
        key = within or next(iter(full or folders))
        allowed = (
            "a folder with room; the disk is full, nothing half-written was kept, the same command goes on"
        )
        return InputError(key, folders[key], allowed)
    # A missing file is an ordinary error, unless the folder itself could not be created.
    cannot_exist = number == errno.ENOENT and within is not None and not folders[within].exists()
    if number is None or (number not in _REFUSED and not cannot_exist):
        return None
    if within is None and filename is not None:
        return None  # some other file, of which our settings say nothing
    key = within or next(iter(folders))
    is_broken_link = path is not None and path.is_symlink() and not path.exists()
    # mkdir reports a broken link as an existing file, which the user would not find.
    reason = "A link to nothing" if number == errno.EEXIST and is_broken_link else os.strerror(number)
    where = "" if filename is None else f": {os.fsdecode(filename)}"
    return InputError(key, folders[key], f"a folder that can be read and written ({reason}{where})")


def _number_of(error: Exception) -> int | None:
    """Return the errno of an error, or None."""
    if isinstance(error, OSError):
        return error.errno
    match = re.search(r"\(os error (\d+)\)", str(error))  # safetensors gives it in its text only
    return int(match[1]) if match else None


def _holding(path: Path, folders: Mapping[str, Path]) -> str | None:
    """Return the key of the innermost folder that contains a path, or that would be created below it."""
    path = path.absolute()
    candidates: dict[str, Path] = {}
    for key, folder in folders.items():
        folder = folder.absolute()
        if path.is_relative_to(folder) or (folder.is_relative_to(path) and not folder.exists()):
            candidates[key] = folder
    return max(candidates, key=lambda key: len(candidates[key].parts), default=None)


def _is_full(folder: Path) -> bool:
    try:
        place = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
        usage = shutil.disk_usage(place)
    except OSError:
        # A disk that cannot be asked is not known to be full.
        return False
    return usage.total > 0 and usage.free < _FULL_BELOW_BYTES  # /proc and its like have no size at all


def expanded(path: str | Path, key: str) -> Path:
    """Return a path with ``~`` or ``~name`` in front replaced by the user's home.

    Args:
        path: As typed.
        key: The configuration key that it was typed for.

    Raises:
        InputError: There is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(key, path, "a path; there is no user of the name after ~") from error


def as_path(path: object, key: str = "path") -> Path:
    """Return a path that a Python call was passed.

    Raises:
        InputError: It is none.
    """
    if not isinstance(path, str | Path) or not str(path):
        raise InputError(key, path if path == "" else type(path).__name__, "a path")
    return expanded(path, key)


@contextlib.contextmanager
def file_of_user(path: object) -> Iterator[Path]:
    """Yield the path of a file that a user wants written, in a folder that is made where it is missing.

    What a user has there is never set aside: a folder of the name is refused.

    Raises:
        InputError: It is no path, a folder, or cannot be written.
    """
    file = as_path(path)
    if file.is_dir():
        raise InputError("path", file, "a file; this is a folder")
    with explain_disk_errors({"path": file.parent}):
        file.parent.mkdir(parents=True, exist_ok=True)
        yield file


@contextlib.contextmanager
def explain_disk_errors(folders: Mapping[str, str | Path]) -> Iterator[None]:
    """Turn errors of the disk under some folders, raised in the block, into an InputError.

    Args:
        folders: The folders that are written to, each by the configuration key that sets it.

    Raises:
        InputError: The disk is full, or a folder cannot be read or written.
    """
    paths = {key: expanded(folder, key) for key, folder in folders.items()}
    try:
        yield
    except BaseException as error:
        if (explanation := as_input_error(error, paths)) is not None:
            raise explanation from error
        raise
