"""Pickles that hold tensors and nothing else, such as IDM's: read without running anything that they name.

What a pickle may do is a list of instructions that plain tensors, in tuples and lists, are made of. The file
is gone through before anything of it is built, so that neither code nor an absurd number makes the reader do
anything.
"""

import io
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import torch

# A pair of tensors takes about 45.
_MOST_STEPS = 1000
_INSTRUCTIONS = {
    *("PROTO", "FRAME", "STOP", "MARK", "GLOBAL", "STACK_GLOBAL", "REDUCE"),
    *("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_TUPLE", "EMPTY_LIST", "APPEND", "APPENDS"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("BININT", "BININT1", "BININT2", "LONG1", "NEWTRUE", "NEWFALSE", "NONE"),
    *("MEMOIZE", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
}
_NUMBERED = ("BINPUT", "LONG_BINPUT")


def load_tensors(path: Path) -> Any:
    """Return the tensors of a pickle, on the CPU, in the tuples and lists they lie in.

    Source: ``pickle.dump`` of a pair of tensors, IDM_cifar10.py of uitrbn/IDM.

    Raises:
        ValueError: The pickle does anything but build tensors, or is damaged; other errors where it is
            damaged.
    """
    with path.open("rb") as file:
        _check(file)
        file.seek(0)
        return _Tensors(file, path.stat().st_size).load()


def _check(file: IO[bytes]) -> None:
    """Refuse instructions that build no tensors, and numbers of a memo that would make the reader reserve
    gigabytes.
    """
    for step, (instruction, value, _) in enumerate(pickletools.genops(file)):
        if instruction.name not in _INSTRUCTIONS:
            raise ValueError(f"a pickle of tensors alone; this one does {instruction.name}")
        if step >= _MOST_STEPS or (instruction.name in _NUMBERED and int(value or 0) > step):
            raise ValueError("a pickle of a few tensors; this one has too many parts")


class _Tensors(pickle.Unpickler):
    """Knows the names that a plain tensor is pickled by, and puts harmless functions in their places.

    Args:
        file: The pickle.
        room: Bytes that all tensors together may take, those of the file.
    """

    def __init__(self, file: IO[bytes], room: int) -> None:
        super().__init__(file)
        self.room = room

    def find_class(self, module: str, name: str) -> Any:
        """Return what a name stands for.

        Raises:
            ValueError: It is none of a tensor's.
        """
        known: dict[str, Any] = {
            "torch._utils._rebuild_tensor_v2": _tensor,
            "torch._utils._rebuild_parameter": _data,
            "_codecs.encode": _bytes,
            "torch.storage._load_from_bytes": self._storage,
            "collections.OrderedDict": OrderedDict,
        }
        if f"{module}.{name}" not in known:
            raise ValueError(f"a pickle of tensors alone; this one names {module}.{name}")
        return known[f"{module}.{name}"]

    def _storage(self, stored: bytes) -> Any:
        """Return the numbers of a tensor, which lie in the pickle as a file of torch's: read as data, not
        run.
        """
        self.room -= len(stored)
        file = io.BytesIO(stored)
        if self.room < 0 or zipfile.is_zipfile(file):
            raise ValueError("a pickle that stores each tensor once, as it is")
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True)


def _tensor(
    storage: Any, offset: int, size: Sequence[int], stride: Sequence[int], *_: object
) -> torch.Tensor:
    """Return a tensor over a storage; whether it needs gradients, and its hooks, are left out."""
    return torch.empty(0, dtype=storage.dtype).set_(
        storage._untyped_storage, offset, tuple(size), tuple(stride)
    )


def _data(tensor: torch.Tensor, *_: object) -> torch.Tensor:
    """Return the numbers of a parameter."""
    return tensor


def _bytes(text: str, encoding: str) -> bytes:
    """Return bytes that protocols before 3 write as a text.

    Raises:
        ValueError: Of another encoding than theirs.
    """
    if encoding != "latin1":
        raise ValueError(f"a pickle of tensors alone; this one encodes a text as {encoding}")
    return text.encode("latin1")
