"""From a foreign set to the rows of a synthetic set: ordered by class, in a known space."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from moe_distill.data.normalization import Normalisation, Space
from moe_distill.errors import InputError
from moe_distill.synthetic.formats.foreign import KEY, ForeignSet

AUTO = "auto"
# How far the raw pixels may lie outside [0, 1], by the space they were optimised in: standardised images go
# further than raw ones.
_FURTHEST: dict[Space, float] = {"raw": 1.0, "standardised": 9.0, "zca": 9.0}
_TINY = 1e-30  # instead of probabilities of 0, whose logarithm is not finite
# How far probabilities may lie outside [0, 1], and their sum from 1: those stored in 16 bits or with a few
# decimals are rounded.
_ROUNDING = 0.02


@dataclass(frozen=True)
class Fitted:
    """Rows of a set, ordered by class.

    Attributes:
        images_NCHW: Images, float32.
        soft_NC: Logits of learned labels; None if labels are plain classes.
        labels: Kind of the labels in the files, for records.
    """

    images_NCHW: torch.Tensor
    soft_NC: torch.Tensor | None
    labels: str

    def reordered(self, order: Sequence[int]) -> "Fitted":
        """Return the rows with the classes in another order, in learned labels as well.

        Args:
            order: New class number of each class.
        """
        classes = len(order)
        if list(order) == list(range(classes)):
            return self
        from_C = torch.tensor(order).argsort()  # the inverse: old class of each new one
        images_NCHW = self.images_NCHW.unflatten(0, (classes, -1))[from_C].flatten(0, 1).contiguous()
        if self.soft_NC is None:
            return replace(self, images_NCHW=images_NCHW)
        soft_NC = self.soft_NC.unflatten(0, (classes, -1))[from_C].flatten(0, 1)[:, from_C].contiguous()
        return replace(self, images_NCHW=images_NCHW, soft_NC=soft_NC)


def ordered_by_class(foreign: ForeignSet, classes: int, where: object) -> Fitted:
    """Return images and labels ordered by class; rows of a class keep their order.

    A label that is a row of numbers is taken as probabilities if all lie in [0, 1] and sum to 1 up to
    rounding, else as logits. Rows without negative entries and with other sums, such as percent or the five
    largest probabilities, are ambiguous unless the files state what they are.

    Args:
        foreign: The set as it was read.
        classes: Number of classes of the data.
        where: The path to name in errors.

    Raises:
        InputError: If images or labels are not finite, labels do not fit the classes or are ambiguous, or
            classes differ in their number of images.
    """
    images_NCHW, labels = foreign.images_NCHW, foreign.labels
    # Every class must have the same number of images: a synthetic set stores one ipc for all.
    n = len(images_NCHW)
    if n == 0 or n % classes:
        raise InputError(KEY, where, f"images of {classes} classes, each equally often; there are {n}")
    pixels_NCHW = images_NCHW.float() / (255 if images_NCHW.dtype is torch.uint8 else 1)
    finite = pixels_NCHW.isfinite().all() and (labels is None or labels.isfinite().all())
    if not finite:
        raise InputError(KEY, where, "finite numbers; images or labels hold nan or infinity")
    if labels is None:
        return Fitted(pixels_NCHW.contiguous(), None, "none: class by class")
    if labels.shape not in ((n,), (n, classes)):
        raise InputError(
            KEY, where, f"labels of shape ({n},) or ({n}, {classes}); found {tuple(labels.shape)}"
        )
    if labels.ndim == 2:
        soft_NC, kind = _soft(labels, foreign.logits, where)
    else:
        soft_NC, kind = None, "class numbers"
    hard_N = _classes_of(labels.float() if soft_NC is None else soft_NC, classes, where)
    # Stable, so that the images of a class keep their order.
    order_N = hard_N.argsort(stable=True)
    soft_NC = None if soft_NC is None else soft_NC[order_N].contiguous()
    return Fitted(pixels_NCHW[order_N].contiguous(), soft_NC, kind)


def _soft(labels_NC: torch.Tensor, logits: bool, where: object) -> tuple[torch.Tensor | None, str]:
    """Return the logits of label rows (None if the rows are one-hot) and the kind of the rows."""
    rows_NC = labels_NC.float()
    if logits:
        return rows_NC, "logits"
    if not _are_probabilities(rows_NC):
        _require_logits(rows_NC, where)
        return rows_NC, "logits"
    # Rounding may have moved them a little outside.
    rows_NC = rows_NC.clamp(0, 1)
    if ((rows_NC == 0) | (rows_NC == 1)).all():
        return None, "one-hot"
    return (rows_NC / rows_NC.sum(1, keepdim=True)).clamp_min(_TINY).log(), "probabilities"


def _are_probabilities(rows_NC: torch.Tensor) -> bool:
    within = rows_NC.min() >= -_ROUNDING and rows_NC.max() <= 1 + _ROUNDING
    return bool(within and (rows_NC.sum(1) - 1).abs().max() < _ROUNDING)


def _require_logits(rows_NC: torch.Tensor, where: object) -> None:
    """Check that rows can only be logits, and not counts or probabilities with sums other than 1.

    Raises:
        InputError: If they have no clearly negative entry, or whole numbers only.
    """
    total = float(rows_NC.sum(1).mean())
    if rows_NC.min() < -_ROUNDING * rows_NC.max() and not (rows_NC == rows_NC.round()).all():
        return
    allowed = "labels as class numbers, as probabilities whose rows sum to 1, or as logits"
    values = (
        f"these, {float(rows_NC.min()):g} to {float(rows_NC.max()):g} with rows of sum {total:g} on average"
    )
    hint = "divide probabilities by the sum of their row, store logits as their log_softmax"
    raise InputError(KEY, where, f"{allowed}; {values}, may be either: {hint}")


def _classes_of(labels: torch.Tensor, classes: int, where: object) -> torch.Tensor:
    """Return the class of each image, (N,)."""
    in_order_N = torch.arange(classes).repeat_interleave(len(labels) // classes)
    if labels.ndim == 2:
        # Training may move the largest entry of a learned label to another class. If the mean of each block
        # still points at the block's class, the rows are in the order of the classes.
        if torch.equal(labels.unflatten(0, (classes, -1)).mean(1).argmax(1), torch.arange(classes)):
            return in_order_N
        labels = labels.argmax(1)
    whole_N = labels.long()
    if (whole_N != labels).any() or whole_N.min() < 0 or whole_N.max() >= classes:
        values = f"{float(labels.min()):g} to {float(labels.max()):g}"
        raise InputError(
            KEY, where, f"whole labels from 0 to {classes - 1}, one for each class; found {values}"
        )
    counts = whole_N.bincount(minlength=classes)
    if not (counts == counts[0]).all():
        raise InputError(
            KEY, where, f"every class equally often; found {int(counts.min())} to {int(counts.max())}"
        )
    return whole_N


def space_of(
    images_NCHW: torch.Tensor, choice: str, foreign: ForeignSet, seen: Normalisation, where: object
) -> Space:
    """Return the space of a set's values, as the user chose it or as it is inferred without doubt.

    ``auto`` takes the only space of a layout, raw if all values lie in [0, 1], and standardised if values lie
    outside [-0.5, 1.5], which unclamped raw pixels do not reach, and map back to pixels in [0, 1].

    Args:
        images_NCHW: Images of the set.
        choice: ``raw``, ``standardised``, ``zca`` or ``auto``.
        foreign: The set as it was read.
        seen: Normalisation of the set.
        where: The path to name in errors.

    Raises:
        InputError: If the choice is impossible, ``auto`` is ambiguous, or the pixels lie far from [0, 1].
    """
    native: Space = "standardised" if seen.whitening is None else "zca"
    possible = [space for space in foreign.spaces if space in ("raw", native)]
    if choice == AUTO:
        space = _inferred(images_NCHW, foreign, possible, seen)
    elif choice in possible:
        space = possible[possible.index(choice)]
    else:
        hint = "; whitened images are read with normalisation=zca, standardised ones without"
        allowed = f"{' or '.join([AUTO, *possible])} for this layout{hint}"
        raise InputError("pipeline.space", choice, allowed)
    # A wrong choice shows in pixels that no image has.
    raw_NCHW = images_NCHW if space == "raw" else seen.raw(images_NCHW)
    low, high, margin = float(raw_NCHW.min()), float(raw_NCHW.max()), _FURTHEST[space]
    if low < -margin or high > 1 + margin:
        values = f"read as {space}, these go from {low:.3g} to {high:.3g}"
        raise InputError(KEY, where, f"images near raw pixels of 0 to 1; {values}")
    return space


def _inferred(
    images_NCHW: torch.Tensor, foreign: ForeignSet, possible: list[Space], seen: Normalisation
) -> Space:
    if not possible:
        allowed = "channel for this layout, whose numbers are standardised and not whitened"
        raise InputError("normalisation", "zca", allowed)
    if len(foreign.spaces) == 1:
        return possible[0]
    space = _certain(images_NCHW, possible, seen)
    if space is None:
        values = f"the values, {float(images_NCHW.min()):.3g} to {float(images_NCHW.max()):.3g}"
        reason = f"{values}, do not show which"
        raise InputError("pipeline.space", AUTO, f"{' or '.join(possible)}, set explicitly: {reason}")
    return space


def _certain(images_NCHW: torch.Tensor, possible: list[Space], seen: Normalisation) -> Space | None:
    low, high = float(images_NCHW.min()), float(images_NCHW.max())
    if "raw" in possible and low >= 0 and high <= 1:
        return "raw"
    if "standardised" in possible and (low < -0.5 or high > 1.5):
        # Real images map back into [0, 1] up to rounding; learned ones may not, and stay ambiguous.
        raw_NCHW = seen.raw(images_NCHW)
        if raw_NCHW.min() > -1e-3 and raw_NCHW.max() < 1 + 1e-3:
            return "standardised"
    return None
