"""TGDD with stored means in place of real batches, and with the term of covariances."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest_methods import Stepper
from test_tgdd import AUGMENT, SETTINGS, SameAlways

from moe_distill.data.initialization import noise
from moe_distill.errors import FieldError, InputError
from moe_distill.methods.tgdd import TGDD
from moe_distill.seeding import stream
from moe_distill.teachers.bank import BankDraws, StoredBank, mean_features


class ExactBank(StoredBank):
    """Means in float64 under one network, computed when an entry is drawn."""

    def __init__(self, spec, real, network):
        super().__init__(BankDraws(spec, 1, 0, real.fingerprint, 3, real.size), None)
        object.__setattr__(self, "of", (real, network))
        object.__setattr__(self, "drawn", [])

    def means(self, number):
        (real, network), plans = self.of, self.draws.plans(number)
        self.drawn.append(number)
        return torch.stack(
            [
                mean_features(network, real, real.class_indices(c), plans[c] if plans else None)
                for c in range(3)
            ]
        )


def tgdd(**changes):
    return TGDD(**{**SETTINGS, "factor": 1, "real_batch": 60, "synthetic_batch": 100, **changes})


def started(round_of, method, ipc=2, **changes):
    """Return a context with one network as every snapshot, and a bank of it if the method reads one."""
    context = round_of(method, ipc=ipc)
    network = context.new_network(stream(3, "weights"))
    bank = method.bank and ExactBank(method.bank, context.real, network)
    context = replace(context, trajectories=SameAlways(network), bank=bank, **changes)
    method.prepare(context)
    return context, network


def moved(round_of, method, iterations=1):
    context, _ = started(round_of, method)
    stepper = Stepper(context.syn, lr=0.3)
    losses = [float(method.iterate(context, stepper)["loss"]) for _ in range(iterations)]
    return losses, stepper.gradients, context.syn.images.detach()


@pytest.mark.parametrize("entries", [1, 5])
def test_without_augmentation_the_bank_is_a_batch_of_all_images(round_of, entries):
    ours, theirs = (
        moved(round_of, tgdd(augment=None, window=1, targets=targets, bank_entries=entries), iterations=4)
        for targets in ("bank", "batch")
    )
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-10)
    assert len(ours[1]) == len(theirs[1]) == 4 * 3
    for ours_g, theirs_g in zip(ours[1], theirs[1], strict=True):
        torch.testing.assert_close(ours_g, theirs_g, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(ours[2], theirs[2], rtol=1e-10, atol=1e-12)


def test_both_sides_see_the_draw_of_their_entry_and_class(round_of):
    """By hand, class by class, in float64: the loss, and the identity that a mean over draws would break."""
    method = tgdd(targets="bank", bank_entries=24, alpha=0.0)
    context, network = started(round_of, method)
    losses = [float(method.iterate(context, lambda loss: loss)["loss"]) for _ in range(60)]
    drawn = context.bank.drawn
    raw = context.syn.images.detach()
    real_x, syn_x = context.real.at(torch.arange(60))[0], context.syn.normalisation.standardised(raw)
    real_m, syn_m = (
        torch.stack(
            [
                torch.stack(
                    [
                        network.embed(AUGMENT.apply(x[labels == c], plan)).mean(0)
                        for c, plan in enumerate(context.bank.draws.plans(number))
                    ]
                )
                for number in range(24)
            ]
        ).detach()
        for x, labels in ((real_x, context.real.labels_N), (syn_x, context.syn.labels))
    )
    gaps = (real_m - syn_m).square().sum((1, 2))
    np.testing.assert_allclose(losses, gaps[drawn].numpy(), rtol=1e-10)
    # L of shared draws = L of the mean target − 2 tr Cov + tr Var, all over the 24 entries.
    mean_target = (real_m.mean(0) - syn_m).square().sum((1, 2)).mean()
    centred_real, centred_syn = real_m - real_m.mean(0), syn_m - syn_m.mean(0)
    cov, var = ((centred_real * other).sum((1, 2)).mean() for other in (centred_syn, centred_real))
    assert abs(float(gaps.mean() - (mean_target - 2 * cov + var))) < 1e-10
    assert float(2 * cov) > 0.1 * float(mean_target)  # the terms that a mean over draws would miss


def test_the_matching_network_is_that_of_the_entry_and_the_constraint_is_drawn_anew(round_of, monkeypatch):
    method = tgdd(targets="bank", bank_entries=6, teacher_epochs=5, window=4)
    context, _ = started(round_of, method)
    seen = []
    monkeypatch.setattr(
        "moe_distill.teachers.snapshots.SnapshotSource._at",
        lambda self, trajectories, epochs: seen.append(epochs) or (self._networks[0], self._networks[1]),
    )
    for _ in range(300):
        method.iterate(context, lambda loss: loss)
    for epochs, number in zip(seen, context.bank.drawn, strict=True):
        teacher, epoch = context.bank.draws.snapshots[number]
        assert (epochs.teacher, epochs.matching) == (teacher, epoch)
    for epoch in range(6):
        later = {e.constraint for e in seen if e.matching == epoch}
        assert later == {*range(epoch, min(epoch + 4, 6))}


@pytest.mark.parametrize(("constraint", "steps", "draws"), [("joint", 3, 0), ("separate", 6, 3)])
def test_a_separate_constraint_has_draws_of_its_own(round_of, constraint, steps, draws):
    method = tgdd(targets="bank", constraint=constraint)
    context, _ = started(round_of, method)
    drawn = []

    class Counted:
        apply = staticmethod(AUGMENT.apply)

        def draw(self, *given, **options):
            drawn.append(AUGMENT.draw(*given, **options))
            return drawn[-1]

    method.augment = Counted()
    stepper = Stepper(context.syn, lr=0.0)
    method.iterate(context, stepper)
    assert (len(stepper.gradients), len(drawn)) == (steps, draws)


def test_no_real_image_is_read_in_the_loop(round_of):
    method = tgdd(targets="bank")
    context, _ = started(round_of, method)
    blind = replace(context, real=SimpleNamespace(classes=context.real.classes))
    method.iterate(blind, lambda loss: loss)
    assert method.forward_passes(3, 2, 20) == 3 * 6 * 2
    assert method.spared_passes(3, 20) == 3 * 20 and method.spared_passes(3, 1000) == 3 * 60
    assert tgdd().spared_passes(3, 20) == 0 and tgdd().forward_passes(3, 2, 20) == 3 * (20 + 6 * 2)


def test_a_run_without_its_bank_says_what_to_do(round_of):
    method = tgdd(targets="bank")
    context, _ = started(round_of, method)
    with pytest.raises(InputError, match=r"^method.targets=bank: a computed bank: .*pipeline=full"):
        method.iterate(replace(context, bank=None), lambda loss: loss)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"targets": "means"}, "targets=means: batch or bank"),
        ({"targets": "bank", "bank_entries": 0}, "bank_entries=0"),
        ({"targets": "bank", "per_class_images": 0}, "per_class_images=0"),
        ({"targets": "bank", "networks": "interpolate"}, "targets=bank: batch where method.networks=inter"),
        ({"targets": "bank", "covariance": 0.1}, "covariance=0.1: 0 where method.targets=bank"),
        ({"covariance": -1.0}, "covariance=-1.0"),
        ({"covariance": 0.1, "real_batch": 1}, "real_batch=1: at least 2"),
        ({"covariance": 0.1, "synthetic_batch": 1}, "synthetic_batch=1: at least 2"),
    ],
)
def test_what_cannot_be_is_refused(changes, line):
    with pytest.raises(FieldError, match=rf"^{line}"):
        tgdd(**changes)


@pytest.mark.parametrize(("ipc", "fewest", "factor"), [(1, 20, 1), (2, 1, 1)])
def test_single_images_have_no_covariance(ipc, fewest, factor):
    method = tgdd(covariance=0.1, factor=factor, init=noise)
    with pytest.raises(InputError, match=rf"^ipc={ipc}: with method.covariance on, at least 2"):
        method.require_images(ipc, fewest)
    tgdd(covariance=0.1, factor=2).require_images(1, 20)
    tgdd(init=noise).require_images(ipc, fewest)


def test_the_covariances_are_added_to_the_means(round_of):
    losses, gradients = {}, {}
    for weight in (0.0, 0.25):
        method = tgdd(augment=None, covariance=weight)
        context, network = started(round_of, method, ipc=4)
        stepper = Stepper(context.syn, lr=0.0)
        losses[weight] = float(method.iterate(context, stepper)["loss"])
        gradients[weight] = torch.stack(stepper.gradients).sum(0)
    real_x, labels = context.real.at(torch.arange(60))
    syn_x = context.syn.normalisation.standardised(context.syn.images)
    sides = [(real_x, labels), (syn_x, context.syn.labels)]
    covs = [[np.cov(network.embed(x[y == c]).detach().numpy().T) for x, y in sides] for c in range(3)]
    apart = sum(((real - synthetic) ** 2).sum() for real, synthetic in covs)
    assert losses[0.25] - losses[0.0] == pytest.approx(0.25 * apart, rel=1e-9)
    assert not torch.allclose(gradients[0.25], gradients[0.0])
