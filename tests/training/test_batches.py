"""Batches with images beside them, and pools fused for good, against constructions by hand in float64."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from moe_distill.data.augmentation.dsa import Augmentation, Color, Crop, Flip
from moe_distill.data.augmentation.pixels import PixelAugmentation
from moe_distill.data.normalization import Normalisation
from moe_distill.data.patches import draw_orders, draw_regions, enlarged, shuffled
from moe_distill.seeding import stream
from moe_distill.training.batches import fused, tensor_pool, training_batch
from moe_distill.training.fusion import Additive, Offline
from moe_distill.training.mixing import CrossExpert, CutMix, NoFusion, soft_cross_entropy
from moe_distill.training.recipe import Recipe

ROWS = torch.tensor([0, 3, 5, 8])


def pool(count=12, soft=False):
    images = torch.randn(count, 2, 8, 8, generator=stream(0, "pool"))
    targets = torch.rand(count, 3, generator=stream(1, "targets")).softmax(1) if soft else None
    return tensor_pool(images, torch.arange(count) // 4, torch.arange(count) % 2, 3, targets)


def by_hand(source, first, partner, lam):
    """Mix images and targets of a pool one by one, in float64."""
    images = source.take(torch.arange(len(source))).double().numpy()
    targets = np.eye(3)[source.labels_M] if source.targets_MC is None else source.targets_MC.double().numpy()
    triples = list(zip(first.tolist(), partner.tolist(), lam.double().tolist(), strict=True))
    return [np.stack([w * part[i] + (1 - w) * part[j] for i, j, w in triples]) for part in (images, targets)]


@pytest.mark.parametrize("soft", [False, True])
def test_the_additive_batch_is_the_augmented_one_and_a_mixed_one_that_is_not_augmented(soft):
    source = pool(soft=soft)
    augment = Augmentation(one_of=(Crop(),), before=(Flip(), Color()))
    recipe, fusion = (
        Recipe("r", epochs=1, augment=augment, cutmix=CutMix(prob=1.0)),
        Additive(CrossExpert(per="sample")),
    )
    x, targets = training_batch(source, ROWS, recipe, fusion, stream(4, "b"))

    replay = stream(4, "b")
    draws = augment.draw(replay, 4, 8, shared=False)
    mix = fusion.draw(replay, ROWS, source.experts_M, source.labels_M)
    cut = recipe.cutmix.draw(replay, 4, 8)
    own = F.one_hot(source.labels_M[ROWS], 3).float() if not soft else source.targets_MC[ROWS]
    want_x, want_t = CutMix.apply(augment.apply(source.take(ROWS), draws), own, cut)
    assert x.shape == (8, 2, 8, 8) and torch.equal(x[:4], want_x) and torch.equal(targets[:4], 2 * want_t)
    more_x, more_t = by_hand(source, ROWS, mix.partner_B, mix.lam_B)
    np.testing.assert_allclose(x[4:].numpy(), more_x, atol=1e-6)
    np.testing.assert_allclose(targets[4:].numpy(), 2 * more_t, atol=1e-6)


def test_pixels_are_augmented_first_and_partners_by_a_draw_of_their_own():
    normalisation = Normalisation((0.5, 0.4), (0.2, 0.3))
    images = normalisation.standardised(torch.rand(12, 2, 8, 8, generator=stream(0, "raw")))
    held = tensor_pool(images, torch.arange(12) // 4, torch.arange(12) % 2, 3, normalisation=normalisation)
    pixels, augment = PixelAugmentation(padding=2), Augmentation(one_of=(Crop(),), before=(Flip(),))
    recipe, fusion = Recipe("r", epochs=1, pixels=pixels, augment=augment), CrossExpert()
    x, _ = training_batch(held, ROWS, recipe, fusion, stream(4, "b"))

    replay = stream(4, "b")
    first = pixels(images[ROWS], normalisation, replay)
    first = augment.apply(first, augment.draw(replay, 4, 8, shared=False))
    mix = fusion.draw(replay, ROWS, held.experts_M, held.labels_M)
    other = pixels(images[mix.partner_B], normalisation, replay)
    other = augment.apply(other, augment.draw(replay, 4, 8, shared=False))
    want = mix.lam_B[0].double() * first.double() + (1 - mix.lam_B[0].double()) * other.double()
    torch.testing.assert_close(x.double(), want, rtol=0, atol=1e-6)


def test_stitched_images_alone_are_shuffled_and_a_region_enlarged():
    source = pool()
    held = dataclasses.replace(source, pieces_M=torch.tensor([1, 2])[source.experts_M])
    rows = torch.tensor([0, 1, 4, 5])  # every other one is of the second expert
    asked = [Recipe("r", epochs=1, regions=regions) for regions in (True, False)]
    x, plain = (training_batch(held, rows, recipe, None, stream(7, "b"))[0] for recipe in asked)
    assert torch.equal(plain, source.take(rows)) and torch.equal(x[::2], plain[::2])
    replay = stream(7, "b")
    order, region = draw_orders(replay, 2, 2), draw_regions(replay, 2, 8, 0.5)
    assert torch.equal(x[1::2], enlarged(shuffled(plain[1::2], order), region)) and not torch.equal(
        x[1::2], plain[1::2]
    )
    whole = training_batch(source, rows, asked[0], None, stream(7, "b"))[0]
    assert torch.equal(whole, plain)


def test_the_additive_loss_is_the_sum_of_both_mean_losses():
    source, fusion = pool(), Additive(CrossExpert())
    _, targets = training_batch(source, ROWS, Recipe("r", epochs=1), fusion, stream(5, "b"))
    mix = fusion.draw(stream(5, "b"), ROWS, source.experts_M, source.labels_M)
    logits = torch.randn(8, 3, generator=stream(6), dtype=torch.float64)
    labels, others, lam = source.labels_M[ROWS], source.labels_M[mix.partner_B], float(mix.lam_B[0])
    mixed = lam * F.cross_entropy(logits[4:], labels) + (1 - lam) * F.cross_entropy(logits[4:], others)
    want = F.cross_entropy(logits[:4], labels) + mixed
    torch.testing.assert_close(soft_cross_entropy(logits, targets.double()), want, rtol=1e-6, atol=0)


@pytest.mark.parametrize("soft", [False, True])
def test_a_pool_fused_for_good_holds_the_mixed_pairs(soft):
    source, fusion = pool(soft=soft), Offline(alpha=2.0, seed=3)
    half = fused(source, fusion)
    pairs = fusion.pairs(source.experts_M, source.labels_M)
    want_x, want_t = by_hand(source, *pairs)
    assert len(half) == 6 and half.labels_M.tolist() == [0, 0, 1, 1, 2, 2]
    assert torch.equal(half.experts_M, source.experts_M[pairs.first_P])
    assert (source.experts_M[pairs.first_P] != source.experts_M[pairs.partner_P]).all()
    for _ in range(2):
        x, targets = training_batch(half, torch.arange(6), Recipe("r", epochs=1), fusion, stream(0))
        np.testing.assert_allclose(x.numpy(), want_x, atol=1e-6)
        np.testing.assert_allclose(targets.numpy(), want_t, atol=1e-6)
    order = torch.tensor([4, 0])
    assert torch.equal(half.take(order), half.take(torch.arange(6))[order])


@pytest.mark.parametrize("fusion", [NoFusion(), CrossExpert(), Additive(CrossExpert())])
def test_a_pool_is_left_alone_by_what_mixes_later(fusion):
    source = pool()
    assert fused(source, fusion) is source
