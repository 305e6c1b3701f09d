"""The two files of one expert's set: its tensors as safetensors, and its metadata as JSON."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from annotated_types import MinLen
from safetensors import SafetensorError
from safetensors.torch import load_file

from moe_distill.data.normalization import FILE, Whitening
from moe_distill.errors import InputError
from moe_distill.store.damage import flaw_of_error, require_readable
from moe_distill.store.disk import atomic_path
from moe_distill.store.json_files import adapter
from moe_distill.store.tensor_files import save_tensors
from moe_distill.synthetic.provenance import Provenance
from moe_distill.terminal import say


@dataclass(frozen=True)
class _Metadata:
    """The content of the JSON file."""

    provenance: Provenance
    fingerprint: Annotated[str, MinLen(64)]


def write_set(
    path: Path, tensors: Mapping[str, torch.Tensor], provenance: Provenance, fingerprint: str
) -> None:
    """Write the tensors to ``path`` and the metadata to the JSON beside it, each atomically.

    Args:
        path: The safetensors file.
        tensors: Contiguous tensors on the CPU, by name.
        provenance: Describes the set.
        fingerprint: See :meth:`~moe_distill.synthetic.synthetic_set.SyntheticSet.fingerprint`.
    """
    metadata = dataclasses.asdict(_Metadata(provenance, fingerprint))
    text = json.dumps(metadata, indent=1, sort_keys=True) + "\n"
    # The JSON comes last: tensors without it are known to be incomplete.
    save_tensors(tensors, path)
    with atomic_path(path.with_suffix(".json")) as temporary:
        temporary.write_text(text, encoding="utf-8")


def files_of(folder: Path) -> list[Path]:
    """Return the files of a folder's experts in the order of their numbers.

    Raises:
        InputError: If there are none, or they are not named by experts numbered from 0 without a gap.
    """
    names = {path.name for path in folder.glob("expert_*.safetensors")}
    if not names:
        allowed = "a folder with files expert_<number>.safetensors; for other layouts see pipeline=import"
        raise InputError("set", folder, allowed)
    expected = [f"expert_{number}.safetensors" for number in range(len(names))]
    if unexpected := sorted(names.difference(expected)):
        allowed = (
            f"a name expert_<number>.safetensors, where the {len(names)} of a folder are numbered from 0"
        )
        raise InputError("set", folder / unexpected[0], f"{allowed} without a gap")
    return [folder / name for name in expected]


def require_roster(files: Sequence[Path], provenances: Sequence[Provenance]) -> None:
    """Check that each file is the one of the expert in its name, and that no expert of the roster is missing.

    Raises:
        InputError: If one is not, or is missing.
    """
    for number, (file, provenance) in enumerate(zip(files, provenances, strict=True)):
        if provenance.expert != number:
            raise InputError(
                "set", file, f"the set of expert {number}; this one is that of expert {provenance.expert}"
            )
    # Imported sets have no roster: their files are taken to be all.
    experts = len(provenances[0].settings.get("roster", provenances))
    if len(files) != experts:
        raise InputError(
            "set", files[0].parent, f"the files of all {experts} experts; there are {len(files)}"
        )


def whitening_beside(path: Path, source: str) -> Whitening:
    """Return the whitening that a set was distilled with, from the file beside it.

    Raises:
        InputError: As for :meth:`~moe_distill.data.normalization.Whitening.load`, or if it may not be read.
    """
    try:
        return Whitening.load(path.with_name(FILE), source)
    except PermissionError as error:
        raise unreadable(path.with_name(FILE), error) from error


def read_set(path: Path) -> tuple[dict[str, torch.Tensor], Provenance, str]:
    """Return a set's tensors, its provenance, and the fingerprint it was written with.

    Raises:
        InputError: If a file is missing, cannot be read, is truncated or of another kind, or has a value that
            is not allowed.
    """
    try:
        for file in (path.with_suffix(".json"), path):
            require_readable(file)
        # Strict: pydantic would otherwise turn texts into numbers. Fields of other versions are refused.
        metadata = adapter(_Metadata).validate_json(
            path.with_suffix(".json").read_bytes(), strict=True, extra="forbid"
        )
        tensors = load_file(path)
        _require_fit(tensors, metadata.provenance)
        return tensors, metadata.provenance, metadata.fingerprint
    except FileNotFoundError as error:
        raise InputError(
            "set", path, f"a set written by this package; {error.filename} is missing"
        ) from error
    except OSError as error:
        raise unreadable(path, error) from error
    except (SafetensorError, ValueError, LookupError) as error:
        raise damaged(path, error) from error


def fingerprint_of(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return a sha256, in hex, over names, shapes and values of tensors on the CPU."""
    digest = hashlib.sha256()
    # Sorted by name, so that the order in the dict does not matter.
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def require_sealed(path: Path, written: str, loaded: str) -> None:
    """Check that a set is the one that was written, by its fingerprint.

    Older fingerprints cover the tensors only; a message says so.

    Args:
        path: The set's file.
        written: The fingerprint in the file.
        loaded: The fingerprint of the set as it was read.

    Raises:
        InputError: If they differ.
    """
    tensors, _, reading = loaded.partition("-")
    # A fingerprint is <tensors>-<reading>; an old one has the first part only.
    if written.partition("-")[0] != tensors:
        raise InputError("set", path, f"the images it was written with, fingerprint {written[:12]}")
    if written == tensors:
        _say_older(path.parent)
    elif written.partition("-")[2] != reading:
        allowed = (
            "the metadata it was written with; classes, statistics, space, tiling or whitening were changed"
        )
        raise InputError("set", path, allowed)


@functools.cache  # one message for the files of all experts
def _say_older(folder: Path) -> None:
    note = "an older set, whose fingerprint does not cover its metadata; these are not verified"
    say(f"{folder}: {note}", style="yellow")


def _require_fit(tensors: Mapping[str, torch.Tensor], provenance: Provenance) -> None:
    """Check that the tensors are finite and have the shapes that the metadata imply.

    Raises:
        ValueError: If they do not fit.
        LookupError: If there are no images.
    """
    classes, images = len(provenance.classes), tensors["images"]
    rows = classes * provenance.ipc
    channels = len(provenance.mean)
    side = images.shape[-1] if images.ndim else 0
    shapes = {
        "images": (rows, channels, side, side),
        "average": (rows, channels, side, side),
        "soft_labels": (rows, classes),
        "learned_rate": (),
    }
    for name, tensor in tensors.items():
        if tuple(tensor.shape) != shapes[name]:
            raise ValueError(f"{name} of shape {tuple(tensor.shape)} where {shapes[name]} belongs")
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
    """Return the error for a file that the system does not let us read."""
    return InputError("set", error.filename or path, f"a file that can be read ({error.strerror or error})")


def damaged(path: Path, error: Exception) -> InputError:
    """Return the error for a file that is damaged, or that this package did not write."""
    reason = flaw_of_error(error, path.with_suffix(".json").name)
    return InputError("set", path, f"a whole set file; this one is truncated or damaged ({reason})")
