"""Architectures that take turns at one set: whose turn it is, what each remembers, and how they are
balanced."""

import functools
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest_mixture import QUEUE, dm, idm, mixture
from test_mixture import StopAt, same

from moe_distill.errors import InputError
from moe_distill.experts.apply import Apply
from moe_distill.experts.expert import Expert
from moe_distill.experts.filling import Presets
from moe_distill.experts.roster import ExpertSpec, Roster, pooled
from moe_distill.experts.roster import same as same_roster
from moe_distill.experts.rotation import DECAY, Balance, Rotation
from moe_distill.methods.base import Method
from moe_distill.methods.coreset import Random
from moe_distill.methods.datm import DATM
from moe_distill.methods.dm import DM
from moe_distill.methods.ftd import FTD
from moe_distill.methods.idm import IDM
from moe_distill.methods.mtt import MTT
from moe_distill.methods.tgdd import TGDD
from moe_distill.models.convnet import ConvNet
from moe_distill.models.mlp import MLP
from moe_distill.store.identity import key
from moe_distill.testing.stand_ins import NETWORK, OWNER, distilled, expert, images, iterate, noise_set
from moe_distill.training.trainer import read_curves

SMALL_MLP = functools.partial(MLP, width=0.25)
DEEPER = functools.partial(ConvNet, depth=3, width=0.25)
PAIR, THREE = (NETWORK, SMALL_MLP), (NETWORK, SMALL_MLP, DEEPER)


def taking_turns(spec: ExpertSpec, *networks, balance="norm") -> ExpertSpec:
    return replace(spec, rotation=Rotation(networks, balance))


class Counting(Method):
    """Notes each network it builds; its gradient is ``size`` times the network's number of weights."""

    iterations = 100

    def __init__(self, size=1.0, steps=1, moves=True, clock=None):
        self.size, self.steps, self.moves, self.clock = size, steps, moves, [] if clock is None else clock

    def prepare(self, context):
        with torch.no_grad():
            context.syn.images.fill_(1.0)

    def iterate(self, context, apply):
        weights = sum(p.numel() for p in context.new_network(context.rng).parameters())
        self.clock.append((context.iteration, context.turns, weights))
        for step in range(self.steps if self.moves else 0):
            pixel = torch.zeros_like(context.syn.images)
            pixel[0, 0, 0, step] = self.size * weights
            apply(grads={"images": pixel})
        return {"loss": torch.tensor(float(weights))}

    def parameter_groups(self, syn):
        return [{"params": [syn.images], "lr": 1.0}]


def counting(*networks, balance="norm", **settings):
    return taking_turns(ExpertSpec(functools.partial(Counting, **settings), 2), *networks, balance=balance)


def weights_of(network):
    return sum(p.numel() for p in network(channels=3, classes=3, size=12).parameters())


@pytest.mark.parametrize("networks", [PAIR, THREE])
@pytest.mark.parametrize("iterations", [7, 12])
def test_each_architecture_has_its_share_of_the_iterations(networks, iterations):
    clock = []
    made, optimizer = expert(counting(*networks, clock=clock), noise_set(3, 12))
    iterate(made, optimizer, 0, iterations)
    turns = len(networks)
    wanted = [(t // turns, turns, weights_of(networks[t % turns])) for t in range(iterations)]
    assert clock == wanted
    shares = Counter(weights for *_, weights in clock)
    assert set(shares.values()) <= {iterations // turns, -(-iterations // turns)} and len(shares) == turns


@pytest.mark.parametrize("balance", ["none", "norm"])
@pytest.mark.parametrize("member", [dm, idm])
def test_a_rotation_of_one_is_the_plain_expert_bit_for_bit(member, balance):
    real = noise_set(3, 12)
    plain, _ = distilled(member(), real)
    alone, _ = distilled(taking_turns(member(), NETWORK, balance=balance), real)
    assert torch.equal(images(plain), images(alone))
    assert torch.equal(plain.rng.get_state(), alone.rng.get_state())
    assert alone.last_scalars == {f"convnet/{name}": v for name, v in plain.last_scalars.items()}


def test_it_starts_from_the_images_of_the_plain_expert():
    real = noise_set(3, 12)
    (plain, _), (pool, _) = expert(idm(), real), expert(taking_turns(idm(), *THREE), real)
    assert torch.equal(images(plain), images(pool))
    (other, _) = expert(taking_turns(idm(), *reversed(THREE)), real)
    assert torch.equal(images(plain), images(other))


def test_factors_are_those_of_averages_by_hand():
    balance = Balance("norm", 3)
    lists = [[], [], []]
    draws = torch.Generator().manual_seed(0)
    for iteration in range(30):
        place = iteration % 3
        norms = []
        for seen in lists:
            # The weighted mean of what was seen, its weights summing to one, in float64.
            shares = [DECAY ** (len(seen) - 1 - i) for i in range(len(seen))]
            norms.append(sum(s * n for s, n in zip(shares, seen, strict=True)) / sum(shares) if seen else 0)
        wanted = min(norms) / norms[place] if all(norms) else 1.0
        assert balance.factor(place) == pytest.approx(wanted, rel=1e-12)
        assert balance.norms == pytest.approx(norms, rel=1e-12)
        norm = float(torch.rand((), generator=draws)) * 10**place
        lists[place].append(norm)
        balance.add(place, norm)
    assert balance.factor(0) == 1.0 > balance.factor(1) > balance.factor(2) > 0.0


def test_an_architecture_without_gradients_stops_no_other():
    balance = Balance("norm", 2)
    balance.add(0, 0.0)
    balance.add(1, 5.0)
    assert [balance.factor(place) for place in range(2)] == [1.0, 1.0]


@pytest.mark.parametrize("balance", ["none", "norm"])
def test_balanced_gradients_are_of_one_size_from_the_second_turn_on(balance):
    made, optimizer = expert(counting(*PAIR, balance=balance, size=1e-3, steps=2), noise_set(3, 12))
    sizes = [1e-3 * weights_of(network) for network in PAIR]
    moved = []
    for iteration in range(6):
        before = images(made).clone()
        iterate(made, optimizer, iteration, iteration + 1)
        steps = (before - images(made))[0, 0, 0, :2]
        # Two pixels by one number each; the norm of an iteration is that of their sum.
        assert steps[0] == steps[1] and made.matching_norm == pytest.approx(float(steps.norm()), rel=1e-4)
        moved.append(float(steps[0]))
    small = min(sizes)
    wanted = [*sizes, small, small, small, small] if balance == "norm" else sizes * 3
    assert moved == pytest.approx(wanted, rel=1e-3)
    assert made.balance.norms == pytest.approx([2**0.5 * size for size in sizes], rel=1e-5)


def test_a_loss_is_scaled_as_ready_made_gradients_are_and_other_terms_are_not(monkeypatch):
    made, optimizer = expert(counting(*PAIR), noise_set(3, 12))
    start = images(made).clone()
    apply = Apply(made, optimizer, OWNER, 0.25)
    loss = apply(made.synthetic.images.sum())
    assert loss == start.sum() and torch.allclose(images(made), start - 0.25)
    monkeypatch.setattr(made, "regulariser", SimpleNamespace())
    monkeypatch.setattr(made, "regularisation", lambda: torch.full_like(start, 3.0))
    apply(grads={"images": torch.ones_like(start)})
    assert torch.allclose(images(made), start - 0.25 - 0.25 - 3.0)
    assert torch.allclose(apply.gradient, torch.full_like(start, 0.5))


def test_an_iteration_that_moves_nothing_leaves_the_norms():
    made, optimizer = expert(counting(*PAIR, moves=False), noise_set(3, 12))
    iterate(made, optimizer, 0, 4)
    assert made.balance.norms == [0.0, 0.0]


def test_a_queue_ages_by_its_own_iterations_and_draws_as_if_it_were_alone():
    real, turns = noise_set(3, 12), 3
    plain, of_plain = expert(idm(iterations=5), real)
    iterate(plain, of_plain, 0, 5)
    pool, of_pool = expert(taking_turns(idm(iterations=15), *THREE), real)
    counts = [[entry.seen for entry in plain.method.queue.entries]]
    for iteration in range(15):
        iterate(pool, of_pool, iteration, iteration + 1)
    queues = [method.queue for method in pool.methods]
    # By hand: two networks, one more in iterations 0 and 3, at most four; counts are reset in iteration 4.
    assert [len(queue.entries) for queue in queues] == [4] * turns
    assert [sum(e.seen for e in q.entries) for q in queues] == [2 * QUEUE.keywords["batch_size"]] * turns
    assert [entry.seen for entry in queues[0].entries] == counts[0]
    for ours, theirs in zip(queues[0].entries, plain.method.queue.entries, strict=True):
        weights = theirs.network.state_dict()
        assert all(torch.equal(w, weights[name]) for name, w in ours.network.state_dict().items())
    kinds = [{type(e.network).__name__ for e in queue.entries} for queue in queues]
    assert kinds == [{"ConvNet"}, {"MLP"}, {"ConvNet"}]


@pytest.mark.slow
@pytest.mark.parametrize("networks", [PAIR, THREE])
def test_killed_in_the_middle_of_a_rotation_it_goes_on_bit_for_bit(networks, run, tmp_path: Path):
    members = [taking_turns(member(iterations=23), *networks) for member in (idm, dm)]
    whole = run(members, name="whole")
    for stop in (11, 21):
        with pytest.raises(SystemExit):
            run(members, name="cut", callbacks=(StopAt(stop),))
    assert same(whole, run(members, name="cut"))
    curves = [read_curves(tmp_path / name / "work" / "curves.csv") for name in ("whole", "cut")]
    assert sorted(curves[0]) == sorted(curves[1])
    shown = {name for _, name, _ in curves[0]}
    assert {"expert_0/convnet/loss", "expert_1/mlp/matching_norm"} <= shown and "expert_0/loss" not in shown


@pytest.mark.slow
def test_two_processes_give_the_images_of_one(run):
    members = [taking_turns(idm(), *PAIR), taking_turns(dm(), *THREE)]
    one, two = (run(members, name=f"p{p}", processes=p) for p in (1, 2))
    assert same(one, two)


def test_a_checkpoint_of_a_plain_expert_knows_of_no_turns():
    made, _ = expert(dm(), noise_set(3, 12))
    assert made.state().keys() == {
        "images",
        "method",
        "rng",
        "rng_regulariser",
        "iteration",
        "matching_norm",
    }


def roster_of(member, *networks, noe=1, **settings):
    by_name = {str(number): network for number, network in enumerate(networks)}
    return pooled(member().method, Presets("any"), ipc=2, noe=noe, networks=by_name, **settings)


def test_rows_and_keys_tell_pools_apart():
    convnet, mlp = functools.partial(ConvNet, depth=3), functools.partial(MLP, width=1.0)
    one, two = roster_of(dm, convnet, mlp), roster_of(dm, convnet, mlp, noe=2)
    assert (str(one), str(two)) == ("dm2-pool-norm-convnet-mlpx1", "dm2-pool-norm-convnet-mlpx2")
    free = roster_of(dm, convnet, mlp, balance="none")
    assert str(free) == "dm2-pool-none-convnet-mlpx1"
    turned, plain = roster_of(dm, mlp, convnet), same_roster(dm().method, Presets("any"), ipc=2, noe=1)
    keys = {key(roster.members) for roster in (one, two, free, turned, plain)}
    assert len(keys) == 5
    # Names that users give to the networks are none of the set's business.
    renamed = pooled(dm().method, Presets("any"), 2, 1, {"first": convnet, "second": mlp})
    assert key(renamed.members) == key(one.members)
    depths = [Rotation((convnet, functools.partial(ConvNet, depth=depth)), "norm") for depth in (1, 2)]
    members = tuple(replace(dm(), rotation=rotation) for rotation in depths)
    word = "dm2-pool-norm-convnet-convnet2-convnet2.depth"
    assert str(Roster(members)) == f"{word}1+{word}2"


def test_each_method_balances_in_its_own_way_unless_the_roster_says_how():
    assert [kind.balance for kind in (DM, IDM, TGDD)] == ["norm"] * 3
    assert [kind.balance for kind in (MTT, FTD, DATM)] == ["none"] * 3


def test_a_method_without_networks_takes_no_pool():
    method = functools.partial(Random)
    with pytest.raises(InputError, match=r"^experts=pooled with method=random: a method whose images move$"):
        pooled(method, Presets("any"), ipc=2, noe=1, networks={"a": NETWORK})


def test_a_pool_of_no_network_is_refused():
    with pytest.raises(InputError, match=r"^networks"):
        pooled(dm().method, Presets("any"), ipc=2, noe=1, networks={})


def test_a_balance_that_there_is_not_is_refused():
    with pytest.raises(InputError, match=r"^balance=gbm: "):
        pooled(dm().method, Presets("any"), ipc=2, noe=1, networks={"a": NETWORK}, balance="gbm")


def test_experts_of_a_mixture_rotate_alike_and_see_their_parts_alone():
    whole = mixture([taking_turns(dm(), *PAIR)] * 2)
    specs, parts = whole.roster.members, whole.parts
    made = [Expert(number, specs[number], parts[number], whole.resources) for number in range(2)]
    for one in made:
        one.start()
        assert [type(one.context(t).new_network(one.rng)).__name__ for t in range(4)] == [
            "ConvNet",
            "MLP",
        ] * 2
        assert torch.equal(one.context(1).real.labels_N, whole.resources.whole.labels_N[one.part])
