"""Cutting, ranking, stitching and storing of patches against loops in float64."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from moe_distill.data.patches import (
    cut,
    draw_crops,
    draw_orders,
    draw_regions,
    easiest,
    enlarged,
    framed,
    in_eight_bits,
    shuffled,
    stitched,
    through_jpeg,
)
from moe_distill.seeding import stream


def picture(*shape, seed=0):
    return torch.rand(*shape, generator=stream(seed, "picture"))


def test_squares_lie_inside_with_areas_from_eight_percent_to_all_of_the_image():
    crops = draw_crops(stream(0, "crops"), 2000, 5, 32)
    top, left, side = (drawn.numpy() for drawn in crops)
    assert top.shape == left.shape == side.shape == (2000, 5)
    assert side.min() == 9 and side.max() == 32  # √(0.08 · 32²) = 9.05
    for place in (top, left):
        assert place.min() == 0 and (place + side).max() == 32
    share = (side / 32) ** 2
    assert (
        abs(share.mean() - 0.54) < 0.01 and abs((share < 0.31).mean() - 0.25) < 0.02
    )  # uniform in [0.08, 1]
    middle = side == 16
    assert set(top[middle]) == set(left[middle]) == set(range(17))
    assert abs(np.corrcoef(top[middle], left[middle])[0, 1]) < 0.2


def test_the_generator_alone_decides_the_squares():
    first, again, other = (draw_crops(stream(seed, "crops"), 3, 2, 8) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def triangle(side, size):
    """Return the (size, side) matrix of bilinear resizing whose filter widens as the image shrinks, in
    float64."""
    scale = side / size
    reach = max(1.0, scale)
    matrix = np.zeros((size, side))
    for i in range(size):
        for j in range(side):
            matrix[i, j] = max(0.0, 1 - abs((j + 0.5 - (i + 0.5) * scale) / reach))
    return matrix / matrix.sum(1, keepdims=True)


@pytest.mark.parametrize(("size", "to"), [(32, 32), (32, 16), (11, 5), (8, 8)])
def test_each_square_is_cut_where_it_was_drawn_and_resized_with_antialias(size, to):
    x, crops = picture(4, 3, size, size), draw_crops(stream(1, "crops"), 4, 3, size)
    made = cut(x, crops, to)
    assert made.shape == (4, 3, 3, to, to)
    for n in range(4):
        for m in range(3):
            top, left, side = (int(drawn[n, m]) for drawn in crops)
            window, resize = (
                x[n].double().numpy()[:, top : top + side, left : left + side],
                triangle(side, to),
            )
            np.testing.assert_allclose(made[n, m].numpy(), resize @ window @ resize.T, rtol=0, atol=2e-6)


@pytest.mark.parametrize(("side", "size", "before"), [(4, 8, 2), (5, 11, 3), (5, 8, 1), (8, 8, 0)])
def test_a_patch_stands_in_the_middle_of_zeros_an_odd_line_below_and_right(side, size, before):
    x, want = picture(2, 3, side, side) + 1, torch.zeros(2, 3, size, size)
    want[..., before : before + side, before : before + side] = x
    assert torch.equal(framed(x, size), want)


def test_the_easiest_are_one_crop_an_image_in_the_order_of_their_losses_the_first_of_equals():
    loss = torch.tensor([[3.0, 1.0, 1.0], [0.5, 0.5, 2.0], [9.0, 8.0, 0.1], [4.0, 4.0, 4.0], [1.0, 2.0, 3.0]])
    image, crop = easiest(loss, 4)
    assert image.tolist() == [2, 1, 0, 4] and crop.tolist() == [2, 0, 1, 0]
    many = picture(50, 7)
    image, crop = easiest(many, 20)
    best = sorted(range(50), key=lambda n: min(many[n].tolist()))[:20]
    assert image.tolist() == best
    assert crop.tolist() == [min(range(7), key=many[n].tolist().__getitem__) for n in best]


@pytest.mark.parametrize(("factor", "size"), [(1, 8), (2, 16), (2, 11), (3, 8)])
def test_patches_are_stitched_stratum_by_stratum(factor, size):
    patches, n = picture(3 * factor**2, 2, size // factor, size // factor), 3
    made = stitched(patches, factor, size)
    sides = [size // factor + (1 if i < size % factor else 0) for i in range(factor)]
    for j in range(n):
        rows = []
        for r in range(factor):
            row = []
            for c in range(factor):
                patch = patches[(r * factor + c) * n + j].numpy()
                lines = [i * patch.shape[-1] // sides[r] for i in range(sides[r])]
                columns = [i * patch.shape[-1] // sides[c] for i in range(sides[c])]
                row.append(patch[:, lines][:, :, columns])
            rows.append(np.concatenate(row, axis=2))
        assert np.array_equal(made[j].numpy(), np.concatenate(rows, axis=1))


def test_eight_bits_cut_down_and_keep_what_was_in_eight_bits():
    levels = torch.arange(256).float().div(255).view(1, 1, 16, 16)
    assert torch.equal(in_eight_bits(levels), levels)
    between = torch.tensor([0.0, 0.9 / 255, 1.5 / 255, 254.999 / 255, 1.0]).view(1, 1, 1, 5)
    assert (in_eight_bits(between) * 255).round().flatten().tolist() == [0, 0, 1, 254, 255]


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_gives_what_a_file_of_quality_75_gives(channels):
    raw = picture(2, channels, 16, 16)
    made = through_jpeg(raw)
    for image, got in zip(raw, made, strict=True):
        pixels = np.floor(image.numpy() * 255).astype(np.uint8).transpose(1, 2, 0)
        file = io.BytesIO()
        Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(
            file, "JPEG"
        )  # 75 is the usual quality
        file.seek(0)
        want = np.asarray(Image.open(file)).reshape(16, 16, channels).transpose(2, 0, 1)
        np.testing.assert_array_equal((got * 255).round().numpy(), want)
    assert made.shape == raw.shape and made.dtype == raw.dtype
    assert 0.01 < (made - raw).abs().mean() < 0.2


@pytest.mark.parametrize(("size", "factor"), [(8, 2), (9, 2), (12, 3), (11, 3), (8, 1)])
def test_columns_then_rows_of_patches_are_put_in_their_order(size, factor):
    x, order = picture(5, 2, size, size), draw_orders(stream(3, "orders"), 5, factor)
    want = np.empty(x.shape)
    for n in range(5):
        columns, rows = order[n].tolist()
        strips = np.array_split(x[n].numpy(), factor, axis=2)
        wide = np.concatenate([strips[i] for i in columns], axis=2)
        strips = np.array_split(wide, factor, axis=1)
        want[n] = np.concatenate([strips[i] for i in rows], axis=1)
    np.testing.assert_array_equal(shuffled(x, order).numpy(), want)


def test_every_order_is_drawn_equally_often_and_rows_apart_from_columns():
    order = draw_orders(stream(0, "orders"), 9000, 3)
    assert order.sort(dim=-1).values.unique(dim=0).tolist() == [[[0, 1, 2]] * 2]
    counts = order.flatten(1).unique(dim=0, return_counts=True)[1] / 9000
    assert len(counts) == 36 and (counts - 1 / 36).abs().max() < 0.01


@pytest.mark.parametrize("factor", [2, 3])
def test_regions_are_at_least_their_share_and_near_square(factor):
    size = 64
    top, left, height, width = draw_regions(stream(1, "regions"), 2000, size, 1 / factor).double().numpy().T
    assert top.min() == left.min() == 0 and max((top + height).max(), (left + width).max()) <= size
    share, ratio = height * width / size**2, width / height
    assert 1 / factor - 0.02 < share.min() < 1 / factor + 0.02 and share.max() > 0.95
    assert 3 / 4 - 0.03 < ratio.min() < 0.8 and 1.25 < ratio.max() < 4 / 3 + 0.03
    assert torch.equal(*(draw_regions(stream(1, "regions"), 9, size, 0.5) for _ in range(2)))


def test_a_region_is_enlarged_as_pictures_are():
    x, regions = picture(2, 3, 16, 16), torch.tensor([[2, 3, 9, 11], [0, 0, 16, 16]])
    found = enlarged(x, regions)
    assert torch.equal(found[1], x[1])
    for c in range(3):
        part = Image.fromarray(x[0, c, 2:11, 3:14].numpy()).resize((16, 16), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(found[0, c].numpy(), np.asarray(part), atol=1e-5)
