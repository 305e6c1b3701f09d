import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from moe_distill.data.augmentation.dsa import Augmentation, Color, Crop, Cutout, Flip, Plan, Rotate, Scale
from moe_distill.errors import InputError
from moe_distill.seeding import stream

GOLDEN = Path(__file__).parents[1] / "golden"
DSA = (Color(), Crop(), Cutout(), Flip(), Scale(), Rotate())


def images(n, channels=3, size=9, dtype=torch.float64):
    return torch.randn(n, channels, size, size, generator=stream(0, "x"), dtype=torch.float64).to(dtype)


def test_color_is_brightness_saturation_contrast_with_a_draw_each():
    data = np.load(GOLDEN / "idm_dm.npz")
    drawn = torch.stack([torch.from_numpy(data[f"dsa_{name}"]) for name in "uvw"], dim=1)
    out = Color()(torch.from_numpy(data["dsa_input"]), drawn)
    np.testing.assert_allclose(out.numpy(), data["dsa_color"], atol=3e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("shared", [True, False])
def test_each_group_keeps_shape_and_type_and_stays_near_float64(dtype, shared):
    for op in DSA:
        plan = Augmentation([op]).draw(stream(3), 4, 9, shared)
        x = images(4, dtype=dtype)
        out = Augmentation.apply(x, plan)
        assert out.dtype == dtype
        assert out.shape == x.shape
        tolerance = {torch.bfloat16: 5e-2, torch.float32: 1e-5, torch.float64: 0}[dtype]
        torch.testing.assert_close(
            out.double(), Augmentation.apply(x.double(), plan), atol=tolerance, rtol=tolerance
        )


@pytest.mark.parametrize("op", DSA, ids=lambda op: type(op).__name__)
@pytest.mark.parametrize("shared", [True, False])
def test_gradients_of_first_and_second_order(op, shared):
    plan = Augmentation([op]).draw(stream(4), 2, 8, shared)
    x = images(2, 1, 8).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: Augmentation.apply(x, plan), (x,))
    assert torch.autograd.gradgradcheck(lambda x: Augmentation.apply(x, plan).square(), (x,))


@pytest.mark.parametrize("op", DSA, ids=lambda op: type(op).__name__)
def test_vmap_over_students_with_their_own_draws_equals_the_loop(op):
    x = torch.stack([images(3), -images(3)])
    drawn = torch.stack([op.draw(stream(5, student), 3, 9) for student in range(2)])
    together = torch.func.vmap(op)(x, drawn)
    torch.testing.assert_close(together, torch.stack([op(*one) for one in zip(x, drawn, strict=True)]))


@pytest.mark.parametrize("op", DSA, ids=lambda op: type(op).__name__)
def test_a_shared_plan_does_the_same_to_batches_of_any_length(op):
    augmentation, x = Augmentation([op], before=[Color()]), images(7)
    plan = augmentation.draw(stream(6), 7, 9, shared=True)
    whole = augmentation.apply(x, plan)
    torch.testing.assert_close(augmentation.apply(x[2:4], plan), whole[2:4])
    twins = augmentation.apply(x[:1].expand(3, -1, -1, -1), plan)
    torch.testing.assert_close(twins[1:], twins[:1].expand(2, -1, -1, -1))


@pytest.mark.parametrize("op", DSA, ids=lambda op: type(op).__name__)
def test_a_plan_of_its_own_treats_equal_images_differently(op):
    augmentation = Augmentation([op])
    plan = augmentation.draw(stream(7), 8, 9, shared=False)
    out = augmentation.apply(images(1).expand(8, -1, -1, -1), plan)
    assert len({image.numpy().tobytes() for image in out}) > 1


def test_plans_replay_and_follow_the_stream():
    augmentation, x = Augmentation(DSA), images(4)
    for step in range(12):
        plan, again = (augmentation.draw(stream(8, step), 4, 9, shared=False) for _ in range(2))
        assert torch.equal(augmentation.apply(x, plan), augmentation.apply(x, plan))
        assert torch.equal(augmentation.apply(x, plan), augmentation.apply(x, again))


def test_exactly_one_group_is_drawn_each_with_equal_chance():
    rng, augmentation = stream(9), Augmentation(DSA)
    plans = [augmentation.draw(rng, 2, 8, shared=True) for _ in range(1200)]
    assert all(len(plan.steps) == 1 for plan in plans)
    counts = Counter(type(plan.steps[0][0]) for plan in plans)
    assert len(counts) == 6
    assert (
        sum((count - 200) ** 2 / 200 for count in counts.values()) < 20.5
    )  # chi-square, 5 degrees: p = 0.001


def test_fixed_groups_act_around_the_drawn_one():
    augmentation = Augmentation(
        one_of=[Crop(), Scale(), Rotate()], before=[Flip(), Color()], after=[Cutout()]
    )
    assert isinstance(augmentation.one_of, tuple)
    plan, x = augmentation.draw(stream(10), 3, 9, shared=False), images(3)
    kinds = [type(op) for op, _ in plan.steps]
    assert kinds[:2] + kinds[3:] == [Flip, Color, Cutout]
    assert kinds[2] in (Crop, Scale, Rotate)
    expected = x
    for op, drawn in plan.steps:
        assert len(drawn) == 3
        expected = op(expected, drawn)
    assert torch.equal(augmentation.apply(x, plan), expected)
    assert Augmentation([]).draw(stream(10), 3, 9, shared=True) == Plan(())


@pytest.mark.parametrize(("size", "reach"), [(32, 4), (64, 8), (28, 4), (9, 1)])
def test_crop_and_cutout_draw_every_value_of_their_range(size, reach):
    shifts = Crop().draw(stream(11), 4000, size)
    assert sorted(shifts[:, 0].unique().tolist()) == sorted(shifts[:, 1].unique().tolist())
    assert shifts.unique().tolist() == list(range(-reach, reach + 1))
    odd = math.floor(0.5 * size + 0.5) % 2
    assert Cutout().draw(stream(12), 4000, size).unique().tolist() == list(range(size - odd + 1))


def test_uniform_draws_fill_the_unit_interval():
    for op in (Color(), Flip(), Scale(), Rotate()):
        drawn = op.draw(stream(13), 4000, 8)
        columns = drawn.reshape(4000, -1)
        assert ((columns >= 0) & (columns < 1)).all()
        assert (columns.mean(0) - 0.5).abs().max() < 0.03
        assert np.abs(np.atleast_2d(np.corrcoef(columns.T)) - np.eye(columns.shape[1])).max() < 0.08


@pytest.mark.parametrize(
    ("build", "key"),
    [
        (lambda: Crop(0.7), "ratio=0.7"),
        (lambda: Cutout(-0.1), "ratio=-0.1"),
        (lambda: Flip(1.5), "prob=1.5"),
        (lambda: Scale(0.8), "ratio=0.8"),
        (lambda: Augmentation([{"ratio": 0.1}]), "one_of=.*Op"),
        (lambda: Augmentation([], after=[{}]), "after="),
    ],
)
def test_impossible_settings_are_refused(build, key):
    with pytest.raises(InputError, match=key):
        build()
