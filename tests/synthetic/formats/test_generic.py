"""Files that no published program names: one of images and labels, and folders with one a class or an
expert."""

import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from moe_distill.errors import InputError
from moe_distill.synthetic.formats.fitting import ordered_by_class
from moe_distill.synthetic.formats.foreign import TargetData
from moe_distill.synthetic.formats.layouts import layout_of

CLASSES = ("cat", "dog", "emu")
WANTED = TargetData(CLASSES, (3, 8, 8), 1 << 20, ("n01", "n02", "n03"))
HARD = torch.arange(3).repeat_interleave(2)


def pixels(seed=0, n=6):
    return torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def read(path):
    return layout_of(path).read(path, WANTED)


def refusal(path):
    with pytest.raises(InputError) as caught:
        ordered_by_class(read(path), 3, path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def beside(folder):
    np.save(folder / "x_images.npy", pixels().permute(0, 2, 3, 1).numpy())
    np.save(folder / "x_labels.npy", HARD.numpy())
    return folder / "x_images.npy"


def stored(folder, name, value):
    if name.endswith(".npy"):
        np.save(folder / name, value.numpy())
    elif name.endswith(".npz"):
        np.savez(folder / name, **{k: v.numpy() for k, v in value.items()})
    elif name.endswith(".safetensors"):
        save_file(value, folder / name)
    else:
        torch.save(value, folder / name)
    return folder / name


ONE = {
    "a pair": lambda f: stored(f, "syn.pt", (pixels(), HARD)),
    "a dict": lambda f: stored(f, "syn.pth", {"data": pixels(), "targets": HARD}),
    "bare images": lambda f: stored(f, "syn.pt", pixels()),
    "npz": lambda f: stored(f, "set.npz", {"images": pixels(), "labels": HARD}),
    "npz of images alone": lambda f: stored(f, "set.npz", {"x": pixels()}),
    "npy": lambda f: stored(f, "set.npy", pixels()),
    "npy with labels beside, channels last": beside,
    "safetensors": lambda f: stored(f, "set.safetensors", {"images": pixels(), "labels": HARD}),
}


@pytest.mark.parametrize("build", ONE.values(), ids=ONE)
def test_a_file_is_read_whatever_its_kind(tmp_path, build):
    found = read(build(tmp_path))
    assert found.method == "file" and found.order is None and found.convention is None
    assert torch.equal(ordered_by_class(found, 3, "x").images_NCHW, pixels())


def classes(folder, names):
    for name, images in zip(names, pixels(n=12).split(12 // len(names)), strict=True):
        stored(folder, name, images)
    return folder


@pytest.mark.parametrize(
    "names",
    [
        ("class_2.pt", "class_0.pt", "class_1.pt"),
        ("emu.pt", "cat.pt", "dog.pt"),
        ("n03.npy", "n01.npy", "n02.npy"),
    ],
)
def test_a_file_a_class_goes_by_its_name_or_number(tmp_path, names):
    found = read(classes(tmp_path, names))
    rows = {"emu": 2, "n03": 2, "class_2": 2, "cat": 0, "n01": 0, "class_0": 0}
    expected = sorted(range(3), key=lambda i: rows.get(names[i].split(".")[0], 1))
    blocks = pixels(n=12).split(4)
    assert torch.equal(ordered_by_class(found, 3, "x").images_NCHW, torch.cat([blocks[i] for i in expected]))
    assert found.order == (None if names[0].startswith("class") else CLASSES)


def test_a_file_an_expert_is_laid_out_class_by_class_and_their_images_join(tmp_path):
    for expert in (10, 9):
        stored(tmp_path, f"expert{expert}_images.pt", pixels(expert))
    found = ordered_by_class(read(tmp_path), 3, "x")
    nine, ten = pixels(9).split(2), pixels(10).split(2)
    assert torch.equal(
        found.images_NCHW, torch.cat([torch.cat(pair) for pair in zip(nine, ten, strict=True)])
    )


def test_labels_in_files_go_before_their_numbers(tmp_path):
    for number in range(3):
        stored(
            tmp_path,
            f"part{number}.safetensors",
            {"images": pixels(number), "labels": HARD.flip(0).contiguous()},
        )
    found = ordered_by_class(read(tmp_path), 3, "x")
    assert len(found.images_NCHW) == 18 and torch.equal(found.images_NCHW[:2], pixels(0)[4:])
    stored(tmp_path, "part3.safetensors", {"images": pixels()})
    assert "labels in every file or in none; 3 of 4" in refusal(tmp_path)


BAD = {
    "two numbers": (lambda f: classes(f, ("a1.pt", "b2.pt", "c3.pt")), "differ in one number"),
    "classes from 8": (lambda f: classes(f, ("8.npy", "9.npy", "10.npy")), "3 files numbered from 0"),
    "too few classes": (lambda f: classes(f, ("0.pt", "1.pt")), "found 2, numbered 0 to 1, without labels"),
    "another size": (lambda f: stored(f, "s.npy", torch.zeros(6, 3, 9, 9)), "shape (N, 3, 8, 8)"),
    "no images": (
        lambda f: stored(f, "s.npz", {"z": pixels()}),
        "a tensor of images, a pair of images and labels",
    ),
    "a network": (
        lambda f: stored(f, "s.pt", torch.nn.Linear(2, 2).state_dict()),
        "this file holds something else",
    ),
    "types that differ": (
        lambda f: (stored(f, "0.pt", pixels()), stored(f, "1.pt", pixels().half()), f)[2],
        "one of",
    ),
}


@pytest.mark.parametrize(("build", "said"), BAD.values(), ids=BAD)
def test_what_does_not_fit_is_one_line_that_says_what_differs(tmp_path, build, said):
    if said == "one of":
        stored(tmp_path, "2.pt", pixels())
        said = "images of one type"
    assert said in refusal(build(tmp_path))


def test_a_header_of_more_numbers_than_the_file_has_is_refused(tmp_path):
    path = stored(tmp_path, "set.npy", torch.zeros(6, 3, 8, 8))
    whole = path.read_bytes()
    for shape in (b"(6000000000,3,8,8)", b"(-1, 3, 8, 8)"):
        path.write_bytes(whole.replace(b"(6, 3, 8, 8)", shape + b" " * (12 - len(shape)), 1))
        assert "a whole file" in refusal(path)
    (tmp_path / "endless.npy").symlink_to("/dev/zero")
    assert "there is nothing" in refusal(tmp_path / "gone.npy")
    assert "a file of images and labels" in refusal(tmp_path / "endless.npy")
    save_file({"images": torch.zeros(6, 3, 8, 8)}, tmp_path / "huge.safetensors")
    (tmp_path / "huge.safetensors").write_bytes(b"\xff" * 7 + b"\x7f" + b"{}")
    assert "a whole file" in refusal(tmp_path / "huge.safetensors")


def test_a_pickle_of_many_things_in_torchs_file_is_refused_unread(tmp_path, monkeypatch):
    path = tmp_path / "set.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("set/data.pkl", b"N0" * (1 << 23) + b"N.")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(InputError, match="holds a large pickle"):
        layout_of(path).read(path, TargetData(CLASSES, (3, 8, 8), 1 << 30))
