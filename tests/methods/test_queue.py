"""The queue of networks that IDM draws from."""

import pytest
import torch
from conftest_methods import new_network

from moe_distill.errors import InputError
from moe_distill.seeding import stream
from moe_distill.teachers.network_queue import NetworkQueue

SIZES = {"capacity": 4, "first": 3, "renew_every": 2, "trained": 2, "steps": 2, "batch_size": 8}
SGD = {"lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4}


def queue(**changes):
    return NetworkQueue(**{**SIZES, **SGD, "meter_reset": 3, **changes})


def test_queue_renews_and_forgets_the_oldest():
    q, rng = queue(), stream(0, "queue")
    q.start(new_network, rng)
    first = [e.network for e in q.entries]
    for iteration in range(3):
        q.renew(iteration, new_network, rng)
    assert len(q.entries) == 4
    assert q.entries[0].network is first[1]
    assert q.entries[-1].network not in first


def test_queue_resets_its_counts_at_its_own_period():
    q, rng = queue(), stream(0, "queue")
    q.start(new_network, rng)
    for entry in q.entries:
        entry.correct, entry.seen = 3, 4
    q.renew(1, new_network, rng)
    assert [e.accuracy for e in q.entries] == [0.75] * 3
    q.renew(3, new_network, rng)
    assert [e.accuracy for e in q.entries] == [0.0] * 3


def test_queue_goes_on_from_its_state(real):
    def trained(saved: bool):
        q, rng = queue(), stream(0, "queue")
        q.start(lambda g: new_network(g).float(), rng)
        for iteration in range(4):
            q.renew(iteration, lambda g: new_network(g).float(), rng)
            q.train(real, rng)
            if saved and iteration == 1:
                state, q = q.state_dict(), queue()
                q.load_state_dict(state, lambda g: new_network(g).float())
        return [w for e in q.entries for w in e.network.state_dict().values()]

    for a, b in zip(trained(False), trained(True), strict=True):
        assert torch.equal(a, b)


def test_queue_refuses_to_train_more_than_it_has():
    with pytest.raises(InputError, match=r"^trained=5: at most first=3"):
        queue(trained=5)
