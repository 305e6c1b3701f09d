"""What is learned beside the images: soft labels, a step size, and the moving average that is evaluated."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest_sets import a_set

from moe_distill.errors import InputError
from moe_distill.seeding import stream
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.training.batches import tensor_pool, training_batch
from moe_distill.training.mixing import CrossExpert
from moe_distill.training.recipe import Recipe


def learned(seed=0, tiling=1, average=False, **more):
    plain = a_set(seed, tiling=tiling, **more)
    draws = torch.randn(len(plain.images), 3, generator=stream(seed, "logits"))
    mean = torch.randn(plain.images.shape, generator=stream(seed, "average")) if average else None
    return SyntheticSet(plain.images.detach(), plain.provenance, torch.tensor(0.03), draws, mean)


def softmax(logits):
    e = np.exp(np.asarray(logits, dtype=np.float64))
    return e / e.sum(1, keepdims=True)


@pytest.mark.parametrize("tiling", [1, 2])
def test_targets_follow_the_decoded_images(tiling):
    one, hard = learned(tiling=tiling), a_set(tiling=tiling)
    np.testing.assert_allclose(
        one.targets().detach(), np.tile(softmax(one.soft_labels.detach()), (tiling**2, 1)), atol=1e-6
    )
    assert hard.targets().argmax(1).tolist() == hard.decode()[1].tolist()
    assert set(hard.targets().unique().tolist()) == {0.0, 1.0}


def test_the_average_is_the_exponential_one_of_every_image_seen():
    one = a_set()
    one = SyntheticSet(one.images.detach(), one.provenance, average=torch.zeros_like(one.images))
    one.update_average(0.0)
    assert torch.equal(one.average, one.images)
    by_hand = one.images.detach().double()
    for step in range(4):
        with torch.no_grad():
            one.images.add_(torch.randn(one.images.shape, generator=stream(step, "moves")))
        one.update_average(0.9)
        by_hand = 0.9 * by_hand + 0.1 * one.images.detach().double()
    torch.testing.assert_close(one.average.double(), by_hand, rtol=0, atol=1e-6)


def test_what_is_evaluated_is_the_average_and_the_labels_that_were_learned():
    soft, hard = learned(0, average=True), a_set(1, ipc=1)
    decoded = SyntheticSet.union([soft, hard]).raw()
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (soft.provenance.mean, soft.provenance.std))
    own = decoded.experts_M == 0
    torch.testing.assert_close(decoded.images_MCHW[own], soft.average * std + mean)
    np.testing.assert_allclose(decoded.targets_MC[own].numpy(), softmax(soft.soft_labels.detach()), atol=1e-6)
    assert torch.equal(decoded.targets_MC[~own], torch.eye(3))
    assert SyntheticSet.union([hard]).raw().targets_MC is None
    _, target = SyntheticSet.union([soft]).dataset()[0]
    assert target.shape == (3,) and float(target.sum()) == pytest.approx(1)


def test_everything_learned_is_saved_and_named_by_the_fingerprint(tmp_path):
    one = learned(average=True)
    one.save(tmp_path / "expert_0.safetensors")
    back = SyntheticSet.read(tmp_path / "expert_0.safetensors")
    for name in ("images", "learned_rate", "soft_labels", "average"):
        assert torch.equal(getattr(back, name), getattr(one, name))
    parts = {"learned_rate": None, "soft_labels": None, "average": None}
    for name in parts:
        kept = {k: getattr(one, k) for k in parts if k != name}
        kept = {k: v.detach() for k, v in kept.items()}
        assert SyntheticSet(one.images.detach(), one.provenance, **kept).fingerprint() != one.fingerprint()


def test_students_train_towards_learned_labels_mixed_like_the_images():
    decoded = SyntheticSet.union([learned(0), learned(1)]).raw()
    pool = tensor_pool(decoded.images_MCHW, decoded.labels_M, decoded.experts_M, 3, decoded.targets_MC)
    first = torch.tensor([0, 5, 7])
    recipe, fusion = Recipe("r", epochs=1), CrossExpert(alpha=1.0)
    x, targets = training_batch(pool, first, recipe, fusion, stream(3, "batch"))
    mix = fusion.draw(stream(3, "batch"), first, decoded.experts_M, decoded.labels_M)
    for values, got in ((decoded.images_MCHW, x), (decoded.targets_MC, targets)):
        lam = mix.lam_B.view(-1, *[1] * (values.dim() - 1))
        torch.testing.assert_close(got, lam * values[first] + (1 - lam) * values[mix.partner_B])


def test_a_folder_without_one_of_its_experts_is_refused(tmp_path):
    for i in range(3):
        one = a_set(i)
        settings = {"roster": [{}, {}, {}]}
        about = replace(one.provenance, settings=settings)
        SyntheticSet(one.images.detach(), about).save(tmp_path / f"expert_{i}.safetensors")
    assert len(SyntheticSet.load(tmp_path).members) == 3
    (tmp_path / "expert_2.safetensors").unlink()
    with pytest.raises(InputError, match="all 3 experts; there are 2"):
        SyntheticSet.load(tmp_path)
