"""Whether stored files are what was written, and what becomes of those that are not."""

import errno
import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moe_distill import terminal

MANIFEST = "manifest.json"
# A JSON of ours is never nested this deeply; Python's reader ends in a RecursionError beyond about a
# thousand.
Unreadable = (ValueError, RecursionError)


def require_readable(path: Path) -> None:
    """Refuse what is no file to be read: whoever opens a pipe waits, and safetensors calls all it may not
    open missing.

    Raises:
        FileNotFoundError: Nothing is there, or a link to nothing.
        PermissionError: It may not be read.
        OSError: It is a folder, a pipe or the like.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "no regular file", str(path))
    path.open("rb").close()


def checksum(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal, read piece by piece; raises as :func:`require_readable`."""
    require_readable(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksums(folder: Path) -> dict[str, str]:
    """Return the checksum of every file below a folder, by its path from there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): checksum(path) for path in files}


def content_checksum(content: Mapping[str, Any]) -> str:
    """Return the sha256 of what a JSON file says, its own entry ``checksum`` left out."""
    plain = json.loads(
        json.dumps({k: v for k, v in content.items() if k != "checksum"})
    )  # keys are text, as in a file
    text = json.dumps(plain, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def flaw_of(folder: Path) -> str | None:
    """Return what is wrong with an artifact's folder, or None; see :func:`flaw_in_files` for older ones."""
    if (flaw := flaw_of_manifest(folder)) is not None:
        return flaw
    return flaw_in_files(folder, json.loads((folder / MANIFEST).read_text()).get("files"))


def flaw_of_manifest(folder: Path) -> str | None:
    """Return what is wrong with the manifest of an artifact, whose folder's name is its key; None where
    nothing is.
    """
    if not folder.is_dir():
        return "it is no folder"
    try:
        require_readable(folder / MANIFEST)
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if "files" in manifest and manifest["checksum"] != content_checksum(manifest):
            return f"{MANIFEST} is not what was written"
        text = json.dumps({"schema": manifest["schema"], "settings": manifest["identity"]}, sort_keys=True)
    except PermissionError:
        raise
    except (OSError, LookupError, TypeError, *Unreadable) as error:
        return f"{MANIFEST} cannot be read ({type(error).__name__})"
    same = hashlib.sha256(text.encode()).hexdigest()[:32] == folder.name
    return None if same else f"{MANIFEST} is that of another artifact"


def flaw_in_files(folder: Path, expected: Mapping[str, str] | None) -> str | None:
    """Return what is wrong with the files of a folder, or None.

    Args:
        folder: Where they lie.
        expected: The checksum of each, by its path from there; None where the folder is from before checksums
            were kept: its files must then only be readable as what their names say they are.

    Raises:
        PermissionError: A file may not be read, which is no damage.
    """
    if expected is None:
        names = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        return next((f"{path.name} {flaw}" for path in names if (flaw := _unreadable(path))), None)
    for name, wanted in expected.items():
        try:
            if checksum(folder / name) != wanted:
                return f"{name} is not what was written"
        except PermissionError:
            raise
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
    # One more of a kind that it holds, as a further expert's set, would be read with the others.
    kinds = {Path(name).suffix for name in expected}
    beside = (
        path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.suffix in kinds
    )
    return next(
        (f"{name} is none of its files" for name in beside if name not in expected and name != MANIFEST), None
    )


def _unreadable(path: Path) -> str | None:
    """Return why a file cannot be what its name says, by a look that reads no tensor."""
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
    """Refuse a file whose size is not what its header says (8 bytes of length, JSON with offsets, data).

    Raises:
        ValueError: It is cut, empty, or of another kind.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= size - 8:
            raise ValueError("no header of safetensors")
        header = json.loads(file.read(length))
    try:
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    except (AttributeError, LookupError, TypeError) as error:
        raise ValueError("no header of safetensors") from error
    if 8 + length + max(ends, default=0) != size:
        raise ValueError("its size is not what its header says")


def set_aside(path: Path, why: str) -> Path:
    """Rename a damaged file or folder to ``<name>.damaged-<number>``, say so in one line, return where it
    lies now.
    """
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.name}.damaged-{number}")):
        number += 1
    path.replace(aside)
    say(f"damaged: {path}: {why}; set aside as {aside.name}")
    return aside


def flaw_told(error: Exception, whole: str = "") -> str:
    """Return why a file cannot be read, in words; of what is wrong with a JSON the first.

    Args:
        error: What reading it raised.
        whole: What a JSON is called of which no single entry is wrong.
    """
    errors = getattr(error, "errors", None)  # of pydantic: the first tells enough
    if errors is None:
        return str(error)
    first = errors()[0]
    return ": ".join(filter(None, [".".join(map(str, first["loc"])) or whole, first["msg"]]))


def say(line: str) -> None:
    """Tell the user something in one line, whatever its length and whatever it holds."""
    terminal.say(line, style="yellow")
