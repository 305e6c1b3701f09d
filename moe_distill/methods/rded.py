"""RDED: real patches that a teacher finds easy, stitched together; nothing is learned.

Sun, Shi, Yu and Lin, "On the Diversity and Realism of Distilled Dataset: An Efficient Dataset Distillation
Paradigm", CVPR 2024. The teacher sees patches normalised by the data set's own statistics, as it did in its
training; those that were published were trained with the statistics of ImageNet, and see patches so, whatever
the data set.
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

_CHUNK = 512


@checked
class RDED(Method):
    """Cuts patches from real images and keeps those with the lowest loss under a teacher.

    Args:
        mipc: Real images per class that patches are cut from; all of the expert's where it has fewer.
        crops: Patches cut from each; the one with the lowest cross-entropy stands for the image.
        factor: Each stored image is stitched of ``factor`` × ``factor`` patches; 1 for 32 pixels, 2 for
            larger images.
        storage: As which the images are kept: "float", "png" (whole 255ths) or "jpeg75" (as published: JPEG
            files of quality 75, which is visible at 32 pixels).
        labels: "hard", or "teacher_stored": the set holds the teacher's logits of its images.
        teacher: The pool of one network that ranks the patches and can label students' batches.

    Raises:
        FieldError: The teacher cannot serve.
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
        """Refuse patches of no pixel, and a whitening, which is of whole images, where patches are smaller.

        Raises:
            InputError: They are asked for.
        """
        if self.factor > real.size:
            raise FieldError("factor", self.factor, f"at most {real.size}, the side of an image in pixels")
        if self.factor > 1 and real.whitening is not None:
            raise FieldError("factor", self.factor, "1 with normalisation=zca, which whitens whole images")

    def require_images(self, ipc: int, fewest: int) -> None:
        """Refuse more images than the candidates have patches for.

        Raises:
            InputError: They are more.
        """
        candidates = min(self.mipc, fewest)
        if ipc * self.factor**2 > candidates:
            whence = "method.mipc or the images an expert sees of the smallest class"
            allowed = f"at most {candidates // self.factor**2}: {candidates} candidates ({whence}), {self.factor**2} each"
            raise InputError("ipc", ipc, allowed)

    def prepare(self, context: IterationContext) -> None:
        """Fill the set class by class; then its soft labels, where it holds them."""
        fill_by_class(context.syn, lambda c: self._images(context, c))
        if (labels := context.syn.soft_labels) is not None:
            with torch.no_grad():
                labels.copy_(_logits(_teacher(context), context.syn.standardised()))

    @torch.no_grad()
    def _images(self, context: IterationContext, c: int) -> torch.Tensor:
        real, rng = context.real, context.rng
        rows = real.class_indices(c)
        rows = rows[torch.randperm(len(rows), generator=rng)[: self.mipc]].to(real.device)
        crops = draw_crops(rng, len(rows), self.crops, real.size)
        patches_NMCHW = cut(real.images_NCHW[rows].float() / 255, crops, real.size // self.factor)
        seen = framed(real.normalisation.standardised(patches_NMCHW.flatten(0, 1)), real.size)
        logits_PC = _logits(_teacher(context), seen)
        loss_P = F.cross_entropy(logits_PC, torch.full_like(logits_PC[:, 0], c).long(), reduction="none")
        kept = easiest(loss_P.view(patches_NMCHW.shape[:2]), context.syn.provenance.ipc * self.factor**2)
        return self._stored(stitched(patches_NMCHW[kept], self.factor, real.size))

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
