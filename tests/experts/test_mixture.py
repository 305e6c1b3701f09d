"""Experts run alone, together, over processes and through interruptions, with the same images every time."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from conftest_mixture import dm, idm, mixture, random, term, trainer

from moe_distill.errors import InputError
from moe_distill.experts.expert import Expert
from moe_distill.methods.dm import DM
from moe_distill.methods.idm import IDM
from moe_distill.teachers.perturbation import Perturbation
from moe_distill.teachers.real_batches import RepresentativeSampling
from moe_distill.training.trainer import fit, read_curves

# Chosen anew after every seventh batch, so that a checkpoint after the tenth comes with batches in use.
OPTIONS = {"perturbation": Perturbation(), "real_sampling": RepresentativeSampling(interval=7)}


def same(a, b) -> bool:
    return all(torch.equal(x.images, y.images) for x, y in zip(a, b, strict=True))


class StopAt(pl.Callback):
    """Interrupts a run as a kill would, after the checkpoint of an iteration."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
        if module.iteration == self.iteration:
            raise SystemExit("interrupted")


@pytest.mark.parametrize("member", [dm, idm])
def test_an_expert_alone_equals_the_plain_method_and_a_mixture_of_one(member, run, tmp_path: Path):
    together = run([member()])
    alone = Expert(0, member(), mixture([member()]).parts[0], mixture([member()]).resources)
    fit(alone, trainer(), tmp_path, "alone")
    assert same(together, [alone.synthetic])

    plain = Expert(0, member(), mixture([member()]).parts[0], mixture([member()]).resources)
    plain.start()
    images, method = plain.synthetic.images, plain.method
    buffer = torch.zeros_like(images)

    def apply(loss=None, *, grads=None):
        nonlocal buffer
        gradient = grads["images"] if grads else torch.autograd.grad(loss, images)[0]
        buffer = 0.5 * buffer + gradient
        with torch.no_grad():
            images.sub_(method.lr * buffer)

    for iteration in range(method.iterations):
        method.iterate(plain.context(iteration), apply)
    torch.testing.assert_close(images, alone.synthetic.images, rtol=1e-5, atol=1e-6)


def test_members_without_a_term_do_not_feel_each_other(run):
    both = run([idm(), dm()], name="both")
    changed = run([idm(), dm(iterations=3)], name="changed")
    assert same(both[:1], changed[:1])
    assert not same(both[1:], changed[1:])


def test_weight_zero_is_no_coordinator_bit_for_bit(run):
    members = [idm(), dm()]
    assert same(
        run(members, name="without"), run(members, term(weight=0.0, weight_is="absolute"), name="zero")
    )
    assert not same(run(members, name="without"), run(members, term(), name="with"))


@pytest.mark.slow
def test_two_processes_give_the_images_of_one(run):
    members = [idm(), dm(), random()]
    one, two = (run(members, term(), name=f"p{p}", processes=p) for p in (1, 2))
    assert same(one, two)


@pytest.mark.slow
def test_saved_on_two_processes_and_resumed_on_one(run, tmp_path: Path):
    members = [idm(iterations=14), dm(iterations=14)]
    whole = run(members, term(), name="whole")
    with pytest.raises(BaseException, match=r"interrupted|exit"):
        run(members, term(), name="moved", processes=2, callbacks=(StopAt(12),))
    assert (tmp_path / "moved" / "work" / "last.ckpt").is_file()
    assert same(whole, run(members, term(), name="moved", processes=1))


def test_options_of_matching_survive_an_interruption(run, tmp_path: Path):
    members = [idm(iterations=14), dm(iterations=14)]
    whole = run(members, term(), name="whole", **OPTIONS)
    assert not same(whole, run(members, term(), name="plain"))
    with pytest.raises(SystemExit):
        run(members, term(), name="cut", callbacks=(StopAt(12),), **OPTIONS)
    assert (tmp_path / "cut" / "work" / "last.ckpt").is_file()
    assert same(whole, run(members, term(), name="cut", **OPTIONS))


@pytest.mark.slow
def test_options_of_matching_are_the_same_on_two_processes_and_after_moving_to_one(run):
    members = [idm(iterations=14), dm(iterations=14)]
    whole = run(members, term(), name="whole", **OPTIONS)
    assert same(whole, run(members, term(), name="two", processes=2, **OPTIONS))
    with pytest.raises(BaseException, match=r"interrupted|exit"):
        run(members, term(), name="moved", processes=2, callbacks=(StopAt(12),), **OPTIONS)
    assert same(whole, run(members, term(), name="moved", processes=1, **OPTIONS))


@pytest.mark.slow
def test_an_interrupted_run_ends_with_the_same_images_and_curves(run, tmp_path: Path):
    members = [idm(iterations=34), dm(iterations=34), random()]
    whole = run(members, term(), name="whole")
    for stop in (13, 24):
        with pytest.raises(SystemExit):
            run(members, term(), name="cut", callbacks=(StopAt(stop),))
    assert same(whole, run(members, term(), name="cut"))
    curves = [read_curves(tmp_path / name / "work" / "curves.csv") for name in ("whole", "cut")]
    assert sorted(curves[0]) == sorted(curves[1])


def test_experts_read_no_image_outside_their_part(run, monkeypatch):
    """Every image outside an expert's part is poisoned: one look at it would turn the loss to NaN."""
    seen = []
    original = IDM.iterate

    def watched(self, context, apply):
        seen.append((context.syn.provenance.expert, {bytes(i.numpy()) for i in context.real.images_NCHW}))
        object.__setattr__(context, "whole", None)
        return original(self, context, apply)

    monkeypatch.setattr(IDM, "iterate", watched)
    run([idm(), idm()])
    parts = {number: images for number, images in seen}
    assert parts[0] and parts[1] and not parts[0] & parts[1]


def test_a_loss_that_is_not_finite_stops_with_expert_and_iteration(run, tmp_path: Path, monkeypatch):
    original = IDM.iterate

    def broken(self, context, apply):
        shown = original(self, context, apply)
        return {**shown, "loss": shown["loss"] * float("nan")} if context.iteration == 12 else shown

    monkeypatch.setattr(IDM, "iterate", broken)
    with pytest.raises(InputError, match=r"loss of expert 1 \(idm\) at iteration 12=nan"):
        run([dm(iterations=14), idm(iterations=14)])
    kept = torch.load(tmp_path / "run" / "work" / "last.ckpt", weights_only=True)
    assert kept["iteration"] == 10
    assert torch.isfinite(kept["experts"]["1"]["images"]["images"]).all()


def test_a_mixture_of_selections_alone_runs(run):
    sets = run([random(), random()])
    assert all(len(s.images) == 6 for s in sets)
    assert not same(sets[:1], sets[1:])


def test_images_that_are_not_finite_stop_though_the_loss_is(run, monkeypatch):
    """The last step spoils them: no later loss would tell."""
    original = DM.iterate

    def broken(self, context, apply):
        shown = original(self, context, apply)
        if context.iteration == 5:
            apply(grads={"images": torch.full_like(context.syn.images, float("nan"))})
        return shown

    monkeypatch.setattr(DM, "iterate", broken)
    with pytest.raises(InputError, match=r"images of expert 0 \(dm\) at iteration 5=nan"):
        run([dm(iterations=6)])
