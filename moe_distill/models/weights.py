"""Pretrained weights in a file, known in keys by their content."""

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from moe_distill.errors import FieldError
from moe_distill.validation.values import checked


@checked
@dataclass(frozen=True)
class WeightsFile:
    """A file of weights (safetensors, or torch's, of which only tensors are read).

    Args:
        path: The file.

    Raises:
        FieldError: There is no such file.
    """

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path).expanduser())
        if not self.path.is_file():
            raise FieldError("path", self.path, "a file of weights that is there")

    def describe(self) -> str:
        """Return the content's sha256: where a file lies decides nothing, and a new content is another."""
        return f"sha256:{_digest(self.path, self.path.stat().st_mtime_ns)}"

    def load_into(self, network: nn.Module) -> None:
        """Load the weights into a network; those of a last linear layer for other classes are left out.

        Raises:
            FieldError: The file holds other layers than the network, or cannot be read.
        """
        weights, expected = self.read(), network.state_dict()
        last = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)][-1:]
        for entry in (f"{name}.{part}" for name in last for part in ("weight", "bias")):
            if entry in weights and weights[entry].shape != expected[entry].shape:
                weights[entry] = expected[entry]
        shapes = [{name: tuple(w.shape) for name, w in state.items()} for state in (weights, expected)]
        if differing := sorted(name for name, _ in shapes[0].items() ^ shapes[1].items()):
            allowed = f"weights of {type(network).__name__} as it is for these images; {differing[0]} differs"
            raise FieldError("weights.path", self.path, allowed)
        if not next(network.parameters()).is_meta:  # else it is built to be tried only, and holds no values
            network.load_state_dict(weights)

    def read(self) -> dict[str, torch.Tensor]:
        """Return the weights by name.

        Raises:
            FieldError: It is no file of weights.
        """
        try:
            if self.path.suffix == ".safetensors":
                return load_file(self.path)
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            return dict(state.get("state_dict", state))
        except Exception as error:  # damaged files raise anything
            raise FieldError(
                "weights.path", self.path, f"a file of weights ({type(error).__name__})"
            ) from error


@checked
def weights_file(path: Path | None) -> WeightsFile | None:
    """Return a file of weights, or None for no path, as a configuration has it."""
    return None if path is None else WeightsFile(path)


@functools.cache
def _digest(path: Path, changed: int) -> str:
    """Return a file's sha256 in hex; once for each time that it was changed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
