"""The two files of one expert's set: its tensors as safetensors, and beside them as JSON what they are."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import MinLen
from safetensors import SafetensorError
from safetensors.torch import load_file

from moe_distill.data.normalization import FILE, Whitening
from moe_distill.errors import InputError
from moe_distill.store.damage import flaw_told, require_readable, say
from moe_distill.store.disk import in_place_of
from moe_distill.store.tensor_files import save_tensors
from moe_distill.synthetic.provenance import Provenance


@dataclass(frozen=True)
class _About:
    """What the JSON holds."""

    provenance: Provenance
    fingerprint: Annotated[str, MinLen(64)]


def write_set(
    path: Path, tensors: Mapping[str, torch.Tensor], provenance: Provenance, fingerprint: str
) -> None:
    """Write ``path`` and the JSON beside it, each moved into place at once."""
    about = json.dumps(dataclasses.asdict(_About(provenance, fingerprint)), indent=1, sort_keys=True) + "\n"
    save_tensors(tensors, path)
    with in_place_of(path.with_suffix(".json")) as temporary:
        temporary.write_text(about, encoding="utf-8")


def files_of(folder: Path) -> list[Path]:
    """Return the files of a folder's experts in the order of their numbers.

    Raises:
        InputError: There are none, or their names are not those of experts numbered from 0 without a gap.
    """
    found = {path.name for path in folder.glob("expert_*.safetensors")}
    if not found:
        raise InputError("set", folder, "a folder with files expert_<number>.safetensors")
    names = [f"expert_{number}.safetensors" for number in range(len(found))]
    if strange := sorted(found.difference(names)):
        allowed = (
            f"a name expert_<number>.safetensors, where the {len(found)} of a folder are numbered from 0"
        )
        raise InputError("set", folder / strange[0], f"{allowed} without a gap")
    return [folder / name for name in names]


def require_roster(files: Sequence[Path], held: Sequence[Provenance]) -> None:
    """Refuse files of which one is not of the expert that its name says, or that are not all of the roster's.

    Raises:
        InputError: They are not.
    """
    for number, (file, own) in enumerate(zip(files, held, strict=True)):
        if own.expert != number:
            raise InputError(
                "set", file, f"the set of expert {number}; this one is that of expert {own.expert}"
            )
    experts = len(held[0].settings.get("roster", held))
    if len(files) != experts:
        raise InputError(
            "set", files[0].parent, f"the files of all {experts} experts; there are {len(files)}"
        )


def whitening_beside(path: Path, source: str) -> Whitening:
    """Return the whitening that a set's file was made with.

    Raises:
        InputError: As for :meth:`~moe_distill.data.normalization.Whitening.load`, or it may not be read.
    """
    try:
        return Whitening.load(path.with_name(FILE), source)
    except PermissionError as error:
        raise unreadable(path.with_name(FILE), error) from error


def read_set(path: Path) -> tuple[dict[str, torch.Tensor], Provenance, str]:
    """Return the tensors, what they are, and the fingerprint they were written with.

    Raises:
        InputError: A file is missing, cannot be read, is truncated or of another kind, or a value is none
            that a set can have.
    """
    try:
        for file in (path.with_suffix(".json"), path):
            require_readable(file)
        about = _schema().validate_json(path.with_suffix(".json").read_bytes(), strict=True, extra="forbid")
        tensors = load_file(path)
        _require_fit(tensors, about.provenance)
        return tensors, about.provenance, about.fingerprint
    except FileNotFoundError as error:
        raise InputError(
            "set", path, f"a set written by this package; {error.filename} is missing"
        ) from error
    except OSError as error:
        raise unreadable(path, error) from error
    except (SafetensorError, ValueError, LookupError) as error:
        raise damaged(path, error) from error


def fingerprint_of(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return a sha256, in hexadecimal, over names, shapes and numbers of tensors on the CPU."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name}{tuple(tensor.shape)}".encode() + tensor.numpy().tobytes())
    return total.hexdigest()


def require_sealed(path: Path, written: str, loaded: str) -> None:
    """Refuse a set that is not what its fingerprint says; an older one, of the tensors alone, is said to be
    older.

    Args:
        path: The set's file.
        written: The fingerprint in the file.
        loaded: That of what was read.

    Raises:
        InputError: They differ.
    """
    tensors, _, reading = loaded.partition("-")
    if written.partition("-")[0] != tensors:
        raise InputError("set", path, f"the images it was written with, fingerprint {written[:12]}")
    if written == tensors:
        _say_older(path.parent)
    elif written.partition("-")[2] != reading:
        allowed = (
            "the metadata it was written with; classes, statistics, space, tiling or whitening were changed"
        )
        raise InputError("set", path, allowed)


@functools.cache
def _say_older(folder: Path) -> None:
    say(
        f"{folder}: a set from before fingerprints covered how it is read; its metadata are taken as they stand"
    )


@functools.cache
def _schema() -> Any:
    """Return what checks types and bounds: the annotations of the classes."""
    from pydantic import TypeAdapter  # here, so that whoever reads no set need not wait for it

    return TypeAdapter(_About)


def _require_fit(tensors: Mapping[str, torch.Tensor], provenance: Provenance) -> None:
    """Refuse tensors that are not of the form the metadata say, or hold what is no number.

    Raises:
        ValueError: They do not fit.
        LookupError: There are no images.
    """
    classes, images = len(provenance.classes), tensors["images"]
    rows = classes * provenance.ipc
    channels = len(provenance.mean)
    side = images.shape[-1] if images.ndim else 0
    wanted = {
        "images": (rows, channels, side, side),
        "average": (rows, channels, side, side),
        "soft_labels": (rows, classes),
        "learned_rate": (),
    }
    for name, tensor in tensors.items():
        if tuple(tensor.shape) != wanted[name]:
            raise ValueError(f"{name} of shape {tuple(tensor.shape)} where {wanted[name]} belongs")
        if tensor.dtype != torch.float32:
            raise ValueError(f"{name} of type {tensor.dtype} where torch.float32 belongs")
        if not tensor.isfinite().all():
            raise ValueError(f"{name} holds NaN or infinity")
    if "learned_rate" in tensors and tensors["learned_rate"] <= 0:
        raise ValueError(f"learned_rate {tensors['learned_rate']:g} where a number above 0 belongs")
    if len(set(provenance.classes)) != classes:
        raise ValueError("two classes have one name")
    if len(provenance.std) != channels:
        raise ValueError(f"{len(provenance.std)} numbers in std where {channels} belong")
    if provenance.tiling.factor > side:
        raise ValueError(f"tiling.factor {provenance.tiling.factor} where 1 to {side} belongs")
    if provenance.space == "zca" and provenance.whitening is None:
        raise ValueError("space zca without a whitening")


def unreadable(path: Path, error: OSError) -> InputError:
    """Return the refusal of a file that the system does not give."""
    return InputError("set", error.filename or path, f"a file that can be read ({error.strerror or error})")


def damaged(path: Path, error: Exception) -> InputError:
    """Return the refusal of a file that is not whole, or not one of ours."""
    reason = flaw_told(error, path.with_suffix(".json").name)
    return InputError("set", path, f"a whole set file; this one is truncated or damaged ({reason})")
