"""What an expert leaves in a checkpoint, and how it goes on from there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import torch

from moe_distill.experts.rotation import RotationState
from moe_distill.experts.schedule import Plateau
from moe_distill.teachers.real_batches import ChosenBatchesState

if TYPE_CHECKING:
    from moe_distill.experts.expert import Expert


class ExpertState(TypedDict):
    """Everything the next iteration of an expert depends on, except its optimiser."""

    images: dict[str, torch.Tensor]
    method: dict[str, Any]
    rng: torch.Tensor
    rng_regulariser: torch.Tensor
    iteration: int
    matching_norm: float
    rotation: NotRequired[RotationState]
    chosen: NotRequired[list[ChosenBatchesState]]
    courses: NotRequired[list[dict[str, float]]]


def state_of(expert: Expert) -> ExpertState:
    """Return everything the next iteration of an expert depends on, except the optimiser."""
    state: ExpertState = {
        "images": {k: v.detach().cpu() for k, v in expert.synthetic.state_dict().items()},
        "method": expert.method.state_dict(),
        "rng": expert.rng.get_state(),
        "rng_regulariser": expert.rng_regulariser.get_state(),
        "iteration": expert.iteration,
        "matching_norm": expert.matching_norm,
    }
    # Only there, so that checkpoints of other experts are what they were before there were turns.
    if expert.spec.rotation is not None:
        state["rotation"] = {
            "methods": [method.state_dict() for method in expert.methods[1:]],
            "rngs": [rng.get_state() for rng in expert.rngs[1:]],
            "balance": expert.balance.state_dict(),
            "scalars": dict(expert.last_scalars),
        }
    if chosen := [batches.state_dict() for batches in expert.chosen if batches is not None]:
        state["chosen"] = chosen
    if isinstance(expert.resources.schedule, Plateau):
        state["courses"] = [course.state_dict() for course in expert.courses]
    return state


def restore(expert: Expert, state: ExpertState) -> None:
    """Give an expert what :func:`state_of` returned."""
    expert.synthetic.load_state_dict(state["images"])
    rotation = state.get("rotation")
    methods = [state["method"], *(rotation["methods"] if rotation else ())]
    for turn, (method, saved) in enumerate(zip(expert.methods, methods, strict=True)):
        method.load_state_dict(saved, expert.context(state["iteration"], turn))
    expert.rng.set_state(state["rng"])
    if rotation:
        for rng, saved_rng in zip(expert.rngs[1:], rotation["rngs"], strict=True):
            rng.set_state(saved_rng)
        expert.balance.load_state_dict(rotation["balance"])
        expert.last_scalars = dict(rotation["scalars"])
    choosing = [batches for batches in expert.chosen if batches is not None]
    for batches, saved_batches in zip(choosing, state.get("chosen", ()), strict=True):
        batches.load_state_dict(saved_batches)
    for course, saved_course in zip(expert.courses, state.get("courses", ()), strict=False):
        course.load_state_dict(saved_course)
    expert.rng_regulariser.set_state(state["rng_regulariser"])
    expert.iteration, expert.matching_norm = state["iteration"], state["matching_norm"]
