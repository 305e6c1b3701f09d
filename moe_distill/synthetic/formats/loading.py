"""Loading of other programs' files as data only: no code in them is ever run."""

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
from moe_distill.synthetic.formats.foreign import KEY, TargetData
from moe_distill.synthetic.formats.pickled import load_tensors

_FOREIGN = re.compile(r"Unsupported global: GLOBAL (\S+)")  # in torch's error for code in a file
# In torch's zip files the tensors lie beside the pickle, which is therefore small. Torch reads it step by
# step in Python, so a large one would take long.
_MOST_PICKLED = 1 << 24
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_NUMBERS = (*_FLOATS, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


class _Ignored:
    """Replaces numpy's scalars in a pickle: DC stores accuracies beside the images, which are not needed."""

    def __init__(self, *arguments: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


# Names of numpy's scalars and their types, before and since numpy 2.
_DTYPES = [f"numpy.dtypes.{name}DType" for name in ("Float64", "Float32", "Int64", "Int32")]
_IGNORED = ["numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype", *_DTYPES]


def load_pt(path: Path, wanted: TargetData) -> Any:
    """Return the content of a file of ``torch.save``: tensors, numbers, texts and containers of them.

    Raises:
        InputError: If the file is missing, too large, broken, or holds anything else, such as code.
    """
    check_size(path, wanted.limit)
    try:
        _require_checksums(path)
        with (
            torch.serialization.safe_globals([(_Ignored, name) for name in _IGNORED]),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore", UserWarning)  # about sparse tensors, which are refused anyway
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile or broken pickle may raise anything
        raise _refused(path, error) from error


def load_pickle(path: Path, wanted: TargetData) -> Any:
    """Return the tensors in a file of ``pickle.dump``.

    Raises:
        InputError: As for :func:`load_pt`.
    """
    check_size(path, wanted.limit)
    try:
        return load_tensors(path)
    except Exception as error:  # likewise
        raise _refused(path, error) from error


def load_safetensors(path: Path, wanted: TargetData) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file by name.

    Raises:
        InputError: As for :func:`load_pt`.
    """
    check_size(path, wanted.limit)
    try:
        return load_file(path)
    except Exception as error:  # likewise
        raise _refused(path, error) from error


def load_npy(path: Path, wanted: TargetData) -> torch.Tensor:
    """Return the array in a file of ``numpy.save``.

    Raises:
        InputError: As for :func:`load_pt`.
    """
    check_size(path, wanted.limit)
    try:
        # Memory-mapped first: a header that claims more numbers than the file has is then refused before
        # memory is allocated for them.
        return torch.from_numpy(np.array(np.load(path, mmap_mode="r", allow_pickle=False)))
    except Exception as error:  # likewise
        raise _refused(path, error) from error


def load_npz(path: Path, names: Sequence[str], wanted: TargetData) -> dict[str, torch.Tensor]:
    """Return the arrays in a file of ``numpy.savez`` that have one of these names.

    Raises:
        InputError: As for :func:`load_pt`.
    """
    check_size(path, wanted.limit)
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: torch.from_numpy(archive[name]) for name in names if name in archive}
    except Exception as error:  # likewise
        raise _refused(path, error) from error


def checked_tensor(value: object, path: Path, what: str, wanted: TargetData) -> torch.Tensor:
    """Return a value after checking that it is a plain tensor of numbers.

    Args:
        value: A value from a file.
        path: The file, for errors.
        what: What the value should be, for errors.
        wanted: Holds the limit on its size.

    Raises:
        InputError: If it is something else, or takes more memory than the limit allows.
    """
    is_plain = (
        isinstance(value, torch.Tensor)
        and not value.is_nested
        and value.layout is torch.strided
        and value.device.type == "cpu"
        and value.dtype in _NUMBERS
    )
    if not isinstance(value, torch.Tensor) or not is_plain:
        raise InputError(KEY, path, f"{what} as a plain tensor of numbers")
    # A view with strides of 0 makes a huge tensor out of a small file.
    if value.numel() * torch.float32.itemsize > wanted.limit:
        raise _too_large(path, value.numel() * torch.float32.itemsize, wanted.limit)
    return value.detach()


def images(value: object, path: Path, wanted: TargetData) -> torch.Tensor:
    """Return images (N, C, H, W) after checking that they have the data's shape.

    Raises:
        InputError: If they do not, or as for :func:`checked_tensor`.
    """
    images_NCHW = checked_tensor(value, path, "images", wanted)
    if images_NCHW.ndim != 4 or tuple(images_NCHW.shape[1:]) != wanted.shape:
        shape = ", ".join(map(str, wanted.shape))
        raise InputError(
            KEY, path, f"images of shape (N, {shape}), as the data has; found {tuple(images_NCHW.shape)}"
        )
    if images_NCHW.dtype is not torch.uint8 and not images_NCHW.is_floating_point():
        raise InputError(KEY, path, f"images as floating-point numbers or uint8; found {images_NCHW.dtype}")
    return images_NCHW


def rate(value: object, path: Path, wanted: TargetData) -> float:
    """Return a learned step size, stored as a number or as a tensor with one.

    Raises:
        InputError: If it is not a finite number above 0, or as for :func:`checked_tensor`.
    """
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        value = checked_tensor(value, path, "a step size", wanted).item()
    if not isinstance(value, int | float) or not (math.isfinite(value) and value > 0):
        raise InputError(KEY, path, "a learned step size as one finite number above 0")
    return float(value)


def check_size(path: Path, limit: int) -> None:
    """Check that a file exists and has at most ``limit`` bytes, also when unpacked.

    Raises:
        InputError: If it is missing, too large, a broken archive, or has a large pickle.
    """
    if not path.is_file():
        raise InputError(KEY, path, "a file; it is missing")
    size = path.stat().st_size
    if size <= limit and zipfile.is_zipfile(path):  # as files of torch.save and numpy.savez are
        try:
            with zipfile.ZipFile(path) as archive:
                members = archive.infolist()
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            # The last for a version of the format that Python does not read.
            raise _refused(path, error) from error
        size = max(size, sum(member.file_size for member in members))
        pickles = [member.file_size for member in members if member.filename.endswith("/data.pkl")]
        if max(pickles, default=0) > _MOST_PICKLED:
            raise InputError(KEY, path, "tensors, and few things beside them; this file holds a large pickle")
    if size > limit:
        raise _too_large(path, size, limit)


def _require_checksums(path: Path) -> None:
    """Check an archive's checksums, which ``torch.load`` does not do for tensors.

    Raises:
        ValueError: If one is wrong.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            damaged_member = archive.testzip()
        if damaged_member is not None:
            raise ValueError(f"{damaged_member} is not what was written")


def _too_large(path: Path, size: int, limit: int) -> InputError:
    allowed = (
        f"at most {limit / 2**30:.3g} GiB (pipeline.largest_gib); this unpacks to {size / 2**30:.3g} GiB"
    )
    return InputError(KEY, path, allowed)


def _refused(path: Path, error: Exception) -> InputError:
    allowed = "a whole file of tensors, numbers and texts"
    problem = "this one is damaged or holds something else, such as code"
    # Only the name out of torch's message, as that goes on to explain how to run the code all the same.
    if match := _FOREIGN.search(str(error)):
        reason = f"it names {match[1]}"
    else:
        first_line = (str(error).strip().splitlines() or [""])[0]
        reason = f"{type(error).__name__}: {first_line.partition('. ')[0][:120]}"
    return InputError(KEY, path, f"{allowed}; {problem} ({reason})")
