"""Tensors in a safetensors file: written whole or not at all, and told from damaged ones where they carry a
digest.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from moe_distill.store.damage import require_readable
from moe_distill.store.disk import in_place_of

Tensors = dict[str, torch.Tensor]
DIGEST = "sha256"


def save_tensors(
    tensors: Mapping[str, torch.Tensor], path: Path, about: Mapping[str, str] | None = None
) -> None:
    """Write a file, moved into place at once and on the disk before.

    Args:
        tensors: By name, contiguous, on the CPU.
        path: Where to.
        about: Texts that are stored beside them.
    """
    with in_place_of(path) as temporary:
        # The library makes files that their owner alone can read; those of a shared store follow the umask.
        temporary.touch()
        mode = temporary.stat().st_mode
        save_file(dict(tensors), temporary, None if about is None else dict(about))
        temporary.chmod(mode)


def save_with_digest(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write a file as :func:`save_tensors` does, with a digest of its name and of what it holds."""
    save_tensors(tensors, path, {DIGEST: digest(tensors, path.name)})


def load_whole(path: Path) -> Tensors:
    """Return the tensors of a file; one with a digest is compared with it.

    Raises:
        FileNotFoundError: There is none.
        PermissionError: It may not be read, which is no damage.
        ValueError: It is damaged, or no file.
    """
    try:
        require_readable(path)
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
            wanted = (file.metadata() or {}).get(DIGEST)
    except (FileNotFoundError, PermissionError):
        raise
    except (SafetensorError, OSError) as error:
        raise ValueError(getattr(error, "strerror", None) or str(error)) from error
    if wanted is not None and digest(tensors, path.name) != wanted:
        raise ValueError("it does not hold what was written")
    return tensors


def digest(tensors: Mapping[str, torch.Tensor], name: str) -> str:
    """Return a sha256, in hexadecimal, over a file's name and names, types, shapes and numbers of its
    tensors.
    """
    total = hashlib.sha256(name.encode())
    for key, tensor in sorted(tensors.items()):
        total.update(f"{key}{tensor.dtype}{tuple(tensor.shape)}".encode())
        total.update(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
