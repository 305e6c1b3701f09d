"""A folder that is there whole or not at all."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from moe_distill.errors import InputError

KEY = "pipeline.to"


def check_new(target: Path) -> None:
    """Refuse a target that exists.

    Raises:
        InputError: It does.
    """
    if os.path.lexists(target):
        raise InputError(KEY, target, "a folder that is not there yet; nothing is overwritten")


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder beside ``target`` and move it there at the end; nothing stays where the block
    fails.

    Raises:
        InputError: The target exists, or cannot be written.
    """
    check_new(target)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        yield temporary
        check_new(target)
        temporary.rename(target)
    except OSError as error:
        raise InputError(KEY, target, f"a folder that can be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def digest_of(path: Path) -> str:
    """Return the sha256 of a file; of a folder, that of the lines ``<sha256>  <name>`` of the files in it,
    sorted.
    """
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    files = sorted(p for p in path.rglob("*") if p.is_file())
    lines = [f"{digest_of(p)}  {p.relative_to(path).as_posix()}\n" for p in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
