"""Tensors that are costly to make, kept in a file that is either whole or absent."""

import os
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from moe_distill.locks import locked

Tensors = dict[str, torch.Tensor]


def cached(path: Path, build: Callable[[], Tensors]) -> Tensors:
    """Return the tensors stored in ``path``; build and store them where the file is missing or unreadable.

    Safe with several processes: one builds while the others wait, and no reader ever sees half a file.

    Args:
        path: A safetensors file; its folder is made.
        build: Gives the tensors; called at most once.
    """
    stored = _read(path)
    if stored is not None:
        return stored
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(Path(f"{path}.lock")):
        stored = _read(path)
        return _write(path, build()) if stored is None else stored


def _read(path: Path) -> Tensors | None:
    try:
        return load_file(path)
    except (FileNotFoundError, SafetensorError):
        return None


def _write(path: Path, tensors: Tensors) -> Tensors:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file(tensors, partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return tensors
