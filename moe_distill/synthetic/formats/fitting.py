"""From what a reader found to what a synthetic set holds: rows class by class, and the space of the
numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from moe_distill.data.normalization import Normalisation, Space
from moe_distill.errors import InputError
from moe_distill.synthetic.formats.foreign import KEY, Foreign

AUTO = "auto"
# How far from [0, 1] raw pixels may lie: those optimised as raw pixels stay near, standardised ones may go
# far.
_FURTHEST: dict[Space, float] = {"raw": 1.0, "standardised": 9.0, "zca": 9.0}
_TINY = 1e-30
# How far from 1 probabilities may sum, and how far they may lie beyond 0 and 1: those kept in 16 bits or to a
# few decimals do not sum to it exactly.
_ROUNDING = 0.02


@dataclass(frozen=True)
class Fitted:
    """Rows of a set, class-major.

    Attributes:
        images_NCHW: Images, float32.
        soft_NC: Logits of learned labels; None where the class alone is the label.
        labels: What the files said of the labels, in a word.
    """

    images_NCHW: torch.Tensor
    soft_NC: torch.Tensor | None
    labels: str

    def reordered(self, order: Sequence[int]) -> "Fitted":
        """Return the rows with classes in another order, learned labels included.

        Args:
            order: For each class of the rows which class it becomes.
        """
        classes = len(order)
        if list(order) == list(range(classes)):
            return self
        from_C = torch.tensor(order).argsort()
        images_NCHW = self.images_NCHW.unflatten(0, (classes, -1))[from_C].flatten(0, 1).contiguous()
        if self.soft_NC is None:
            return replace(self, images_NCHW=images_NCHW)
        soft_NC = self.soft_NC.unflatten(0, (classes, -1))[from_C].flatten(0, 1)[:, from_C].contiguous()
        return replace(self, images_NCHW=images_NCHW, soft_NC=soft_NC)


def arranged(foreign: Foreign, classes: int, where: object) -> Fitted:
    """Return images and labels class by class, each class as often; rows of a class keep their order.

    A row of numbers as the label of each image is probabilities where all lie in [0, 1] and sum to 1 but for
    their rounding, else logits. Where they may be probabilities of other sums, such as percent or the five
    largest, as no entry is below 0, the files must say what they are.

    Args:
        foreign: What was read.
        classes: Number of classes of the data.
        where: Named in a refusal.

    Raises:
        InputError: Images or labels are not finite, labels do not fit the classes or cannot be told to be
            probabilities or logits, or classes are not equally often.
    """
    images_NCHW, labels = foreign.images_NCHW, foreign.labels
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
    soft_NC, said = _soft(labels, foreign.logits, where) if labels.ndim == 2 else (None, "class numbers")
    hard_N = _classes_of(labels.float() if soft_NC is None else soft_NC, classes, where)
    order_N = hard_N.argsort(stable=True)
    soft_NC = None if soft_NC is None else soft_NC[order_N].contiguous()
    return Fitted(pixels_NCHW[order_N].contiguous(), soft_NC, said)


def _soft(labels_NC: torch.Tensor, logits: bool, where: object) -> tuple[torch.Tensor | None, str]:
    """Return logits whose softmax is what the rows say, None where they name classes; and what they are."""
    rows_NC = labels_NC.float()
    if logits:
        return rows_NC, "logits"
    if not _are_probabilities(rows_NC):
        _require_logits(rows_NC, where)
        return rows_NC, "logits"
    rows_NC = rows_NC.clamp(0, 1)
    if ((rows_NC == 0) | (rows_NC == 1)).all():
        return None, "one-hot"
    return (rows_NC / rows_NC.sum(1, keepdim=True)).clamp_min(_TINY).log(), "probabilities"


def _are_probabilities(rows_NC: torch.Tensor) -> bool:
    within = rows_NC.min() >= -_ROUNDING and rows_NC.max() <= 1 + _ROUNDING
    return bool(within and (rows_NC.sum(1) - 1).abs().max() < _ROUNDING)


def _require_logits(rows_NC: torch.Tensor, where: object) -> None:
    """Refuse rows that may as well be counts, or shares of other totals than 1, as none is below 0.

    Raises:
        InputError: They may.
    """
    total = float(rows_NC.sum(1).mean())
    if rows_NC.min() < -_ROUNDING * rows_NC.max() and not (rows_NC == rows_NC.round()).all():
        return
    allowed = "labels as class numbers, as probabilities whose rows sum to 1, or as logits"
    told = (
        f"these, {float(rows_NC.min()):g} to {float(rows_NC.max()):g} with rows of sum {total:g} on average"
    )
    hint = "divide probabilities by the sum of their row, store logits as their log_softmax"
    raise InputError(KEY, where, f"{allowed}; {told}, may be either: {hint}")


def _classes_of(labels: torch.Tensor, classes: int, where: object) -> torch.Tensor:
    """Return the class of each image, (N,)."""
    in_order_N = torch.arange(classes).repeat_interleave(len(labels) // classes)
    if labels.ndim == 2:
        # Learned labels may leave their class; they lie class by class where each block points at its own on
        # average.
        if torch.equal(labels.unflatten(0, (classes, -1)).mean(1).argmax(1), torch.arange(classes)):
            return in_order_N
        labels = labels.argmax(1)
    whole_N = labels.long()
    if (whole_N != labels).any() or whole_N.min() < 0 or whole_N.max() >= classes:
        found = f"{float(labels.min()):g} to {float(labels.max()):g}"
        raise InputError(
            KEY, where, f"whole labels from 0 to {classes - 1}, one for each class; found {found}"
        )
    counts = whole_N.bincount(minlength=classes)
    if not (counts == counts[0]).all():
        raise InputError(
            KEY, where, f"every class equally often; found {int(counts.min())} to {int(counts.max())}"
        )
    return whole_N


def space_of(
    images_NCHW: torch.Tensor, said: str, foreign: Foreign, seen: Normalisation, where: object
) -> Space:
    """Return what the numbers are: what the user says, or what is certain.

    ``auto`` is certain where the layout has nothing else, of raw pixels where all values lie in [0, 1], and
    of standardised ones where they go beyond what unclamped raw pixels reach, [-0.5, 1.5], but not beyond
    what [0, 1] is mapped to.

    Raises:
        InputError: ``said`` cannot be, ``auto`` is not certain, or the pixels lie far from [0, 1].
    """
    native: Space = "standardised" if seen.whitening is None else "zca"
    possible = [space for space in foreign.spaces if space in ("raw", native)]
    low, high = float(images_NCHW.min()), float(images_NCHW.max())
    if said == AUTO:
        if not possible:
            allowed = "channel for this layout, whose numbers are standardised and not whitened"
            raise InputError("normalisation", "zca", allowed)
        space = possible[0] if len(foreign.spaces) == 1 else _certain(images_NCHW, possible, seen)
        if space is None:
            told = f"the values, {low:.3g} to {high:.3g}, do not tell what they are"
            raise InputError("pipeline.space", AUTO, f"{' or '.join(possible)}, said by you: {told}")
    else:
        found = [space for space in possible if space == said]
        if not found:
            hint = "; whitened images are read with normalisation=zca, standardised ones without"
            raise InputError(
                "pipeline.space", said, f"{' or '.join([AUTO, *possible])} for this layout{hint}"
            )
        space = found[0]
    raw_NCHW = images_NCHW if space == "raw" else seen.raw(images_NCHW)
    low, high, far = float(raw_NCHW.min()), float(raw_NCHW.max()), _FURTHEST[space]
    if low < -far or high > 1 + far:
        told = f"read as {space}, these go from {low:.3g} to {high:.3g}"
        raise InputError(KEY, where, f"images near raw pixels of 0 to 1; {told}")
    return space


def _certain(images_NCHW: torch.Tensor, possible: list[Space], seen: Normalisation) -> Space | None:
    low, high = float(images_NCHW.min()), float(images_NCHW.max())
    if "raw" in possible and low >= 0 and high <= 1:
        return "raw"
    if "standardised" in possible and (low < -0.5 or high > 1.5):
        raw_NCHW = seen.raw(images_NCHW)
        if raw_NCHW.min() > -1e-3 and raw_NCHW.max() < 1 + 1e-3:
            return "standardised"
    return None
