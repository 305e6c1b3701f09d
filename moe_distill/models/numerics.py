"""The arithmetic in which networks compute: exact, or products of rounded numbers."""

import contextlib
from collections.abc import Callable

import torch

from moe_distill.validation.values import Numerics


def rounding(numerics: Numerics, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Return a context in which convolutions and matrix products compute as ``numerics`` says.

    ``exact`` is float32 throughout. ``bf16`` rounds what a convolution or a matrix product reads and returns
    to bfloat16, and adds in float32; what lies between, such as a normalisation, reads these rounded numbers
    and adds in float32 too. Weights, and so their gradients and the optimiser's states, stay float32.

    Args:
        numerics: The arithmetic.
        device: Where the network computes.

    Source: mixed precision by automatic casting (torch.autocast), without scaling of the loss: bfloat16 has
    float32's range.
    """
    # The meta device, on which networks are rehearsed, computes nothing.
    if numerics == "exact" or device.type == "meta":
        return contextlib.nullcontext()
    # A cast weight is kept until the outermost context ends; here that is one pass, so that weights may
    # change in place, and stand for others in a functional call, between two of them.
    return torch.autocast(device.type, dtype=torch.bfloat16)


def dtype_of(factory: Callable[..., object]) -> str:
    """Return the type of the numbers that a factory's networks multiply, as rows name it.

    Example:
        >>> from functools import partial
        >>> dtype_of(partial(dict, numerics="bf16")), dtype_of(dict)
        ('bfloat16', 'float32')
    """
    numerics = getattr(factory, "keywords", {}).get("numerics", "exact")
    return {"exact": "float32", "bf16": "bfloat16"}[numerics]


def computes_bf16(accelerator: str) -> bool:
    """Return True if this machine multiplies bfloat16 numbers by instructions of their own.

    Args:
        accelerator: Where a run computes: ``cpu``, ``gpu``, or ``auto`` for a GPU if one is visible.

    Example:
        >>> computes_bf16("cpu") in (True, False)
        True
    """
    if accelerator != "cpu" and torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
