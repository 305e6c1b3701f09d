"""Public layouts, built here by hand from their descriptions: what is read, what is refused, and that nothing
runs."""

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest_pictures import CLASSES, pictures
from safetensors.torch import save_file

from moe_distill.errors import InputError
from moe_distill.synthetic.formats.fitting import ordered_by_class
from moe_distill.synthetic.formats.foreign import TargetData
from moe_distill.synthetic.formats.layouts import LAYOUTS, layout_of

N, SHAPE = 6, (3, 8, 8)
WANTED = TargetData(CLASSES, SHAPE, 1 << 20)
HARD = torch.arange(3).repeat_interleave(2)


def pixels(seed=0, n=N):
    return torch.randn(n, *SHAPE, generator=torch.Generator().manual_seed(seed))


def dc(folder):
    """Two experiments; the accuracies beside them are numpy's own numbers, as the public program leaves
    them."""
    accuracies = {"ConvNet": [np.float64(0.5), np.float32(0.5), np.int64(3)]}
    held = {"data": [[pixels(1), HARD], [pixels(), HARD]], "accs_all_exps": accuracies}
    torch.save(held, folder / "res_DSA_CIFAR10_ConvNet_2ipc.pt")
    return folder / "res_DSA_CIFAR10_ConvNet_2ipc.pt"


def idc(folder):
    torch.save([pixels(), HARD], folder / "data_best.pt")
    return folder / "data_best.pt"


def random(folder):
    torch.save(pixels(), folder / "CIFAR10_IPC2_normalize_images.pt")
    torch.save(HARD, folder / "CIFAR10_IPC2_normalize_labels.pt")
    return folder / "CIFAR10_IPC2_normalize_images.pt"


def kip(folder):
    targets = np.eye(3, dtype=np.float32)[HARD] - 1 / 3
    np.savez(folder / "kip_ssize6.npz", images=pixels().permute(0, 2, 3, 1).numpy(), labels=targets)
    return folder / "kip_ssize6.npz"


def mtt(folder):
    torch.save(pixels(), folder / "images_best.pt")
    torch.save(HARD, folder / "labels_best.pt")
    torch.save(torch.tensor(0.0213), folder / "lr_best.pt")
    return folder


def tensors(folder):
    torch.save(pixels(), folder / "images.pt")
    return folder


def idm(folder):
    """As the public program does; the pair may need gradients there."""
    (folder / "acc_0.5.pkl").write_bytes(pickle.dumps((pixels().requires_grad_(), HARD)))
    return folder / "acc_0.5.pkl"


def file(folder):
    save_file({"images": pixels(), "labels": HARD}, folder / "set.safetensors")
    return folder / "set.safetensors"


def files(folder):
    """A file a class, of which there is no 10 before the 2 in any order but that of the numbers."""
    for c, images in enumerate(pixels().split(2)):
        torch.save(images, folder / f"class{c}.pt")
    return folder


BUILT = {"dc": dc, "idc": idc, "random": random, "idm": idm, "kip": kip, "mtt": mtt, "tensors": tensors}
BUILT |= {"folder": pictures, "file": file, "files": files}


def read(path, layout="auto", wanted=WANTED):
    return layout_of(path, layout).read(path, wanted)


def refusal(function, *given):
    with pytest.raises(InputError) as caught:
        function(*given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("layout", [x.name for x in LAYOUTS])
def test_a_layout_is_known_by_its_files_and_read_exactly(tmp_path, layout):
    path = BUILT[layout](tmp_path)
    assert layout_of(path).name == layout
    found = read(path)
    fitted = ordered_by_class(found, 3, path)
    if layout == "folder":
        values = np.random.RandomState(0).randint(0, 256, (6, 8, 8, 3), dtype=np.uint8)
        np.testing.assert_allclose(fitted.images_NCHW, values.transpose(0, 3, 1, 2) / 255.0, atol=1e-7)
    else:
        assert torch.equal(fitted.images_NCHW, pixels())
    assert fitted.soft_NC is None and all(file.exists() for file in found.files)
    assert found.method == {"dc": "dsa"}.get(layout, layout)
    assert found.learned_rate == (pytest.approx(0.0213) if layout == "mtt" else None)


class Attack:
    """Writes a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def attacks(folder, mark):
    """Yield a path whose file runs code when it is read as trusted, by what it is."""
    for name in ("res_DC_X.pt", "data.pt", "x_images.pt"):
        torch.save({"data": [[Attack(mark), HARD]]}, folder / name)
        yield folder / name
    for name in ("images.pt", "images_best.pt"):
        place = folder / name.removesuffix(".pt")
        place.mkdir()
        (place / name).write_bytes(pickle.dumps(Attack(mark), 2))
        yield place
    np.savez(folder / "kip.npz", images=np.array([Attack(mark)], dtype=object), labels=np.zeros(1))
    yield folder / "kip.npz"
    (folder / "plain.npz").write_bytes(pickle.dumps(Attack(mark), 2))
    yield folder / "plain.npz"
    torch.save({"data": [[pixels(), HARD]], "accs_all_exps": [Attack(mark)]}, folder / "res_DM_X.pt")
    yield folder / "res_DM_X.pt"


def test_code_in_a_file_is_refused_and_not_run(tmp_path):
    mark = tmp_path / "ran"
    paths = list(attacks(tmp_path, mark))
    assert len(paths) == 8 and not mark.exists()
    for path in paths:
        assert "holds something else, such as code" in refusal(read, path)
        assert not mark.exists()
    torch.load(tmp_path / "res_DM_X.pt", weights_only=False)
    assert mark.exists()  # the attack is one


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.95])
@pytest.mark.parametrize("layout", ["dc", "idc", "random", "kip"])
def test_a_file_cut_short_is_one_line(tmp_path, layout, share):
    path = BUILT[layout](tmp_path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert f"pipeline.path={path}: a whole file" in refusal(read, path)


FLIPPED = {
    "numbers": lambda member: member.endswith("data/0"),
    "the pickle": lambda member: member.endswith("data.pkl"),
}
FLIPPED |= {"an array": lambda member: member == "images.npy"}


@pytest.mark.parametrize("at", [0, -1])
@pytest.mark.parametrize("what", FLIPPED)
def test_one_bit_changed_in_an_archive_is_damage(tmp_path, what, at):
    path = (kip if what == "an array" else idc)(tmp_path)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        (member,) = (m for m in archive.infolist() if FLIPPED[what](m.filename))
        whole = archive.read(member)
    data[data.index(whole) + at % len(whole)] ^= 1
    path.write_bytes(data)
    assert "this one is damaged" in refusal(read, path)


def test_a_sparse_tensor_is_refused_without_another_word(tmp_path, recwarn):
    torch.save(torch.zeros(N, *SHAPE).to_sparse(), tmp_path / "images.pt")
    assert "plain tensor of numbers" in refusal(read, tmp_path)
    assert not recwarn.list


def test_a_file_larger_than_allowed_as_it_lies_or_unpacked_is_not_read(tmp_path, monkeypatch):
    path = mtt(tmp_path)
    small = TargetData(CLASSES, SHAPE, 2000)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was read"))
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("it was read"))
    assert "pipeline.largest_gib" in refusal(read, path, "auto", small)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", bytes(1 << 22))
    assert (tmp_path / "bomb.npz").stat().st_size < 10_000
    assert "pipeline.largest_gib" in refusal(read, tmp_path / "bomb.npz", "kip")


def test_a_small_file_of_a_huge_view_is_refused_before_it_is_filled(tmp_path):
    torch.save(torch.zeros(1).expand(1 << 30, *SHAPE), tmp_path / "images.pt")
    assert (tmp_path / "images.pt").stat().st_size < 10_000
    assert "pipeline.largest_gib" in refusal(read, tmp_path)


BAD_IMAGES = {
    "another size": (torch.zeros(N, 3, 9, 9), "shape (N, 3, 8, 8)"),
    "another number of channels": (torch.zeros(N, 1, 8, 8), "shape (N, 3, 8, 8)"),
    "flat": (torch.zeros(N, 192), "shape (N, 3, 8, 8)"),
    "sparse": (torch.zeros(N, *SHAPE).to_sparse(), "plain tensor of numbers"),
    "without storage": (torch.zeros(N, *SHAPE, device="meta"), "plain tensor of numbers"),
    "complex": (torch.zeros(N, *SHAPE, dtype=torch.complex64), "plain tensor of numbers"),
    "whole numbers": (torch.zeros(N, *SHAPE, dtype=torch.int64), "floating-point numbers or uint8"),
    "no tensor": ({"images": 1}, "plain tensor of numbers"),
    "too few": (torch.zeros(5, *SHAPE), "3 classes, each equally often; there are 5"),
    "none": (torch.zeros(0, *SHAPE), "3 classes, each equally often; there are 0"),
    "not finite": (pixels().index_fill(0, torch.tensor(3), float("nan")), "finite numbers"),
}


@pytest.mark.parametrize(("images", "said"), BAD_IMAGES.values(), ids=BAD_IMAGES)
def test_images_that_do_not_fit_the_data_are_one_line(tmp_path, images, said):
    torch.save(images, tmp_path / "images.pt")
    line = refusal(lambda: ordered_by_class(read(tmp_path), 3, tmp_path))
    assert said in line and str(tmp_path) in line


def test_what_is_no_layout_or_several_or_our_own_is_one_line(tmp_path):
    assert "there is nothing there" in refusal(layout_of, tmp_path / "gone")
    assert "a file res_<method>_….pt (dc); " in refusal(layout_of, tmp_path)
    assert refusal(layout_of, tmp_path, "dcc").startswith("pipeline.layout=dcc: one of auto, dc, idc, random")
    tensors(tmp_path)
    assert layout_of(mtt(tmp_path), "mtt").name == "mtt"
    assert refusal(layout_of, tmp_path).startswith("pipeline.layout=auto: mtt or tensors")
    (tmp_path / "expert_0.safetensors").touch()
    assert "pipeline=evaluate" in refusal(layout_of, tmp_path)


@pytest.mark.parametrize("value", [float("nan"), 0.0, -0.1, float("inf"), torch.zeros(2), "0.1"])
def test_a_step_size_that_is_none_is_one_line(tmp_path, value):
    torch.save(value, mtt(tmp_path) / "lr_best.pt")
    assert "step size" in refusal(read, tmp_path)
