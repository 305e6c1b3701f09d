"""Safe reading of pickles that hold only tensors, such as IDM's: nothing that they name is run.

A pickle is a program. Only the instructions that build plain tensors in tuples and lists are allowed, and the
whole file is checked before any of it is executed.
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

# A pair of tensors takes about 45 instructions.
_MOST_STEPS = 1000
_INSTRUCTIONS = {
    *("PROTO", "FRAME", "STOP", "MARK", "GLOBAL", "STACK_GLOBAL", "REDUCE"),
    *("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_TUPLE", "EMPTY_LIST", "APPEND", "APPENDS"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("BININT", "BININT1", "BININT2", "LONG1", "NEWTRUE", "NEWFALSE", "NONE"),
    *("MEMOIZE", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
}
_NUMBERED = ("BINPUT", "LONG_BINPUT")  # these store into the memo under a number in the file


def load_tensors(path: Path) -> Any:
    """Return the content of a pickle: tensors on the CPU, in tuples and lists.

    Source: ``pickle.dump`` of a pair of tensors, IDM_cifar10.py of uitrbn/IDM.

    Raises:
        ValueError: If the pickle does anything other than build tensors. A damaged one raises other errors
            too.
    """
    # One open file for both, so that what is read is what was checked.
    with path.open("rb") as file:
        _check(file)
        file.seek(0)
        return _Tensors(file, path.stat().st_size).load()


def _check(file: IO[bytes]) -> None:
    """Check that a pickle has only instructions that build tensors, and not too many.

    Raises:
        ValueError: If it has others, or too many.
    """
    for step, (instruction, value, _) in enumerate(pickletools.genops(file)):
        if instruction.name not in _INSTRUCTIONS:
            raise ValueError(f"a pickle of tensors alone; this one does {instruction.name}")
        # The unpickler allocates its memo up to the largest number: an absurd one would take gigabytes.
        if step >= _MOST_STEPS or (instruction.name in _NUMBERED and int(value or 0) > step):
            raise ValueError("a pickle of a few tensors; this one has too many parts")


class _Tensors(pickle.Unpickler):
    """Replaces the functions that a pickled tensor names by harmless ones, and refuses all others.

    Args:
        file: The pickle.
        room: Most bytes of all tensors together: the size of the file.
    """

    def __init__(self, file: IO[bytes], room: int) -> None:
        super().__init__(file)
        self.room = room

    def find_class(self, module: str, name: str) -> Any:
        """Return the harmless replacement of a function.

        Raises:
            ValueError: If tensors do not need the function.
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
        """Return a tensor's storage, which is stored in the pickle as a nested file of ``torch.save``."""
        # One storage that is repeated from the memo would grow without limit. Zip files may unpack to far
        # more than their size; torch's old format, which pickles have, does not.
        self.room -= len(stored)
        file = io.BytesIO(stored)
        if self.room < 0 or zipfile.is_zipfile(file):
            raise ValueError("a pickle that stores each tensor once, as it is")
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True)


def _tensor(
    storage: Any, offset: int, size: Sequence[int], stride: Sequence[int], *_: object
) -> torch.Tensor:
    """Return a tensor over a storage, without its gradient flag and hooks."""
    return torch.empty(0, dtype=storage.dtype).set_(
        storage._untyped_storage, offset, tuple(size), tuple(stride)
    )


def _data(tensor: torch.Tensor, *_: object) -> torch.Tensor:
    """Return the tensor of a parameter."""
    return tensor


def _bytes(text: str, encoding: str) -> bytes:
    """Return bytes, which pickle protocols before 3 write as text.

    Raises:
        ValueError: If the text has another encoding than those protocols use.
    """
    if encoding != "latin1":
        raise ValueError(f"a pickle of tensors alone; this one encodes a text as {encoding}")
    return text.encode("latin1")
