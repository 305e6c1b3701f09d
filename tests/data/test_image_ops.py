import math
from pathlib import Path

import kornia
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from moe_distill.data.augmentation import image_ops as ops
from moe_distill.data.augmentation.dsa import Crop, Cutout
from moe_distill.seeding import stream

GOLDEN = Path(__file__).parents[1] / "golden"


def images(n, channels=3, size=9, dtype=torch.float64):
    return torch.randn(n, channels, size, size, generator=stream(0, "x"), dtype=torch.float64).to(dtype)


def bilinear(x_CHW, map_22):
    """One image sampled at a linear map of pixel offsets from its centre, pixel by pixel."""
    size = x_CHW.shape[-1]
    out, middle = np.zeros_like(x_CHW), (size - 1) / 2
    for i in range(size):
        for j in range(size):
            column, row = map_22 @ np.array([j - middle, i - middle]) + middle
            for r in (math.floor(row), math.floor(row) + 1):
                for c in (math.floor(column), math.floor(column) + 1):
                    if 0 <= r < size and 0 <= c < size:
                        out[:, i, j] += x_CHW[:, r, c] * (1 - abs(row - r)) * (1 - abs(column - c))
    return out


def naive(op, x_CHW, draw):
    """The operations written down once more, for one image, in numpy."""
    if op == "brightness":
        return x_CHW + (draw[0] - 0.5)
    if op == "saturation":
        mean = sum(x_CHW) / len(x_CHW)
        return np.stack([mean + 2 * draw[0] * (channel - mean) for channel in x_CHW])
    if op == "contrast":
        return x_CHW.mean() + (draw[0] + 0.5) * (x_CHW - x_CHW.mean())
    if op == "flip":
        return x_CHW[:, :, ::-1] if draw[0] < 0.5 else x_CHW
    if op == "scale":
        return bilinear(x_CHW, np.diag([u * (1.2 - 1 / 1.2) + 1 / 1.2 for u in draw]))
    if op == "rotate":
        angle = math.pi / 180 * 15 * (2 * draw[0] - 1)
        return bilinear(
            x_CHW, np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        )
    return naive_crop(x_CHW, draw) if op == "crop" else naive_cutout(x_CHW, draw)


def naive_crop(x_CHW, draw):
    out, size = np.zeros_like(x_CHW), x_CHW.shape[-1]
    for i in range(size):
        for j in range(size):
            row, column = int(i + draw[0]), int(j + draw[1])
            if 0 <= row < size and 0 <= column < size:
                out[:, i, j] = x_CHW[:, row, column]
    return out


def naive_cutout(x_CHW, draw):
    out, size = x_CHW.copy(), x_CHW.shape[-1]
    side = math.floor(0.5 * size + 0.5)
    top, left = (int(anchor) - side // 2 for anchor in draw)
    for i in range(size):
        for j in range(size):
            if i in range(top, top + side) and j in range(left, left + side):
                out[:, i, j] = 0
    return out


NAMES = ("brightness", "saturation", "contrast", "crop", "cutout", "flip", "scale", "rotate")
PAIRS = ("crop", "cutout", "scale")


def draws(name, n, size, rng):
    if name == "crop":
        return Crop().draw(rng, n, size)
    if name == "cutout":
        return Cutout().draw(rng, n, size)
    return torch.rand(n, 2, generator=rng) if name == "scale" else torch.rand(n, generator=rng)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 9), (3, 13)])
def test_op_equals_the_naive_loop_per_image_and_shared(name, channels, size):
    x, op = images(5, channels, size), getattr(ops, name)
    drawn = draws(name, 5, size, stream(1, name, size))
    for given in (drawn, drawn[:1], drawn[1:2]):
        rows = given.reshape(len(given), -1).double().numpy()
        expected = np.stack([naive(name, image.numpy(), rows[i % len(rows)]) for i, image in enumerate(x)])
        np.testing.assert_allclose(op(x, given).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_op_equals_the_golden_arrays(name):
    data = np.load(GOLDEN / "idm_dm.npz")
    u, v = torch.from_numpy(data["dsa_u"]), torch.from_numpy(data["dsa_v"])
    whole = {"crop": "dsa_crop_tx_ty", "cutout": "dsa_cutout_ox_oy"}
    given = (
        torch.from_numpy(data[whole[name]]).T
        if name in whole
        else torch.stack((u, v), 1)
        if name == "scale"
        else u
    )
    out = getattr(ops, name)(torch.from_numpy(data["dsa_input"]), given)
    np.testing.assert_allclose(out.numpy(), data[f"dsa_{name}"], atol=3e-5)
    # the numbers above are float32: the float64 path may differ from them by their rounding only
    out = getattr(ops, name)(torch.from_numpy(data["dsa_input"]).double(), given)
    np.testing.assert_allclose(out.numpy(), data[f"dsa_{name}"], atol=3e-5)


@pytest.mark.parametrize("source", ["mtt", "idc"])
@pytest.mark.parametrize("name", NAMES)
def test_op_per_image_equals_the_golden_arrays(source, name):
    data = np.load(GOLDEN / "dsa_each.npz")
    drawn = torch.from_numpy(data[f"{source}_{name}_draw"])
    given = drawn.T if name in PAIRS else drawn[0]
    given = given.long() if name in ("crop", "cutout") else given
    out, expected = getattr(ops, name)(torch.from_numpy(data[f"{source}_x"]), given), data[f"{source}_{name}"]
    np.testing.assert_allclose(out.numpy(), expected, atol=3e-5 * max(1.0, np.abs(expected).max()))


def test_strengths_are_arguments():
    x, u = images(2), torch.tensor([0.9, 0.2])
    column = u.double().reshape(2, 1, 1, 1)
    mean, grey = x.mean((1, 2, 3), keepdim=True), x.mean(1, keepdim=True)
    torch.testing.assert_close(ops.brightness(x, u, 3.0), x + 3 * (column - 0.5))
    torch.testing.assert_close(ops.saturation(x, u, 1.5), grey + 1.5 * column * (x - grey))
    torch.testing.assert_close(ops.contrast(x, u, 0.25), mean + (column + 0.25) * (x - mean))
    assert (ops.cutout(x, torch.tensor([[4, 4]]), 1 / 3) == 0).sum() == 2 * 3 * 9
    torch.testing.assert_close(ops.flip(x, u, 0.1), x)
    torch.testing.assert_close(ops.flip(x, u, 1.0), x.flip(-1))


@pytest.mark.parametrize("align_corners", [True, False])
def test_scale_and_rotate_equal_torch_in_both_corner_conventions(align_corners):
    x, u_N2 = images(4, size=11), torch.rand(4, 2, generator=stream(2))
    factors = u_N2.double() * (1.5 - 1 / 1.5) + 1 / 1.5
    angles = torch.deg2rad((2 * u_N2[:, 0].double() - 1) * 40)
    rotations = torch.stack((angles.cos(), -angles.sin(), angles.sin(), angles.cos()), 1).reshape(4, 2, 2)
    for out, maps in (
        (ops.scale(x, u_N2, 1.5), torch.diag_embed(factors)),
        (ops.rotate(x, u_N2[:, 0], 40), rotations),
    ):
        grid = F.affine_grid(F.pad(maps, (0, 1)), list(x.shape), align_corners=align_corners)
        torch.testing.assert_close(
            out, F.grid_sample(x, grid, align_corners=align_corners), atol=1e-12, rtol=0
        )


def test_rotate_equals_kornia():
    x, u = images(3, size=12), torch.tensor([0.1, 0.5, 0.8])
    expected = kornia.geometry.transform.rotate(x, (2 * u.double() - 1) * 15, align_corners=True)
    torch.testing.assert_close(ops.rotate(x, u), expected, atol=1e-9, rtol=0)
