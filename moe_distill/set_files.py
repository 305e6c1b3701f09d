"""The two files of one expert's set: its tensors as safetensors, and beside them as JSON what they are."""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from moe_distill.errors import InputError
from moe_distill.provenance import Provenance
from moe_distill.tiling import Tiling


def write_set(path: Path, tensors: Mapping[str, torch.Tensor], provenance: Provenance, fingerprint: str) -> None:
    """Write ``path`` and the JSON beside it, each moved into place at once."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    save_file(dict(tensors), temporary)
    about = {"provenance": dataclasses.asdict(provenance), "fingerprint": fingerprint}
    temporary_json = temporary.with_name(f"{temporary.name}.json")
    temporary_json.write_text(json.dumps(about, indent=1, sort_keys=True) + "\n")
    temporary.replace(path)
    temporary_json.replace(path.with_suffix(".json"))


def read_set(path: Path) -> tuple[dict[str, torch.Tensor], Provenance, str]:
    """Return the tensors, what they are, and the fingerprint they were written with.

    Raises:
        InputError: A file is missing, truncated or of another kind.
    """
    try:
        about = json.loads(path.with_suffix(".json").read_text())
        given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in about["provenance"].items()}
        provenance = Provenance(**{**given, "tiling": Tiling(**given["tiling"])})
        if not isinstance(provenance.whitening, str | None):
            raise TypeError(f"whitening {provenance.whitening}")
        tensors = load_file(path)
        _require_shapes(tensors, provenance)
        return tensors, provenance, str(about["fingerprint"])
    except FileNotFoundError as error:
        raise InputError("set", path, f"a set written by this package; {error.filename} is missing") from error
    except (SafetensorError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise damaged(path, error) from error


def _require_shapes(tensors: Mapping[str, torch.Tensor], provenance: Provenance) -> None:
    classes, images = len(provenance.classes), tensors["images"]
    rows = classes * provenance.ipc
    wanted = {
        "images": (rows, *images.shape[1:]),
        "average": tuple(images.shape),
        "soft_labels": (rows, classes),
        "learned_rate": (),
    }
    for name, tensor in tensors.items():
        if tuple(tensor.shape) != wanted[name]:
            raise ValueError(f"{name} of shape {tuple(tensor.shape)} where {wanted[name]} belongs")


def damaged(path: Path, error: Exception) -> InputError:
    """Return the refusal of a file that is not whole."""
    return InputError("set", path, f"a whole set file; this one is truncated or damaged ({error})")
