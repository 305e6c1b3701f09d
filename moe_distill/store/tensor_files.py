"""Write tensors to a safetensors file atomically, with a digest by which damage is noticed."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from moe_distill.store.damage import require_readable
from moe_distill.store.disk import atomic_path

Tensors = dict[str, torch.Tensor]
DIGEST = "sha256"


def save_tensors(
    tensors: Mapping[str, torch.Tensor], path: Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file; a reader sees all of it or none.

    Args:
        tensors: By name, contiguous, on the CPU.
        path: The file.
        metadata: Texts to store in the file's header.
    """
    with atomic_path(path) as temporary:
        # safetensors creates files that only their owner can read; in a shared store they follow the umask.
        temporary.touch()
        mode = temporary.stat().st_mode
        save_file(dict(tensors), temporary, None if metadata is None else dict(metadata))
        temporary.chmod(mode)


def save_with_digest(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write a file as :func:`save_tensors` does, with the :func:`digest` of its content in the header."""
    save_tensors(tensors, path, {DIGEST: digest(tensors, path.name)})


def load_whole(path: Path) -> Tensors:
    """Return the tensors of a file, after comparing them with its digest if it has one.

    Raises:
        FileNotFoundError: There is no such file.
        PermissionError: The file may not be read, which is no damage.
        ValueError: It is damaged, or no regular file.
    """
    try:
        require_readable(path)
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
            expected = (file.metadata() or {}).get(DIGEST)
    except (FileNotFoundError, PermissionError):
        raise
    except (SafetensorError, OSError) as error:
        raise ValueError(getattr(error, "strerror", None) or str(error)) from error
    if expected is not None and digest(tensors, path.name) != expected:
        raise ValueError("it does not hold what was written")
    return tensors


def digest(tensors: Mapping[str, torch.Tensor], name: str) -> str:
    """Return the sha256 over a file's name and the names, types, shapes and values of its tensors.

    Args:
        tensors: By name, on the CPU.
        name: The file's name: a whole file under another one's name does not pass for it.

    Returns:
        64 hexadecimal digits.
    """
    sha256 = hashlib.sha256(name.encode())
    for key, tensor in sorted(tensors.items()):
        sha256.update(f"{key}{tensor.dtype}{tuple(tensor.shape)}".encode())
        # Flat before the bytes are viewed: a scalar cannot be viewed as another type. And as bytes, as numpy
        # has no bfloat16.
        sha256.update(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().data)
    return sha256.hexdigest()
