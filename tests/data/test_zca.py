"""Whitening against a naive float64 version and published arrays; what it is fitted to, and how the fit is
kept."""

import dataclasses
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from moe_distill.data import zca
from moe_distill.data.normalization import Normalisation, Whitening
from moe_distill.data.real_set import RealSet
from moe_distill.data.zca import ZCA, fit, moments, whitening_of
from moe_distill.errors import InputError
from moe_distill.seeding import stream

GOLDEN = np.load(Path(__file__).parents[1] / "golden/zca.npz")
EPS = 0.1


def pixels(n, channels=3, size=4, seed=0, most=256):
    """Images whose pixels are correlated: each is noise times a brightness of its own."""
    rng = stream(seed, "zca")
    noise = torch.rand(n, channels, size, size, generator=rng) * torch.rand(n, 1, 1, 1, generator=rng)
    return (noise * most).to(torch.uint8)


def real(n=50, size=4, channels=3, seed=0):
    statistics = (0.5,) * channels, (0.25,) * channels
    return RealSet(
        pixels(n, channels, size, seed), torch.arange(n) % 2, ("a", "b"), *statistics, "toy", "test"
    )


@dataclasses.dataclass
class Source:
    """Hands out a training and a test set."""

    train: RealSet
    test: RealSet
    name: str = "toy"

    def load(self, cache):
        return self.train, self.test


def naive(images):
    """Mean, W and W⁻¹ in float64 by the singular values of the centred images, one image a row."""
    x = images.numpy().reshape(len(images), -1).astype(np.float64) / 255
    mean = x.mean(0)
    _, s, vt = np.linalg.svd(x - mean, full_matrices=True)
    values = np.zeros(x.shape[1])
    values[: len(s)] = s**2 / (len(x) - 1)
    return mean, vt.T @ np.diag((values + EPS) ** -0.5) @ vt, vt.T @ np.diag((values + EPS) ** 0.5) @ vt


@pytest.mark.parametrize(("n", "channels", "size"), [(300, 3, 4), (20, 3, 4), (600, 1, 7), (2, 1, 1)])
def test_the_fit_is_the_naive_one(n, channels, size):
    images = pixels(n, channels, size)
    made = fit(images, EPS, "s")
    for got, want in zip((made.mean_D, made.matrix_DD, made.inverse_DD), naive(images), strict=True):
        assert got.dtype == torch.float32
        np.testing.assert_allclose(got.numpy(), want, atol=2e-6)


def test_the_fit_and_its_maps_are_the_published_ones():
    train, test = (torch.from_numpy(GOLDEN[f"{part}_u8"]) for part in ("train", "test"))
    whitening = fit(train, EPS, "s")
    np.testing.assert_allclose(whitening.mean_D.numpy(), GOLDEN["mean"], atol=1e-6)
    np.testing.assert_allclose(whitening.matrix_DD.numpy(), GOLDEN["T"], atol=1e-4)
    shown = RealSet(train, torch.arange(200) % 2, ("a", "b"), (0.5,) * 3, (0.25,) * 3, "n", "v", whitening)
    np.testing.assert_allclose(shown.normalised(train[:20]).numpy(), GOLDEN["train_white"], atol=1e-4)
    np.testing.assert_allclose(shown.normalised(test).numpy(), GOLDEN["test_white"], atol=1e-4)
    back = whitening.back(torch.from_numpy(GOLDEN["test_white"]))
    np.testing.assert_allclose(back.numpy(), GOLDEN["test_inverse"], atol=1e-4)


@pytest.mark.parametrize("most", [256, 3])
def test_moments_are_exact_to_a_rounding_however_many_chunks(most):
    images = pixels(700, 2, 5, most=most)
    images[:, 0, 0, 0] = 255  # a constant pixel at the largest product
    mean, covariance = moments(images)
    x = images.flatten(1).double() / 255
    assert covariance.dtype == torch.float64
    np.testing.assert_allclose(mean.numpy(), x.mean(0).numpy(), rtol=1e-14)
    np.testing.assert_allclose(covariance.numpy(), np.cov(x.numpy().T), atol=1e-14)
    assert covariance[0].abs().max() == 0
    torch.testing.assert_close(moments(images.flip(0))[1], covariance, rtol=0, atol=0)


def test_whitened_training_images_have_the_spectrum_that_eps_leaves():
    images = pixels(400)
    whitening = fit(images, EPS, "s")
    white_ND = whitening.white(images.double() / 255).flatten(1).numpy()
    s = np.linalg.eigvalsh(np.cov(images.flatten(1).double().numpy().T / 255))
    np.testing.assert_allclose(np.linalg.eigvalsh(np.cov(white_ND.T)), np.sort(s / (s + EPS)), atol=1e-5)
    np.testing.assert_allclose(white_ND.mean(0), 0, atol=1e-5)
    nearly = fit(images, 1e-9, "s").white(images.double() / 255).flatten(1).numpy()
    np.testing.assert_allclose(np.cov(nearly.T), np.eye(48), atol=1e-3)


def test_the_inverse_goes_back_beyond_0_and_1_with_gradient():
    whitening = fit(pixels(50), EPS, "s")
    x = torch.randn(6, 3, 4, 4, generator=stream(1)).mul(3).requires_grad_()
    there = whitening.white(x)
    torch.testing.assert_close(whitening.back(there), x, atol=1e-5, rtol=0)
    (gradient,) = torch.autograd.grad(there[:, 1, 2, 3].sum(), x)
    want = whitening.matrix_DD[:, 1 * 16 + 2 * 4 + 3].view(3, 4, 4).expand(6, 3, 4, 4)
    torch.testing.assert_close(gradient, want)


def test_a_whitening_follows_the_type_and_device_of_images():
    whitening = fit(pixels(50), EPS, "s")
    x = pixels(5, seed=1).double() / 255
    white = whitening.white(x)
    assert white.dtype == torch.float64
    want = (x.flatten(1) - whitening.mean_D.double()) @ whitening.matrix_DD.double()
    torch.testing.assert_close(white, want.view(x.shape), atol=1e-12, rtol=0)
    assert whitening.white(x.to("meta")).device.type == "meta"
    assert whitening.white(x.float().to(memory_format=torch.channels_last)).shape == x.shape


def test_test_images_are_whitened_by_the_fit_to_the_training_images(tmp_path):
    train, test = ZCA(Source(real(seed=0), real(seed=1)), EPS).load(tmp_path)
    mean, matrix, _ = naive(real(seed=0).images_NCHW)
    for part, seed in ((train, 0), (test, 1)):
        x = real(seed=seed).images_NCHW.numpy().reshape(50, -1) / 255
        got = part.normalised(part.images_NCHW).flatten(1).numpy()
        np.testing.assert_allclose(got, (x - mean) @ matrix, atol=1e-5)
    assert ZCA(Source(real(), real(seed=1)), EPS).name == "toy"


def test_all_batches_subsets_and_copies_are_whitened(tmp_path):
    train, _ = ZCA(Source(real(), real()), EPS).load(tmp_path)
    white = train.normalised(train.images_NCHW)
    part = train.subset(torch.tensor([4, 2])).to("cpu")
    torch.testing.assert_close(part.normalised(part.images_NCHW), white[[4, 2]])
    batch, labels = train.batch(50, stream(0))
    order = torch.randperm(50, generator=stream(0))
    torch.testing.assert_close(batch, white[order])
    assert torch.equal(labels, train.labels_N[order])
    drawn = train.class_batch(1, 25, stream(0)).sum((1, 2, 3)).sort().values
    torch.testing.assert_close(drawn, white[1::2].sum((1, 2, 3)).sort().values)
    copy = pickle.loads(pickle.dumps(train))
    assert torch.equal(copy.normalised(copy.images_NCHW), white) and copy.statistics == train.statistics


def test_statistics_tell_whitened_data_from_other_data(tmp_path):
    plain = real()
    whitened = [ZCA(Source(plain, plain), eps).load(tmp_path)[0] for eps in (EPS, 0.2, EPS)]
    other = ZCA(Source(real(seed=1), plain), EPS).load(tmp_path)[0]
    assert plain.statistics == (plain.mean, plain.std) == whitened[0].statistics[:2]
    assert whitened[0].statistics == whitened[2].statistics
    assert len({plain.statistics, whitened[0].statistics, whitened[1].statistics, other.statistics}) == 4
    assert (plain.space, whitened[0].space) == ("standardised", "zca")
    assert whitened[0].fingerprint == plain.fingerprint


def test_the_fit_is_made_once_and_found_again(tmp_path, monkeypatch):
    first = whitening_of(real(), EPS, tmp_path)
    monkeypatch.setattr(zca, "fit", None)
    again = whitening_of(real(), EPS, tmp_path)
    assert again.digest == first.digest and again.source == first.source
    with pytest.raises(TypeError):
        whitening_of(real(), 0.2, tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1


def swap(path):
    """Put another, whole whitening in the file's place."""
    fit(pixels(50, seed=9), EPS, "another").save(path)


def alter(path):
    """Change a number and keep everything else."""
    data = bytearray(path.read_bytes())
    data[-7] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "a bit changed": alter,
    "other tensors": lambda path: save_file({"x": torch.zeros(1)}, path),
    "another whitening": swap,
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_fit_is_made_again(tmp_path, damage):
    first = whitening_of(real(), EPS, tmp_path)
    (path,) = tmp_path.glob("*.safetensors")
    damage(path)
    with pytest.raises(InputError, match=rf"^set={path}: .*whitening") as refused:
        Whitening.load(path, first.source)
    assert "\n" not in str(refused.value)
    assert whitening_of(real(), EPS, tmp_path).digest == first.digest
    assert Whitening.load(path, first.source).digest == first.digest
    assert set(load_file(path)) == {"mean", "matrix", "inverse"}


def test_a_fit_that_may_not_be_read_is_not_set_aside(tmp_path, unreadable):
    whitening_of(real(), EPS, tmp_path)
    (path,) = tmp_path.glob("*.safetensors")
    unreadable(path)
    with pytest.raises(PermissionError):
        whitening_of(real(), EPS, tmp_path)
    assert path.is_file() and not [*tmp_path.glob("*.damaged-*")]


def test_a_file_with_the_same_numbers_is_left_alone(tmp_path):
    path = tmp_path / "w.safetensors"
    fit(pixels(50), EPS, "s").save(path)
    before = path.stat().st_ino
    fit(pixels(50), EPS, "s").save(path)
    assert path.stat().st_ino == before
    fit(pixels(50), EPS, "t").save(path)
    assert Whitening.load(path, "t").source == "t" and [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("eps", [0, -0.1, float("nan")])
def test_an_eps_that_leaves_no_root_is_refused(eps):
    with pytest.raises(InputError, match=r"^eps=.*: a number above 0$"):
        ZCA(Source(real(), real()), eps)


def test_images_too_large_for_a_matrix_over_their_pixels_are_refused(tmp_path):
    large = real(2, 97, 1)
    with pytest.raises(InputError, match=r"^data\.size=97: at most 96 pixels"):
        ZCA(Source(large, large), EPS).load(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_one_image_has_no_covariance(tmp_path):
    with pytest.raises(InputError, match=r"^data=toy: at least 2 training images"):
        ZCA(Source(real(1), real(1)), EPS).load(tmp_path)


def test_channel_statistics_go_there_and_back():
    x = torch.rand(5, 3, 4, 4, dtype=torch.float64, generator=stream(0))
    by = Normalisation((0.1, 0.2, 0.3), (0.5, 0.25, 0.2))
    mean, std = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (by.mean, by.std))
    torch.testing.assert_close(by.standardised(x), (x - mean) / std, atol=1e-14, rtol=0)
    torch.testing.assert_close(by.raw(by.standardised(x)), x, atol=1e-14, rtol=0)
    assert by.source is None
