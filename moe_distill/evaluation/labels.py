"""What students are trained towards: the set's own labels, hard labels, or a teacher's for each batch."""

import dataclasses
from collections.abc import Callable

import torch

from moe_distill.context.run_context import Runtime
from moe_distill.errors import InputError
from moe_distill.evaluation.training_set import TrainingSet
from moe_distill.experts.distillation import Distillation
from moe_distill.models.base import Network
from moe_distill.teachers.pool import PretrainedNetworks
from moe_distill.training.mixing import tempered
from moe_distill.training.recipe import Recipe

_SOFT = "hard or teacher_online, or a set with soft labels (method.labels=teacher_stored)"


def require_labels(plan: Distillation, recipe: Recipe) -> None:
    """Refuse a recipe whose labels the plan cannot provide, before any work.

    Raises:
        InputError: There is no teacher, or a temperature has no soft labels to act on.
    """
    if recipe.labels == "teacher_online" and plan.labeller is None:
        allowed = (
            f"hard or set for {plan.roster}, which has no teacher that labels; "
            "an expert of method=rded brings one"
        )
        raise InputError("recipe.labels", recipe.labels, allowed)
    if _tempers_stored_labels(recipe) and not any(m.method().learns_labels for m in plan.roster.members):
        raise InputError("recipe.labels", recipe.labels, _SOFT)


def labeller_settings(plan: Distillation, recipe: Recipe) -> dict[str, PretrainedNetworks | None]:
    """Return the settings of the teacher that labels the students' batches; none if no teacher does."""
    return {"labeller": plan.labeller} if recipe.labels == "teacher_online" else {}


def with_recipe_labels(
    training_set: TrainingSet, plan: Distillation, recipe: Recipe, runtime: Runtime
) -> TrainingSet:
    """Return the training set with the labels that the recipe asks for.

    Args:
        training_set: What students are trained on.
        plan: Its roster names the teacher.
        recipe: Its ``labels`` are ``set``, ``hard`` or ``teacher_online``.
        runtime: Its store holds the teacher.

    Raises:
        InputError: There is no such teacher, it was trained on other classes or images, or the set holds no
            soft labels for the recipe's temperature.
    """
    pool = training_set.pool
    if recipe.labels == "hard":
        # The labels themselves stay in the pool; only soft ones are dropped.
        pool = dataclasses.replace(pool, targets_MC=None)
    elif recipe.labels == "teacher_online":
        require_labels(plan, recipe)
        assert plan.labeller is not None
        train, _ = plan.data.load(runtime.cache)
        # A teacher pool has one network that labels, its first.
        network = plan.labeller.load(runtime.store, train)[0].to(runtime.device)
        pool = dataclasses.replace(pool, label=labels_by(network, recipe.temperature))
    elif _tempers_stored_labels(recipe):
        # `require_labels` saw the plan; a set from a file may have no soft labels all the same.
        if pool.targets_MC is None:
            raise InputError("recipe.labels", recipe.labels, _SOFT)
        pool = dataclasses.replace(pool, targets_MC=tempered(pool.targets_MC, recipe.temperature))
    settings = {**training_set.settings, **labeller_settings(plan, recipe)}
    return dataclasses.replace(training_set, pool=pool, settings=settings)


def _tempers_stored_labels(recipe: Recipe) -> bool:
    return recipe.labels == "set" and recipe.temperature != 1


def labels_by(network: Network, temperature: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function that labels batches by a teacher, without gradient.

    Args:
        network: The teacher.
        temperature: T of the softened labels (Hinton et al. 2015, arXiv:1503.02531, eq. 1); 1 leaves them as
            they are.

    Returns:
        Maps standardised images (B, C, H, W) to probabilities softmax(logits / T), of shape (B, classes).
    """

    @torch.no_grad()
    def label(x_NCHW: torch.Tensor) -> torch.Tensor:
        logits_NC: torch.Tensor = network(x_NCHW)
        return (logits_NC / temperature).softmax(-1)

    return label
