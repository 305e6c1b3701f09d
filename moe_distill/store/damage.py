"""Check stored files against their checksums, and set damaged ones aside."""

import errno
import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from moe_distill.store.identity import key_of
from moe_distill.terminal import say

MANIFEST = "manifest.json"
# What reading a damaged JSON raises: a RecursionError beyond about a thousand nested brackets.
Unreadable = (ValueError, RecursionError)


def require_readable(path: Path) -> None:
    """Raise an error unless a path is a regular file that may be read.

    Raises:
        FileNotFoundError: There is nothing, or a link to nothing.
        PermissionError: It may not be read.
        OSError: It is a folder, a pipe or the like.
    """
    # First, as opening a pipe would wait for a writer.
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "no regular file", str(path))
    path.open("rb").close()  # safetensors reports a file that it may not open as missing


def checksum(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal; raises as :func:`require_readable`."""
    require_readable(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksums(folder: Path) -> dict[str, str]:
    """Return the checksum of every file below a folder, by its path relative to the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): checksum(path) for path in files}


def content_checksum(content: Mapping[str, object]) -> str:
    """Return the sha256 of the content of a JSON file, except its entry ``checksum``.

    Example:
        >>> content_checksum({"a": 1}) == content_checksum({"a": 1, "checksum": "1234"})
        True
    """
    # Through JSON and back, so that keys are texts and tuples are lists, as when the file is read.
    plain = json.loads(json.dumps({k: v for k, v in content.items() if k != "checksum"}))
    text = json.dumps(plain, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def flaw_of(folder: Path) -> str | None:
    """Return what is wrong with an artifact's folder in words, or None."""
    if (flaw := flaw_of_manifest(folder)) is not None:
        return flaw
    return _flaw_in_files(folder, json.loads((folder / MANIFEST).read_text()).get("files"))


def flaw_of_manifest(folder: Path) -> str | None:
    """Return what is wrong with an artifact's manifest in words, or None.

    Raises:
        PermissionError: It may not be read, which is no damage.
    """
    if not folder.is_dir():
        return "it is not a folder"
    try:
        require_readable(folder / MANIFEST)
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if "files" in manifest and manifest["checksum"] != content_checksum(manifest):
            return f"{MANIFEST} is not what was written"
        is_own = key_of(manifest["identity"], manifest["schema"]) == folder.name
    except PermissionError:
        # What may not be read is not damaged: it must not be set aside.
        raise
    except (OSError, LookupError, TypeError, *Unreadable) as error:
        return f"{MANIFEST} cannot be read ({type(error).__name__})"
    return None if is_own else f"{MANIFEST} is that of another artifact"


def _flaw_in_files(folder: Path, expected: Mapping[str, str] | None) -> str | None:
    """Return what is wrong with the files of a folder in words, or None.

    Args:
        folder: The folder.
        expected: The checksum of each file by its relative path; None for a folder of an early version
            without checksums, whose files need only be readable as their suffixes say.

    Raises:
        PermissionError: A file may not be read, which is no damage.
    """
    if expected is None:
        names = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        return next((f"{path.name} {flaw}" for path in names if (flaw := _unreadable(path))), None)
    for name, expected_sum in expected.items():
        try:
            if checksum(folder / name) != expected_sum:
                return f"{name} is not what was written"
        except PermissionError:
            raise
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
    # An extra file of a suffix that the artifact has, such as the set of one more expert, would be read as
    # part of it. Other files, such as a thumbnail of a file manager, do no harm.
    suffixes = {Path(name).suffix for name in expected}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix in suffixes and name not in expected and name != MANIFEST:
            return f"{name} is not one of its files"
    return None


def _unreadable(path: Path) -> str | None:
    """Return why a file is not of the type that its suffix says, without reading tensors, or None."""
    try:
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".csv":
            path.read_text(encoding="utf-8")
        elif path.suffix == ".safetensors":
            _require_whole_safetensors(path)
    except Unreadable as error:
        return f"cannot be read ({' '.join(str(error).split())[:80] or type(error).__name__})"
    return None


def _require_whole_safetensors(path: Path) -> None:
    """Raise a ValueError unless a file's size is what its header says.

    The format is 8 bytes with the header's length, a JSON header with the offsets of tensors, and the data.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= size - 8:  # the shortest JSON header is {}
            raise ValueError("no header of safetensors")
        header = json.loads(file.read(length))
    try:
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    except (AttributeError, LookupError, TypeError) as error:
        raise ValueError("no header of safetensors") from error
    if 8 + length + max(ends, default=0) != size:
        raise ValueError("its size is not what its header says")


def set_aside(path: Path, why: str) -> None:
    """Rename a damaged file or folder to ``<name>.damaged-<number>`` and print a line about it.

    Args:
        path: The file or folder.
        why: What is wrong with it, for the line.
    """
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.name}.damaged-{number}")):
        number += 1
    path.replace(aside)
    say(f"damaged: {path}: {why}; set aside as {aside.name}", style="yellow")


def flaw_of_error(error: Exception, whole: str = "") -> str:
    """Return in words why a file cannot be read.

    Args:
        error: The exception that reading it raised.
        whole: The file's name, for errors of pydantic that concern no single entry.
    """
    errors = getattr(error, "errors", None)  # a method of pydantic's ValidationError
    if errors is None:
        return str(error)
    first = errors()[0]  # of many, the first is enough to see that the file is damaged
    return ": ".join(filter(None, [".".join(map(str, first["loc"])) or whole, first["msg"]]))
