import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from moe_distill.errors import InputError
from moe_distill.seeding import stream
from moe_distill.training.mixing import (
    CrossExpert,
    CutMix,
    CutMixPlan,
    NoFusion,
    Vanilla,
    mixup,
    soft_cross_entropy,
    soft_targets,
)

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "dcor_clom.npz")


def golden(name):
    return torch.from_numpy(GOLDEN[f"mixup/{name}"])


@pytest.mark.parametrize(
    ("lam", "case"), [(torch.tensor([0.3]).double(), "batch_lam0.3"), (golden("lam_vec"), "persample")]
)
def test_mixup_equals_the_golden_arrays(lam, case):
    mixed = mixup(golden("xa").double(), golden("xb").double(), lam)
    np.testing.assert_allclose(mixed.numpy(), GOLDEN[f"mixup/x_{case}"], rtol=3e-7, atol=1e-7)
    ya, yb = (soft_targets(golden(name), 5).double() for name in ("ya", "yb"))
    loss = soft_cross_entropy(golden("logits"), mixup(ya, yb, lam))
    np.testing.assert_allclose(loss.numpy(), GOLDEN[f"mixup/loss_{case}"], rtol=5e-8)


def test_soft_cross_entropy_is_the_two_term_loss_and_has_its_gradient():
    rng = stream(0)
    logits = torch.randn(6, 4, generator=rng, dtype=torch.float64).requires_grad_()
    a, b = torch.randint(4, (2, 6), generator=rng)
    lam = torch.rand(6, generator=rng, dtype=torch.float64)
    terms = (F.cross_entropy(logits, labels, reduction="none") for labels in (a, b))
    expected = (lam * next(terms) + (1 - lam) * next(terms)).mean()
    loss = soft_cross_entropy(logits, mixup(soft_targets(a, 4).double(), soft_targets(b, 4).double(), lam))
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(*(torch.autograd.grad(value, logits)[0] for value in (loss, expected)))


def test_mixup_keeps_the_type():
    a = torch.ones(2, 3, 4, 4, dtype=torch.bfloat16)
    assert mixup(a, 0 * a, torch.tensor([0.5])).dtype == torch.bfloat16
    assert soft_targets(torch.tensor([1]), 3).tolist() == [[0.0, 1.0, 0.0]]


def naive_cutmix(x, targets, partner, centre, lam):
    n, _, height, width = x.shape
    sides = [int(size * math.sqrt(1 - lam)) for size in (height, width)]
    (top, bottom), (left, right) = (
        (max(middle - side // 2, 0), min(middle + side // 2, size))
        for middle, side, size in zip(centre, sides, (height, width), strict=True)
    )
    out, soft = x.clone(), targets.clone()
    ratio = 1 - (bottom - top) * (right - left) / (height * width)
    for i in range(n):
        out[i, :, top:bottom, left:right] = x[partner[i], :, top:bottom, left:right]
        soft[i] = ratio * targets[i] + (1 - ratio) * targets[partner[i]]
    return out, soft


@pytest.mark.parametrize("size", [8, 11, 32])
def test_cutmix_equals_the_naive_loop(size):
    rng = stream(1, size)
    x = torch.randn(4, 3, size, size, generator=rng, dtype=torch.float64)
    targets = soft_targets(torch.tensor([0, 1, 2, 1]), 3).double()
    changed = 0
    for _ in range(40):
        plan = CutMix(prob=1.0).draw(rng, 4, size)
        mixed, soft = CutMix.apply(x, targets, plan)
        naive = naive_cutmix(x, targets, plan.partner_N.tolist(), plan.centre_2.tolist(), float(plan.lam))
        assert torch.equal(mixed, naive[0])
        torch.testing.assert_close(soft, naive[1], atol=1e-12, rtol=0)
        changed += not torch.equal(mixed, x)
    assert changed > 20


@pytest.mark.parametrize(("centre", "area"), [((0, 0), 16), ((16, 16), 64), ((31, 16), 40)])
def test_cutmix_recomputes_the_ratio_from_the_clipped_box(centre, area):
    x, targets = torch.stack([torch.zeros(1, 32, 32), torch.ones(1, 32, 32)]), torch.eye(2)
    plan = CutMixPlan(torch.tensor([1, 0]), torch.tensor(centre), torch.tensor([1 - (8 / 32) ** 2]))
    mixed, soft = CutMix.apply(x, targets, plan)
    assert mixed[0].sum() == area
    assert soft[0].tolist() == [1 - area / 1024, area / 1024]


def test_cutmix_mixes_the_given_share_of_batches():
    rng, x, targets = stream(2), torch.zeros(2, 1, 8, 8), torch.eye(2)
    plans = [CutMix(prob=0.3).draw(rng, 2, 8) for _ in range(1000)]
    assert abs(sum(plan is not None for plan in plans) - 300) < 60
    assert all(CutMix(prob=0.0).draw(rng, 2, 8) is None for _ in range(20))
    assert all(CutMix(prob=1.0).draw(rng, 2, 8) is not None for _ in range(20))
    assert CutMix.apply(x, targets, None) == (x, targets)


def test_cutmix_draws_lambda_from_beta_and_centres_from_all_pixels():
    rng = stream(3)
    plans = [CutMix(prob=1.0, beta=4.0).draw(rng, 5, 8) for _ in range(600)]
    lam = torch.cat([plan.lam for plan in plans])
    assert abs(lam.mean() - 0.5) < 0.03
    assert abs(lam.var() - 1 / (4 * 9)) < 0.006  # the variance of Beta(a, a) is 1 / (4 (2a + 1))
    assert torch.stack([plan.centre_2 for plan in plans]).unique(dim=0).shape == (64, 2)
    assert all(sorted(plan.partner_N.tolist()) == [0, 1, 2, 3, 4] for plan in plans)


# three experts with gaps in their numbers and unequal shares; class-major, as a union is
EXPERT = torch.tensor([0, 0, 3, 5, 5, 5, 0, 3, 3, 3, 5, 0])
LABEL = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
BATCH = torch.tensor([11, 2, 5, 7, 0, 10])


def partners(fusion, times=400, first=BATCH, expert=EXPERT):
    rng = stream(4)
    return torch.stack([fusion.draw(rng, first, expert, LABEL).partner_B for _ in range(times)])


@pytest.mark.parametrize("pairing", ["any", "same_class"])
def test_cross_expert_never_meets_its_own_expert_and_reaches_all_others(pairing):
    drawn = partners(CrossExpert(pairing=pairing))
    for column, first in zip(drawn.T, BATCH, strict=True):
        allowed = EXPERT[first] != EXPERT
        if pairing == "same_class":
            allowed &= LABEL[first] == LABEL
        assert column.unique().tolist() == allowed.nonzero().flatten().tolist()


@pytest.mark.parametrize("pairing", ["any", "same_class"])
def test_cross_expert_draws_the_expert_uniformly_then_its_image_uniformly(pairing):
    drawn = partners(CrossExpert(pairing=pairing), times=3000)
    for column, first in zip(drawn.T, BATCH, strict=True):
        for image in column.unique():
            rivals = (EXPERT[image] == EXPERT) & ((LABEL[first] == LABEL) | (pairing == "any"))
            assert abs((column == image).double().mean() - 0.5 / rivals.sum()) < 0.04


def test_same_class_passes_over_an_expert_without_the_class_and_refuses_when_none_is_left():
    expert = torch.tensor([0, 0, 1, 1, 1, 1, 0, 2, 2, 2, 2, 0])
    fusion = CrossExpert(pairing="same_class")
    assert (expert[partners(fusion, first=torch.tensor([0]), expert=expert)] == 1).all()
    with pytest.raises(InputError, match=r"fusion\.pairing=same_class"):
        fusion.draw(stream(0), torch.tensor([0]), LABEL, LABEL)


def test_vanilla_permutes_the_batch():
    drawn = partners(Vanilla())
    assert all(sorted(row.tolist()) == sorted(BATCH.tolist()) for row in drawn)
    assert all(len(column.unique()) == len(BATCH) for column in drawn.T)


@pytest.mark.parametrize("fusion", [Vanilla, CrossExpert])
def test_lambda_is_drawn_per_batch_or_per_sample(fusion):
    rng = stream(5)
    together, apart = (
        torch.stack([fusion(alpha=2.0, per=per).draw(rng, BATCH, EXPERT, LABEL).lam_B for _ in range(400)])
        for per in ("batch", "sample")
    )
    assert together.shape == apart.shape == (400, len(BATCH))
    assert (together == together[:, :1]).all()
    assert (apart.std(dim=1) > 0).all()
    for lam in (together[:, 0], apart.flatten()):
        assert abs(lam.mean() - 0.5) < 0.04
        assert abs(lam.var() - 1 / 20) < 0.01


def test_one_expert_alone():
    alone = torch.zeros_like(EXPERT)
    assert CrossExpert().draw(stream(6), BATCH, alone, LABEL) is None
    mix = CrossExpert(alpha=0.4, per="sample", alone="vanilla").draw(stream(6), BATCH, alone, LABEL)
    expected = Vanilla(alpha=0.4, per="sample").draw(stream(6), BATCH, alone, LABEL)
    assert all(torch.equal(*pair) for pair in zip(mix[:2], expected[:2], strict=True))


@pytest.mark.parametrize(
    "fusion", [NoFusion(), Vanilla(alpha=0), CrossExpert(alpha=0), CrossExpert(0, alone="vanilla")]
)
def test_no_mixing_without_alpha(fusion):
    assert fusion.draw(stream(7), BATCH, EXPERT, LABEL) is None
    assert fusion.describe_for(3) == fusion.describe_for(1) == "none"


def test_names_for_results():
    assert [Vanilla().describe_for(experts) for experts in (1, 2)] == ["vanilla", "vanilla"]
    assert [CrossExpert().describe_for(experts) for experts in (1, 2)] == ["none", "cross_expert"]
    assert CrossExpert(alone="vanilla").describe_for(1) == "vanilla"


@pytest.mark.parametrize(
    ("fusion", "name"),
    [
        (Vanilla(alpha=0.2), "vanilla-alpha0.2"),
        (Vanilla(per="sample"), "vanilla-sample"),
        (CrossExpert(pairing="same_class"), "cross_expert-same_class"),
        (CrossExpert(32, "sample", "same_class"), "cross_expert-alpha32-sample-same_class"),
    ],
)
def test_what_departs_from_the_original_rule_is_named(fusion, name):
    assert fusion.describe_for(2) == name
    assert CrossExpert(0.4, "sample", "same_class", "vanilla").describe_for(1) == "vanilla-alpha0.4-sample"


@pytest.mark.parametrize(
    "fusion", [Vanilla(per="sample"), CrossExpert(per="sample"), CrossExpert(pairing="same_class")]
)
def test_equal_streams_draw_equal_mixes(fusion):
    once, again = (fusion.draw(stream(8), BATCH, EXPERT, LABEL) for _ in range(2))
    other = fusion.draw(stream(9), BATCH, EXPERT, LABEL)
    assert all(torch.equal(*pair) for pair in zip(once[:2], again[:2], strict=True))
    assert not torch.equal(once.lam_B, other.lam_B)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Vanilla(per="pixel"), "per=pixel: batch or sample"),
        (lambda: CrossExpert(per="epoch"), "per=epoch: batch or sample"),
        (lambda: CrossExpert(pairing="none"), "pairing=none: any or same_class"),
        (lambda: CrossExpert(alone="raise"), "alone=raise: none or vanilla"),
        (lambda: CutMix(prob=-0.5), "prob=-0.5: a number"),
        (lambda: CutMix(beta=0.0), "beta=0.0: a number above 0"),
    ],
)
def test_wrong_settings_are_refused(build, message):
    with pytest.raises(InputError, match=message):
        build()
