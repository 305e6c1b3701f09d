"""Resolvers of the yamls, such as ``${of_split:5x2,ipc}``; ``schema.register`` names them."""

import functools
import os
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf

from moe_distill.config.folders import options
from moe_distill.errors import InputError
from moe_distill.methods.presets.clom import alpha
from moe_distill.methods.presets.rows import nearest_row
from moe_distill.terminal import warn
from moe_distill.validation.misfits import misfit
from moe_distill.validation.values import Numerics, Split

# Data sets of digits, as yamls, torchvision and Hugging Face call them: a mirrored digit is none.
_OF_DIGITS = ("digits", "mnist", "emnist", "kmnist", "qmnist", "svhn", "usps")


def store_of(runs: Any) -> str:
    """Return the folder of the store; an empty environment variable counts as unset, as in shells."""
    return os.environ.get("MOE_DISTILL_HOME") or f"{runs}/store"


def paper_of(tables: Any, name: Any) -> str | None:
    """Return the file of an experiment's published accuracies, or None."""
    file = Path(f"{tables}/{name}/paper.csv")
    return str(file) if file.is_file() else None


def of_split(split: str, part: Literal["ipc", "noe"]) -> int:
    """Return one number of a split such as ``5x2``.

    Raises:
        InputError: It is no split.
    """
    # Here too, as interpolations are resolved before the configuration is checked.
    if (mismatch := misfit(Split, split)) is not None:
        raise InputError("split", split, mismatch[2])
    ipc, noe = map(int, split.split("x"))
    return ipc if part == "ipc" else noe


def from_row(size: int, rows: dict[int, Any]) -> Any:
    """Return the entry of the largest row that is at most ``size``."""
    return rows[max(r for r in rows if r <= size)]


def recipe_of(name: str, data: str) -> str:
    """Return the name of a method's recipe: the method's own name if it has a recipe, else DSA's.

    Args:
        name: The method's name.
        data: The data set's; a method may have another recipe for digits.
    """
    names = options("recipe")
    if data in _OF_DIGITS and f"{name}_digits" in names:
        return f"{name}_digits"
    # A method that is in no folder we know, as where a yaml sets hydra.searchpath: assume it has one.
    has_own = name in names or name not in options("method")
    return name if has_own else "dsa"


def augment_of(data: str) -> str:
    """Return the name of a data set's augmentation: DSA's, without mirroring where the images are digits.

    Source: DSA (Zhao and Bilen 2021), whose experiments leave ``flip`` out for MNIST and SVHN.
    """
    return "dsa_digits" if data in _OF_DIGITS else "dsa"


def alpha_of_clom(method: str, data: str, ipc: int) -> float:
    """Return CLoM's published weight.

    Args:
        method: Dotted name of the method's class.
        data: Name of the data set.
        ipc: Images per class.
    """
    return alpha(method.rpartition(".")[2].lower(), data, ipc)


def of_nearest_row(ipc: int, rows: dict[int, Any]) -> Any:
    """Return the entry of the row nearest to ``ipc`` in ratio, as for published settings, or None."""
    row = nearest_row([*rows], ipc)
    return None if row is None else rows[row]


def numerics_here(*, _root_: DictConfig) -> str:
    """Return the arithmetic of this machine's networks: that of the configuration, or exact instead.

    Args:
        _root_: The configuration, which OmegaConf passes.

    Raises:
        InputError: It is no arithmetic.
    """
    numerics = str(_root_.numerics)
    # Here too, as interpolations are resolved before the configuration is checked.
    if (mismatch := misfit(Numerics, numerics)) is not None:
        raise InputError("numerics", numerics, mismatch[2])
    if numerics == "exact":
        # Before torch is imported, which a command such as --cfg can do without.
        return numerics
    accelerator = OmegaConf.select(_root_, "trainer.accelerator") or "auto"
    return _computed_here(accelerator)


@functools.cache
def _computed_here(accelerator: str) -> str:
    """Return ``bf16`` if the machine has it, else ``exact`` after a warning, once in a process."""
    from moe_distill.models.numerics import computes_bf16

    if computes_bf16(accelerator):
        return "bf16"
    warn("numerics=bf16 runs as exact: this machine has no instructions for bf16")
    return "exact"
