"""The work of a distillation, counted before it runs."""

from moe_distill.data.real_set import RealSet
from moe_distill.experts.distillation import Distillation


def forward_passes(plan: Distillation, real: RealSet) -> float | None:
    """Return the images sent forward by a whole distillation, counting a backward pass as two.

    None if a method does not know its own number.

    Args:
        plan: The distillation.
        real: The run's training data.
    """
    classes, total = len(real.classes), 0.0
    per_class = len(real) // classes // len(plan.numbers)
    union = plan.conditioning is not None and plan.conditioning.union
    for member in (plan.roster.members[number] for number in plan.numbers):
        method = member.method()
        matched = plan.roster.budget if union else member.ipc
        per_iteration = method.forward_passes(classes, matched, per_class)
        if per_iteration is None:
            return None
        if plan.real_sampling is not None:
            per_iteration += plan.real_sampling.forward_passes(classes * per_class, method.class_batches)
        total += method.iterations * per_iteration
        # Methods that move class by class add the regulariser once an iteration too: see Apply.
        if plan.effective_regulariser is not None and method.trainable:
            decoded = classes * member.ipc * method.tiling.per_image
            total += method.iterations * plan.effective_regulariser.forward_passes(decoded, len(real))
    return total
