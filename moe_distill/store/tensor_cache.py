"""Cache tensors that take long to compute in a file that is either whole or absent."""

from collections.abc import Callable
from pathlib import Path

from moe_distill.store.damage import set_aside
from moe_distill.store.locks import locked
from moe_distill.store.tensor_files import Tensors, load_whole, save_with_digest

__all__ = ["Tensors", "cached"]


def cached(path: Path, build: Callable[[], Tensors]) -> Tensors:
    """Return the tensors stored in a file; build and store them if the file is missing or damaged.

    The file's digest is checked, and a damaged file is set aside with a printed line. Safe with several
    processes: one builds while the others wait, and no reader ever sees half a file.

    Args:
        path: A safetensors file; its folder is created.
        build: Returns the tensors; called at most once.

    Example:
        >>> import tempfile, torch
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "x.safetensors")
        ...     first = cached(path, lambda: {"x": torch.ones(2)})
        ...     cached(path, lambda: {"x": torch.zeros(2)})["x"]
        tensor([1., 1.])
    """
    # Without the lock: reading is the common case, and must work where the folder cannot be written.
    stored = _read(path)
    if stored is not None:
        return stored
    with locked(Path(f"{path}.lock")):
        # Again, as another process may have built them while this one waited for the lock.
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
        # A damaged file is computed again, as one that is missing.
        return None
