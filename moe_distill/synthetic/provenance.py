"""The metadata of a synthetic set: what it is and how it was made, stored beside its tensors."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

from annotated_types import Ge, IsFinite, Le, MinLen, Predicate

from moe_distill.data.normalization import Space
from moe_distill.data.real_set import RealSet
from moe_distill.errors import InputError
from moe_distill.synthetic.tiling import Tiling
from moe_distill.validation.values import LEAST_STD, Text

DIGITS = 16  # hex digits of the part of a fingerprint that covers the metadata


def roster_is_a_list(settings: Mapping[str, object]) -> bool:
    """Return True if a set's settings have no roster, or one whose experts can be counted."""
    return isinstance(settings.get("roster", []), list)


@dataclass(frozen=True)
class Provenance:
    """The description of a set: enough to use it without the configuration that made it.

    Attributes:
        dataset: Name of the real data.
        data_variant: Where the real pixels came from, such as ``torchvision``.
        data_fingerprint: Sha256 of the real data.
        classes: Class names in label order.
        mean: Mean of each channel of the real pixels, scaled to [0, 1].
        std: Standard deviation of each channel, likewise.
        method: Name of the distillation method.
        expert: Position of the expert in the roster.
        ipc: Stored images per class.
        space: Space of the stored values: raw pixels in [0, 1], standardised by ``mean`` and ``std``, or
            whitened.
        tiling: How a stored image is decoded.
        settings: The description of everything that affected the images.
        whitening: Source of the whitening that normalises the data; None if ``mean`` and ``std`` do.
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
        """Return the first digits of a sha256 over all metadata that affect what a student sees."""
        # Floats throughout: 0 and 0.0 are the same number, but different JSON.
        tiles = {**asdict(self.tiling), "fill": float(self.tiling.fill)}
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
        """Check that a set of this provenance was distilled from data like these.

        Args:
            own_shape: Channels, height and width of the set's images.
            classes: Class names of the data.
            shape: Channels, height and width of the data's images.
            mean: Mean of each channel of the data.
            std: Standard deviation of each channel of the data.
            whitening: Source of the data's whitening; None without one.

        Raises:
            InputError: If anything differs.
        """
        pairs: dict[str, tuple[object, object]] = {
            "classes": (tuple(self.classes), tuple(classes)),
            "image shape": (tuple(own_shape), tuple(shape)),
            "mean": (_rounded(self.mean), _rounded(mean)),
            "std": (_rounded(self.std), _rounded(std)),
            "whitening": (self.whitening, whitening),
        }
        for name, (of_set, of_data) in pairs.items():
            if of_set != of_data:
                allowed = f"the set was distilled from {self.dataset} with {name} {_short(of_set)}"
                raise InputError("data", f"({name} {_short(of_data)})", allowed)


def provenance_of(real: RealSet, **more: Any) -> Provenance:
    """Return the provenance of a set made from real images.

    Args:
        real: The real images.
        more: All fields of :class:`Provenance` that do not come from them.
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
    # Statistics that are computed anew may differ in their last digits.
    return tuple(round(float(v), 6) for v in values)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) < 80 else text[:77] + "..."
