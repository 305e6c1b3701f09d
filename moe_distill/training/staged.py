"""The stages of a training: one, or a growing part of a set's experts in each."""

from dataclasses import dataclass

from moe_distill.training.batches import TrainingPool, fused
from moe_distill.training.fusion import Fusion
from moe_distill.training.recipe import Recipe


@dataclass(frozen=True)
class TrainingStage:
    """Epochs of a training on one pool of images, with one course of the learning rate.

    Attributes:
        pool: The images.
        recipe: How networks are trained on them.
        first_epoch: Epochs of all stages before.
        first_step: Steps of all stages before.
    """

    pool: TrainingPool
    recipe: Recipe
    first_epoch: int
    first_step: int

    @property
    def steps_per_epoch(self) -> int:
        """Steps in one pass over the pool, including the smaller last batch."""
        # Rounded up.
        return -(-len(self.pool) // self.recipe.batch_size)

    @property
    def end(self) -> int:
        """Steps of this stage and all before."""
        return self.first_step + self.recipe.total_epochs * self.steps_per_epoch


def stages_of(pool: TrainingPool, recipe: Recipe, fusion: Fusion | None) -> tuple[TrainingStage, ...]:
    """Return the stages of a training, in order (:meth:`Recipe.in_stages`).

    Args:
        pool: All images; stage k has those of the first k experts.
        recipe: The recipe of the whole training.
        fusion: How images of different experts are mixed, or None.

    Raises:
        FieldError: The recipe has fewer epochs than stages.
    """
    experts = pool.experts_M.unique()  # in ascending order, which is that of the roster
    recipes = recipe.in_stages(len(experts))
    stages: list[TrainingStage] = []
    epoch = step = 0
    for last, recipe_of_stage in enumerate(recipes, len(experts) - len(recipes) + 1):
        part = pool.of_experts(experts[:last])
        # Mixed stage by stage, since a partner must be among the images so far.
        part = part if fusion is None else fused(part, fusion)
        stages.append(TrainingStage(part, recipe_of_stage, epoch, step))
        epoch, step = epoch + recipe_of_stage.total_epochs, stages[-1].end
    return tuple(stages)
