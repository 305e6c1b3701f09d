"""How many images a stage sends forward through its network, a backward pass counted as two forward ones."""

from moe_distill.data.real_set import RealSet
from moe_distill.experts.distillation import Distillation
from moe_distill.training.recipe import Recipe


def distilling(plan: Distillation, train: RealSet) -> float | None:
    """Return forward equivalents of a distillation; a regulariser is taken to be added once an iteration.

    None where a method does not say its own.
    """
    classes = len(train.classes)
    per_class, total = len(train) // classes // plan.roster.noe, 0.0
    for method, ipc in ((m.method(), m.ipc) for m in plan.roster.members):
        if (iteration := method.forwards(classes, ipc, per_class)) is None:
            return None
        total += method.iterations * iteration
        if plan.regulariser is not None and method.trainable:
            decoded = classes * ipc * method.tiling.per_image
            total += method.iterations * plan.regulariser.forwards(decoded, len(train))
    return total


def studying(recipe: Recipe, images: int, held: int, students: int) -> float:
    """Return forward equivalents of training so many students on so many images, and testing them on those held out."""
    tests = sum(recipe.tests_after(epoch) for epoch in range(recipe.total_epochs))
    forwards = 3 + (recipe.labels == "teacher_online")
    return students * (forwards * recipe.total_epochs * images + tests * held)
