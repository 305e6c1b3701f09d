"""Files of other programs, read as data alone: no code in them is ever run."""

import math
import re
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from moe_distill.errors import InputError
from moe_distill.synthetic.formats.foreign import KEY, Wanted
from moe_distill.synthetic.formats.pickled import load_tensors

_FOREIGN = re.compile(r"Unsupported global: GLOBAL (\S+)")  # in torch's refusal
# Tensors lie beside the pickle in torch's files, so that what remains is small; reading it goes step by step.
_MOST_PICKLED = 1 << 24
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_NUMBERS = (*_FLOATS, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


class _Ignored:
    """Stands for numpy's own numbers in a pickle: DC notes its accuracies beside the images; nobody needs
    them.
    """

    def __init__(self, *given: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


_DTYPES = [f"numpy.dtypes.{name}DType" for name in ("Float64", "Float32", "Int64", "Int32")]
_IGNORED = ["numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype", *_DTYPES]


def load_pt(path: Path, wanted: Wanted) -> Any:
    """Return what ``torch.save`` wrote: tensors, numbers, texts and containers of them.

    Raises:
        InputError: The file is missing, too large, broken, or holds anything else, such as code.
    """
    check_size(path, wanted.limit)
    try:
        _require_checksums(path)
        with (
            torch.serialization.safe_globals([(_Ignored, name) for name in _IGNORED]),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore", UserWarning)  # of sparse tensors, which are refused here
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile or broken pickle may raise anything
        raise _refused(path, error) from error


def load_pickle(path: Path, wanted: Wanted) -> Any:
    """Return what ``pickle.dump`` wrote of tensors alone; raises as :func:`load_pt`."""
    check_size(path, wanted.limit)
    try:
        return load_tensors(path)
    except Exception as error:  # likewise
        raise _refused(path, error) from error


def load_safetensors(path: Path, wanted: Wanted) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file by name; raises as :func:`load_pt`."""
    check_size(path, wanted.limit)
    try:
        return load_file(path)
    except Exception as error:  # likewise
        raise _refused(path, error) from error


def load_npy(path: Path, wanted: Wanted) -> torch.Tensor:
    """Return the array that ``numpy.save`` wrote; raises as :func:`load_pt`."""
    check_size(path, wanted.limit)
    try:
        # Mapped first: a header that speaks of more numbers than the file has is refused before room is made
        # for them.
        return torch.from_numpy(np.array(np.load(path, mmap_mode="r", allow_pickle=False)))
    except Exception as error:  # likewise
        raise _refused(path, error) from error


def load_npz(path: Path, names: Sequence[str], wanted: Wanted) -> dict[str, torch.Tensor]:
    """Return those of these arrays that an archive of ``numpy.savez`` holds, by name; raises as
    :func:`load_pt`.
    """
    check_size(path, wanted.limit)
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: torch.from_numpy(archive[name]) for name in names if name in archive}
    except Exception as error:  # likewise
        raise _refused(path, error) from error


def dense(value: object, path: Path, what: str, wanted: Wanted) -> torch.Tensor:
    """Return a value that is a plain tensor of numbers; looks before anything reads its elements.

    Raises:
        InputError: It is something else, or a small file makes more of it than the limit allows.
    """
    plain = isinstance(value, torch.Tensor) and not value.is_nested and value.layout is torch.strided
    if (
        not isinstance(value, torch.Tensor)
        or not plain
        or value.device.type != "cpu"
        or value.dtype not in _NUMBERS
    ):
        raise InputError(KEY, path, f"{what} as a plain tensor of numbers")
    if value.numel() * torch.float32.itemsize > wanted.limit:
        raise _too_large(path, value.numel() * torch.float32.itemsize, wanted.limit)
    return value.detach()


def images(value: object, path: Path, wanted: Wanted) -> torch.Tensor:
    """Return images (N, C, H, W) of the shape wanted; raises as :func:`dense`."""
    found = dense(value, path, "images", wanted)
    if found.ndim != 4 or tuple(found.shape[1:]) != wanted.shape:
        shape = ", ".join(map(str, wanted.shape))
        raise InputError(
            KEY, path, f"images of shape (N, {shape}), as the data has; found {tuple(found.shape)}"
        )
    if found.dtype is not torch.uint8 and not found.is_floating_point():
        raise InputError(KEY, path, f"images as floating-point numbers or uint8; found {found.dtype}")
    return found


def rate(value: object, path: Path, wanted: Wanted) -> float:
    """Return a learned step size, stored as a number or as a tensor with one; raises as :func:`dense`."""
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        value = dense(value, path, "a step size", wanted).item()
    if not isinstance(value, int | float) or not (math.isfinite(value) and value > 0):
        raise InputError(KEY, path, "a learned step size as one finite number above 0")
    return float(value)


def check_size(path: Path, limit: int) -> None:
    """Refuse a file that is missing, or larger than ``limit`` bytes as it lies there or once unpacked."""
    if not path.is_file():
        raise InputError(KEY, path, "a file; it is missing")
    size = path.stat().st_size
    if size <= limit and zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                size = max(size, sum(member.file_size for member in archive.infolist()))
                written = max(
                    (m.file_size for m in archive.infolist() if m.filename.endswith("/data.pkl")), default=0
                )
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise _refused(path, error) from error
        if written > _MOST_PICKLED:
            raise InputError(KEY, path, "tensors, and few things beside them; this file holds a large pickle")
    if size > limit:
        raise _too_large(path, size, limit)


def _require_checksums(path: Path) -> None:
    """Refuse an archive whose members are not what was written: torch takes their numbers without a look.

    Raises:
        ValueError: One is not.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            spoiled = archive.testzip()
        if spoiled is not None:
            raise ValueError(f"{spoiled} is not what was written")


def _too_large(path: Path, size: int, limit: int) -> InputError:
    allowed = (
        f"at most {limit / 2**30:.3g} GiB (pipeline.largest_gib); this unpacks to {size / 2**30:.3g} GiB"
    )
    return InputError(KEY, path, allowed)


def _refused(path: Path, error: Exception) -> InputError:
    allowed = "a whole file of tensors, numbers and texts; this one is damaged or holds something else, such as code"
    named = _FOREIGN.search(str(error))  # torch's own words go on to tell how to run it all the same
    first = (str(error).strip().splitlines() or [""])[0].partition(". ")[0][:120]
    return InputError(
        KEY, path, f"{allowed} ({f'it names {named[1]}' if named else f'{type(error).__name__}: {first}'})"
    )
