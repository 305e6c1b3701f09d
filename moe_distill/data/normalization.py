"""Normalisation of raw pixels for networks: by channel statistics, or by a whitening of whole images."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open

from moe_distill.errors import InputError
from moe_distill.store.damage import require_readable
from moe_distill.store.tensor_files import save_tensors
from moe_distill.validation.values import LEAST_STD

FILE = "whitening.safetensors"
Space = Literal["raw", "standardised", "zca"]
"""Space of stored pixel values: pixels in [0, 1], standardised by channel, or whitened."""
_NAMES = ("mean", "matrix", "inverse")

Matrices = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@dataclass(frozen=True, eq=False)
class Whitening:
    """An affine map of whole images, flattened in the order C, H, W: white(x) = (x - mean) matrix.

    Images of any device and float type are accepted; a copy of the matrices is cached for each.

    Args:
        mean_D: Mean image, raw pixels in [0, 1], float32 on the CPU, D = C · H · W.
        matrix_DD: The symmetric whitening matrix.
        inverse_DD: Its inverse.
        source: Sha256 of the images it was fitted to and of the settings of the fit; the same on every
            machine.
    """

    mean_D: torch.Tensor
    matrix_DD: torch.Tensor
    inverse_DD: torch.Tensor
    source: str
    _placed: dict[tuple[torch.device, torch.dtype], Matrices] = field(
        default_factory=dict, init=False, repr=False
    )

    @cached_property
    def digest(self) -> str:
        """Sha256, in hex, of the numbers and of ``source``."""
        digest = hashlib.sha256(self.source.encode())
        for tensor in self._matrices:
            digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()

    def white(self, raw_NCHW: torch.Tensor) -> torch.Tensor:
        """Return raw images whitened, with the same shape, type and device."""
        mean_D, matrix_DD, _ = self._like(raw_NCHW)
        return ((raw_NCHW.flatten(1) - mean_D) @ matrix_DD).view(raw_NCHW.shape)

    def back(self, white_NCHW: torch.Tensor) -> torch.Tensor:
        """Return whitened images as raw pixels, unclamped: the inverse of :meth:`white`."""
        mean_D, _, inverse_DD = self._like(white_NCHW)
        return (white_NCHW.flatten(1) @ inverse_DD + mean_D).view(white_NCHW.shape)

    def save(self, path: Path) -> None:
        """Write the file atomically, unless it holds the same numbers already."""
        if _digest_in(path) == self.digest:  # several experts save theirs to one folder
            return
        tensors = dict(zip(_NAMES, (t.contiguous() for t in self._matrices), strict=True))
        save_tensors(tensors, path, {"source": self.source, "digest": self.digest})

    @classmethod
    def load(cls, path: Path, source: str) -> "Whitening":
        """Read the whitening fitted to ``source``.

        Raises:
            InputError: If the file is missing, damaged, or holds another whitening.
            PermissionError: If it may not be read, which does not mean that it is damaged.
        """
        try:
            require_readable(path)
            with safe_open(path, "pt") as file:
                metadata = file.metadata()
                mean_D, matrix_DD, inverse_DD = map(file.get_tensor, _NAMES)
                whitening = cls(mean_D, matrix_DD, inverse_DD, metadata["source"])
            whole = whitening.digest == metadata["digest"]
        except FileNotFoundError as error:
            raise InputError(
                "set", path, "the whitening the images were made with; this file is missing"
            ) from error
        except PermissionError:
            raise  # an OSError too, but the caller must not set the file aside as damaged
        except (SafetensorError, LookupError, TypeError, OSError) as error:
            raise InputError(
                "set", path, f"a whole whitening; this file is truncated or damaged ({error})"
            ) from error
        if not whole:
            raise InputError("set", path, "a whole whitening; this file is damaged")
        if whitening.source != source:
            other = whitening.source[:12]
            raise InputError("set", path, f"the whitening {source[:12]}; this file holds {other}")
        return whitening

    @property
    def _matrices(self) -> Matrices:
        return self.mean_D, self.matrix_DD, self.inverse_DD

    def _like(self, images: torch.Tensor) -> Matrices:
        # Cached: the matrices are large, and students' batches come thousands of times.
        place = (images.device, images.dtype)
        if place not in self._placed:
            mean_D, matrix_DD, inverse_DD = (tensor.to(images) for tensor in self._matrices)
            self._placed[place] = mean_D, matrix_DD, inverse_DD
        return self._placed[place]


@dataclass(frozen=True)
class Normalisation:
    """The map from raw pixels in [0, 1] to what networks see, and back.

    Args:
        mean: Mean of each channel, in units of [0, 1]; unused with a whitening.
        std: Standard deviation of each channel; unused with a whitening.
        whitening: Whitening of whole images; None standardises by mean and std.

    Example:
        >>> normalisation = Normalisation([0.5], [0.25])
        >>> seen = normalisation.standardised(torch.ones(1, 1, 1, 1))
        >>> seen.item(), normalisation.raw(seen).item()
        (2.0, 1.0)
    """

    mean: Sequence[float]
    std: Sequence[float]
    whitening: Whitening | None = None

    @property
    def source(self) -> str | None:
        """Sha256 of what the whitening was fitted to; None without a whitening."""
        return None if self.whitening is None else self.whitening.source

    def standardised(self, raw_NCHW: torch.Tensor) -> torch.Tensor:
        """Return raw images as networks see them, with the same shape, type and device."""
        if self.whitening is not None:
            return self.whitening.white(raw_NCHW)
        mean_1C11, std_1C11 = self._channels(raw_NCHW)
        return (raw_NCHW - mean_1C11) / std_1C11

    def raw(self, seen_NCHW: torch.Tensor) -> torch.Tensor:
        """Return the raw pixels of what networks see, unclamped: the inverse of :meth:`standardised`."""
        if self.whitening is not None:
            return self.whitening.back(seen_NCHW)
        mean_1C11, std_1C11 = self._channels(seen_NCHW)
        return seen_NCHW * std_1C11 + mean_1C11

    def _channels(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean_1C11, std_1C11 = (like.new_tensor(v).view(1, -1, 1, 1) for v in (self.mean, self.std))
        return mean_1C11, std_1C11


def check_statistics(
    mean: Sequence[float] | None, std: Sequence[float] | None, channels: int | None, key: str = "data"
) -> None:
    """Check that pixels from 0 to 1 can have these channel statistics.

    Args:
        mean: Mean of each channel; None if it will be computed from the images.
        std: Standard deviation of each channel; None likewise.
        channels: Number of channels; None if it is not known yet.
        key: The setting that holds both, for errors.

    Raises:
        InputError: If there are not as many numbers as channels, or one is not finite or out of bounds, such
            as statistics for pixels from 0 to 255.

    Example:
        >>> check_statistics([0.5], [0.2], channels=1)
        >>> check_statistics([127.5], [51.0], channels=1)
        Traceback (most recent call last):
            ...
        moe_distill.errors.InputError: ...
    """
    counts = {None: "1 or 3 numbers", 1: "one number"}
    count = counts.get(channels, f"{channels} numbers")
    if mean is not None and not _are_numbers(mean, channels, lambda value: 0 <= value <= 1):
        allowed = f"{count} from 0 to 1, one a channel, as pixels go from 0 to 1"
        raise InputError(f"{key}.mean", mean, allowed)
    if std is not None and not _are_numbers(std, channels, lambda value: LEAST_STD <= value <= 1):
        bounds = f"from {LEAST_STD:.4f} (1/255, a step of 8 bits) to 1, as pixels go from 0 to 1"
        raise InputError(f"{key}.std", std, f"{count}, one a channel, {bounds}")


def _are_numbers(values: object, count: int | None, fit: Callable[[float], bool]) -> bool:
    if not isinstance(values, list | tuple) or len(values) not in ((1, 3) if count is None else (count,)):
        return False
    # NaN fails every comparison in ``fit``; True and False are numbers to Python.
    return all(
        isinstance(value, Real) and not isinstance(value, bool) and fit(float(value)) for value in values
    )


def _digest_in(path: Path) -> str | None:
    try:
        with safe_open(path, "pt") as file:
            return (file.metadata() or {}).get("digest")
    except (OSError, SafetensorError):
        return None
