"""Tensors that are costly to make, kept in a file that is either whole or absent."""

from collections.abc import Callable
from pathlib import Path

from moe_distill.store.damage import set_aside
from moe_distill.store.locks import locked
from moe_distill.store.tensor_files import Tensors, load_whole, save_with_digest

__all__ = ["Tensors", "cached"]


def cached(path: Path, build: Callable[[], Tensors]) -> Tensors:
    """Return the tensors stored in ``path``; build and store them where the file is missing or damaged.

    They are compared with the digest they were stored with, and a damaged file is set aside, which is told in
    a line. Safe with several processes: one builds while the others wait, and no reader ever sees half a
    file.

    Args:
        path: A safetensors file; its folder is made.
        build: Gives the tensors; called at most once.
    """
    stored = _read(path)
    if stored is not None:
        return stored
    with locked(Path(f"{path}.lock")):
        try:
            return load_whole(path)
        except FileNotFoundError:
            pass
        except ValueError as error:
            set_aside(path, str(error))
        tensors = build()
        save_with_digest(tensors, path)
        return tensors


def _read(path: Path) -> Tensors | None:
    try:
        return load_whole(path)
    except (FileNotFoundError, ValueError):
        return None
