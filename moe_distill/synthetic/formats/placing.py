"""Writing a folder atomically: it is there complete, or not at all."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from moe_distill.errors import InputError
from moe_distill.store.damage import checksum

KEY = "pipeline.to"


def check_new(target: Path) -> None:
    """Check that nothing is at ``target`` yet.

    Raises:
        InputError: If something is.
    """
    # A dangling link counts, too: the folder could not be moved onto it.
    if os.path.lexists(target):
        raise InputError(KEY, target, "a folder that is not there yet; nothing is overwritten")


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes ``target`` when the block ends; nothing remains if the block fails.

    Raises:
        InputError: If the target exists, or cannot be written.
    """
    check_new(target)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        yield temporary
        check_new(target)  # again: rename would replace an empty folder that has been made meanwhile
        temporary.rename(target)
    except OSError as error:
        raise InputError(KEY, target, f"a folder that can be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def digest_of(path: Path) -> str:
    """Return the sha256 of a file, or of the lines ``<sha256>  <name>`` of all files in a folder, sorted."""
    if path.is_file():
        return checksum(path)
    files = sorted(p for p in path.rglob("*") if p.is_file())
    lines = [f"{digest_of(p)}  {p.relative_to(path).as_posix()}\n" for p in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
