"""Experts of MTT in a sequence: how far they move, and that they go on after an interruption."""

import dataclasses
import functools

import pytest
import torch
from conftest_trajectories import SETTINGS

from moe_distill.experts.apply import Apply
from moe_distill.experts.expert import Expert
from moe_distill.experts.roster import ExpertSpec
from moe_distill.methods.mtt import MTT
from moe_distill.testing.stand_ins import OWNER, noise_set, resources

SPEC = ExpertSpec(functools.partial(MTT, **SETTINGS), 2)
EVERYTHING = torch.arange(60)


def second_expert():
    """Return the second of two experts that are matched together."""
    real = noise_set(1, 8)
    first = Expert(0, SPEC, EVERYTHING, resources(real))
    first.start()
    alone = resources(real)
    earlier = [first.synthetic.requires_grad_(False)]
    knowing = dataclasses.replace(alone, earlier=earlier, union=True, trajectories={1: alone.trajectories[0]})
    return Expert(1, SPEC, EVERYTHING, knowing)


def iterated(expert, optimizer, begin, end):
    for iteration in range(begin, end):
        expert.iterate(iteration, optimizer, OWNER)
    return expert.synthetic.images.detach()


def test_a_step_size_moves_as_without_the_others_and_an_image_farther():
    made = Expert(0, SPEC, EVERYTHING, resources(noise_set(1, 8)))
    made.start()
    grads = {"images": torch.ones_like(made.synthetic.images), "learned_rate": torch.tensor(1.0)}
    groups = [{"params": [made.synthetic.get_parameter(name)], "lr": 1.0} for name in grads]
    before = {name: made.synthetic.get_parameter(name).detach().clone() for name in grads}
    Apply(made, torch.optim.SGD(groups), OWNER, 0.5, union=3.0)(grads=grads)
    moved = {name: float((before[name] - made.synthetic.get_parameter(name)).max()) for name in grads}
    assert (moved["images"], moved["learned_rate"]) == pytest.approx((1.5, 0.5), rel=1e-5)


def test_an_interrupted_expert_goes_on_bit_for_bit():
    whole, killed, resumed = second_expert(), second_expert(), second_expert()
    whole.start()
    wanted = iterated(whole, whole.configure_optimizers(), 0, 5)
    killed.start()
    optimizer = killed.configure_optimizers()
    halfway = iterated(killed, optimizer, 0, 2)
    resumed.take_state(killed.state())
    going_on = resumed.configure_optimizers()
    going_on.load_state_dict(optimizer.state_dict())
    assert torch.equal(iterated(resumed, going_on, 2, 5), wanted) and not torch.equal(halfway, wanted)
