"""What a synthetic set is and where it comes from, as plain values that are stored beside its tensors."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

from annotated_types import Ge, IsFinite, Le, MinLen, Predicate

from moe_distill.data.normalization import Space
from moe_distill.data.real_set import RealSet
from moe_distill.errors import InputError
from moe_distill.synthetic.tiling import Tiling
from moe_distill.validation.values import LEAST_STD

DIGITS = 16
Text = Annotated[str, MinLen(1)]


def roster_is_a_list(settings: dict[str, Any]) -> bool:
    """Say whether the number of experts can be told of a set's settings, where these name them."""
    return isinstance(settings.get("roster", []), list)


@dataclass(frozen=True)
class Provenance:
    """What a set is: enough to use it without the configuration that made it.

    Attributes:
        dataset: Name of the real data; ``data_variant`` and ``data_fingerprint`` say which copy of it.
        classes: Class names in label order.
        mean: Per-channel mean of the real pixels scaled to [0, 1]; ``std`` likewise.
        method: Name of the distillation method; ``expert`` its place in the roster.
        ipc: Stored images per class.
        space: What the stored numbers are: raw pixels in [0, 1], standardised by ``mean`` and ``std``, or
            whitened.
        tiling: How a stored image is decoded.
        settings: The description of everything that decided the images.
        whitening: Source of the whitening that networks see the data through; None where it is ``mean`` and
            ``std``.
    """

    dataset: Text
    data_variant: str
    data_fingerprint: Text
    classes: Annotated[tuple[Text, ...], MinLen(1)]
    mean: Annotated[tuple[Annotated[IsFinite[float], Ge(0), Le(1)], ...], MinLen(1)]
    std: Annotated[tuple[Annotated[IsFinite[float], Ge(LEAST_STD), Le(1)], ...], MinLen(1)]
    method: Text
    expert: Annotated[int, Ge(0)]
    ipc: Annotated[int, Ge(1)]
    space: Space = "standardised"
    tiling: Tiling = field(default_factory=Tiling)
    settings: Annotated[dict[str, Any], Predicate(roster_is_a_list)] = field(default_factory=dict)
    whitening: Text | None = None

    def reading(self) -> str:
        """Return the first digits of a sha256 of all but the tensors that decides what a student sees."""
        tiles = {
            **asdict(self.tiling),
            "fill": float(self.tiling.fill),
        }  # 0 and 0.0 are one number, but two texts
        statistics = [[*map(float, self.mean)], [*map(float, self.std)], self.whitening]
        decisive = [self.classes, self.ipc, self.space, tiles, statistics]
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:DIGITS]

    def require(
        self,
        own_shape: Sequence[int],
        classes: Sequence[str],
        shape: Sequence[int],
        mean: Sequence[float],
        std: Sequence[float],
        whitening: str | None,
    ) -> None:
        """Refuse data a set of this provenance was not distilled from.

        Args:
            own_shape: Channels, height and width of the set's images.
            classes: Class names of the data; the others are its image shape, statistics and whitening.
            shape: See ``classes``.
            mean: See ``classes``.
            std: See ``classes``.
            whitening: See ``classes``.

        Raises:
            InputError: Anything differs.
        """
        ours = (
            tuple(self.classes),
            tuple(own_shape),
            _rounded(self.mean),
            _rounded(self.std),
            self.whitening,
        )
        theirs = (tuple(classes), tuple(shape), _rounded(mean), _rounded(std), whitening)
        names = ("classes", "image shape", "mean", "std", "whitening")
        for what, mine, other in zip(names, ours, theirs, strict=True):
            if mine != other:
                allowed = f"the set was distilled from {self.dataset} with {what} {_short(mine)}"
                raise InputError("data", f"({what} {_short(other)})", allowed)


def provenance_of(real: RealSet, **more: Any) -> Provenance:
    """Return the provenance of a set made from real images; ``more`` are its fields that these do not
    decide.
    """
    return Provenance(
        dataset=real.name,
        data_variant=real.variant,
        data_fingerprint=real.fingerprint,
        classes=real.classes,
        mean=real.mean,
        std=real.std,
        whitening=real.normalisation.source,
        **more,
    )


def _rounded(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(round(float(v), 6) for v in values)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) < 80 else text[:77] + "..."
