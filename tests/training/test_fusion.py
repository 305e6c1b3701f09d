"""Variants of fusion: their draws, against what they are made of and against pairs counted by hand."""

import collections

import pytest
import torch

from moe_distill.errors import InputError
from moe_distill.seeding import stream
from moe_distill.training.fusion import Additive, Offline, Sometimes
from moe_distill.training.mixing import CrossExpert, NoFusion, Vanilla

EXPERT = torch.tensor([0, 0, 1, 1, 2, 2] * 2)
LABEL = torch.tensor([0] * 6 + [1] * 6)
BATCH = torch.tensor([11, 2, 5, 7, 0])


def union(*counts, classes=3):
    """Return experts and labels of a union whose experts hold so many images of each class."""
    expert_N = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return expert_N.repeat(classes), torch.arange(classes).repeat_interleave(len(expert_N))


@pytest.mark.parametrize("of", [Vanilla(alpha=0.3), CrossExpert(per="sample", pairing="same_class")])
def test_the_additive_form_stands_beside_the_batch_and_favours_the_first_image(of):
    flipped = 0
    for seed in range(20):
        mix, plain = (f.draw(stream(seed), BATCH, EXPERT, LABEL) for f in (Additive(of), of))
        assert mix.beside and not plain.beside and torch.equal(mix.partner_B, plain.partner_B)
        want = [max(lam, 1 - lam) for lam in plain.lam_B.tolist()]
        assert mix.lam_B.tolist() == pytest.approx(want, abs=1e-7) and min(want) >= 0.5
        flipped += int((plain.lam_B < 0.5).any())
    assert flipped > 3
    assert Additive(NoFusion()).draw(stream(0), BATCH, EXPERT, LABEL) is None


def test_the_given_share_of_batches_is_mixed_as_the_inner_fusion_does():
    rng = stream(1)
    drawn = [Sometimes(CrossExpert(), prob=0.3).draw(rng, BATCH, EXPERT, LABEL) for _ in range(1000)]
    assert abs(sum(mix is not None for mix in drawn) - 300) < 60
    assert all((EXPERT[mix.partner_B] != EXPERT[BATCH]).all() for mix in drawn if mix is not None)
    assert all(Sometimes(Vanilla(), 0.0).draw(rng, BATCH, EXPERT, LABEL) is None for _ in range(20))
    assert all(Sometimes(Vanilla(), 1.0).draw(rng, BATCH, EXPERT, LABEL) is not None for _ in range(20))


@pytest.mark.parametrize(
    "counts", [(20,), (10, 10), (5, 5, 5, 5), (4, 3, 3), (6, 4), (1, 2), (9, 1), (3,), (1,)]
)
def test_offline_pairs_use_every_image_once_within_its_class_and_across_experts_as_long_as_there_are_any(
    counts,
):
    expert_M, label_M = union(*counts)
    total = sum(counts)
    for seed in range(5):
        first, partner, lam = Offline(seed=seed).pairs(expert_M, label_M)
        assert len(first) == len(partner) == len(lam) == Offline().left_of(3 * total, 3) == 3 * -(-total // 2)
        assert torch.equal(label_M[first], label_M[partner])
        uses = torch.cat([first, partner[partner != first]])
        assert sorted(uses.tolist()) == list(range(3 * total))
        assert int((first == partner).sum()) == 3 * (total % 2)
        across = int((expert_M[first] != expert_M[partner]).sum())
        assert across == 3 * min(total // 2, total - max(counts))
        assert ((lam > 0) & (lam < 1)).all() and len(lam.unique()) == len(lam)


def test_offline_reaches_every_pair_and_is_drawn_once_for_all():
    expert_M, label_M = union(2, 2, 2, classes=2)
    met = collections.Counter()
    for seed in range(300):
        pairs = Offline(seed=seed).pairs(expert_M, label_M)
        met.update(
            tuple(sorted(p)) for p in zip(pairs.first_P.tolist(), pairs.partner_P.tolist(), strict=True)
        )
    assert len(met) == 2 * (15 - 3)  # of 15 pairs a class, 3 are of one expert
    assert all(abs(count - 300 * 6 / 24) < 40 for count in met.values())
    once, again, other = (Offline(seed=s).pairs(expert_M, label_M) for s in (3, 3, 4))
    assert all(torch.equal(*pair) for pair in zip(once, again, strict=True))
    assert not torch.equal(once.lam_P, other.lam_P)
    assert Offline().draw(stream(0), BATCH, EXPERT, LABEL) is None


def test_offline_lambda_comes_from_its_beta():
    lam = Offline(alpha=4.0).pairs(*union(600, classes=5)).lam_P
    assert abs(lam.mean() - 0.5) < 0.02 and abs(lam.var() - 1 / 36) < 0.003


@pytest.mark.parametrize(
    "fusion", [NoFusion(), Vanilla(), CrossExpert(), Additive(CrossExpert()), Sometimes(Vanilla(), 1)]
)
def test_only_offline_replaces_images(fusion):
    assert fusion.pairs(EXPERT, LABEL) is None and fusion.left_of(7, 2) == 7


@pytest.mark.parametrize(
    ("fusion", "two", "one"),
    [
        (Additive(CrossExpert()), "additive-cross_expert", "none"),
        (Additive(Vanilla(0.2)), "additive-vanilla-alpha0.2", "additive-vanilla-alpha0.2"),
        (Sometimes(CrossExpert(), 0.5), "0.5of-cross_expert", "none"),
        (Sometimes(CrossExpert(), 0.0), "none", "none"),
        (Offline(), "offline", "offline"),
        (Offline(0.4, seed=2), "offline-alpha0.4-seed2", "offline-alpha0.4-seed2"),
    ],
)
def test_results_tell_the_variants_apart(fusion, two, one):
    assert (fusion.describe_for(2), fusion.describe_for(1)) == (two, one)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Sometimes(Vanilla(), prob=1.5), r"prob=1\.5: a number of at least 0"),
        (lambda: Offline(alpha=0.0), r"alpha=0\.0: a number above 0"),
    ],
)
def test_wrong_settings_of_variants_are_refused(build, message):
    with pytest.raises(InputError, match=message):
        build()


@pytest.mark.parametrize("build", [Additive, lambda of: Sometimes(of, 0.5)])
def test_what_mixes_before_training_is_no_mixing_of_batches(build):
    with pytest.raises(InputError, match=r"of=offline"):
        build(Offline())


@pytest.mark.parametrize(
    "build", [lambda of: Additive(Sometimes(of, 0.5)), lambda of: Sometimes(Additive(of), 0.5)]
)
def test_batches_of_different_sizes_are_refused(build):
    with pytest.raises(InputError, match=r"of=(sometimes|additive): .* every batch"):
        build(CrossExpert())
