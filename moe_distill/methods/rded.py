"""RDED: real patches that a teacher classifies with the lowest loss, stitched together; nothing is learned.

Sun, Shi, Yu and Lin, "On the Diversity and Realism of Distilled Dataset: An Efficient Dataset Distillation
Paradigm", CVPR 2024. Here the teacher sees patches normalised by the statistics of its own training data. The
published teachers were trained with ImageNet's statistics and see patches of every data set so.
"""

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F

from moe_distill.data.normalization import Space
from moe_distill.data.patches import cut, draw_crops, easiest, framed, in_eight_bits, stitched, through_jpeg
from moe_distill.data.real_set import RealSet
from moe_distill.errors import FieldError, InputError
from moe_distill.methods.base import IterationContext, Method, fill_by_class
from moe_distill.methods.presets.rded import PRESETS
from moe_distill.methods.presets.rows import Presets
from moe_distill.models.base import Network
from moe_distill.teachers.pool import PretrainedNetworks
from moe_distill.validation.values import Count, checked

_CHUNK = 512  # images in one pass through the teacher, to bound memory


@checked
class RDED(Method):
    """Cuts patches from real images and keeps those with the lowest loss under a teacher.

    Args:
        mipc: Real images per class that patches are cut from; all of the expert's if it has fewer.
        crops: Patches cut from each image; the one with the lowest cross-entropy represents it.
        factor: Each stored image is stitched from ``factor`` × ``factor`` patches; 1 for 32 pixels, 2 for
            larger images.
        storage: How pixels are stored: "float", "png" (whole 255ths) or "jpeg75" (as published: JPEG of
            quality 75, which is visible at 32 pixels).
        labels: "hard", or "teacher_stored": the set holds the teacher's logits for its images.
        teacher: Pool of the one network that ranks the patches and can label students' batches.

    Raises:
        FieldError: The pool has several networks, or was trained on other data than the run's.
    """

    presets: ClassVar[Presets] = PRESETS
    trainable: ClassVar[bool] = False
    space: ClassVar[Space] = "raw"

    def __init__(
        self,
        mipc: Count,
        crops: Count,
        factor: Count,
        storage: Literal["float", "png", "jpeg75"],
        labels: Literal["hard", "teacher_stored"],
        teacher: PretrainedNetworks,
    ) -> None:
        if teacher.networks != 1:
            raise FieldError("teacher.networks", teacher.networks, "1")
        if teacher.data is not None:
            raise FieldError("teacher.data", teacher.data.name, "null: it must know the run's classes")
        self.mipc, self.crops, self.factor, self.storage = mipc, crops, factor, storage
        self.learns_labels = labels == "teacher_stored"
        self.labeller, self.pieces = teacher, factor
        self.pools = {"teacher": teacher}

    def check(self, real: RealSet) -> None:
        """Reject patches of less than a pixel, and whitened data where patches are smaller than images.

        Raises:
            FieldError: The factor does not fit the data.
        """
        if self.factor > real.size:
            raise FieldError("factor", self.factor, f"at most {real.size}, the side of an image in pixels")
        if self.factor > 1 and real.whitening is not None:
            raise FieldError("factor", self.factor, "1 with normalisation=zca, which whitens whole images")

    def require_images(self, ipc: int, fewest: int) -> None:
        """Reject an ipc that needs more patches than there are candidates.

        Raises:
            InputError: There are too few candidates.
        """
        candidates = min(self.mipc, fewest)
        per_image = self.factor**2
        if ipc * per_image > candidates:
            source = "method.mipc or the images an expert sees of the smallest class"
            allowed = (
                f"at most {candidates // per_image}: {candidates} candidates ({source}), {per_image} each"
            )
            raise InputError("ipc", ipc, allowed)

    def prepare(self, context: IterationContext) -> None:
        """Fill the images class by class, then the soft labels if the set holds them."""
        fill_by_class(context.syn, lambda c: self._images(context, c))
        if (labels := context.syn.soft_labels) is not None:
            with torch.no_grad():
                labels.copy_(_logits(_teacher(context), context.syn.standardised()))

    @torch.no_grad()
    def _images(self, context: IterationContext, c: int) -> torch.Tensor:
        """Return the stored images (ipc, C, H, W) of a class."""
        real, rng = context.real, context.rng
        rows = real.class_indices(c)
        # Drawn without replacement, and cut from all at once.
        rows = rows[torch.randperm(len(rows), generator=rng)[: self.mipc]].to(real.device)
        crops = draw_crops(rng, len(rows), self.crops, real.size)
        # Pixels are stored as bytes; the patches are raw, in [0, 1].
        patches_NMCHW = cut(real.images_NCHW[rows].float() / 255, crops, real.size // self.factor)
        # The teacher takes whole images: smaller patches are framed to their size.
        framed_PCHW = framed(real.normalisation.standardised(patches_NMCHW.flatten(0, 1)), real.size)
        logits_PC = _logits(_teacher(context), framed_PCHW)
        labels_P = torch.full_like(logits_PC[:, 0], c).long()
        loss_P = F.cross_entropy(logits_PC, labels_P, reduction="none")
        # One patch an image at most, so that a single easy image does not fill the set.
        chosen = easiest(loss_P.view(patches_NMCHW.shape[:2]), context.syn.provenance.ipc * self.factor**2)
        return self._stored(stitched(patches_NMCHW[chosen], self.factor, real.size))

    def _stored(self, raw_NCHW: torch.Tensor) -> torch.Tensor:
        match self.storage:
            case "png":
                return in_eight_bits(raw_NCHW)
            case "jpeg75":
                return through_jpeg(raw_NCHW)
        return raw_NCHW


def _teacher(context: IterationContext) -> Network:
    (network,) = context.pretrained["teacher"]
    return network


def _logits(network: Network, x_NCHW: torch.Tensor) -> torch.Tensor:
    return torch.cat([network(x) for x in x_NCHW.split(_CHUNK)])
