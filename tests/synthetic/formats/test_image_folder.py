"""Class folders of pictures: whose class each is, and what is refused."""

import json
import shutil

import numpy as np
import pytest
from conftest_pictures import CLASSES, pictures
from PIL import Image

from moe_distill.errors import InputError
from moe_distill.synthetic.formats.foreign import TargetData
from moe_distill.synthetic.formats.layouts import layout_of

WANTED = TargetData(CLASSES, (3, 8, 8), 1 << 20, ("n01", "n02", "n03"))


def read(path):
    return layout_of(path).read(path, WANTED)


def refusal(function, *given):
    with pytest.raises(InputError) as caught:
        function(*given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


NAMES = [("00000", "00001", "00002"), ("2", "0", "1"), ("emu", "cat", "dog"), ("n03", "n01", "n02")]


@pytest.mark.parametrize("names", [*NAMES, ("new000", "new002", "new001")])
def test_class_folders_bear_names_ids_or_numbers(tmp_path, names):
    found = read(pictures(tmp_path, names))
    first = np.random.RandomState(0).randint(0, 256, (3, 2, 8, 8, 3), dtype=np.uint8)[:, 0]
    known = {name: label for names in (CLASSES, WANTED.synsets) for label, name in enumerate(names)}
    for name, image in zip(names, first, strict=True):
        label = known[name] if name in known else int(name.removeprefix("new"))
        assert np.array_equal(found.images_NCHW[2 * label].permute(1, 2, 0), image)
    assert found.order == (CLASSES if set(names) <= set(known) else None)
    assert found.method == ("sre2l" if names[0] == "new000" else "folder")


@pytest.mark.parametrize("classes", [("newspaper", "newt", "emu"), ("new0", "new1", "new2")])
def test_a_class_whose_name_begins_with_new_does_not_come_from_sre2l(tmp_path, classes):
    pictures(tmp_path, classes)
    assert layout_of(tmp_path).read(tmp_path, TargetData(classes, (3, 8, 8), 1 << 20)).method == "folder"


def test_numbered_folders_go_by_the_names_that_an_export_has_beside_them(tmp_path):
    pictures(tmp_path, NAMES[0])
    about = {"set_fingerprint": "f", "classes": ["emu", "cat", "dog"]}
    (tmp_path / "about.json").write_text(json.dumps(about))
    assert read(tmp_path).order == ("emu", "cat", "dog")
    others = [
        "[" * 100_000,
        json.dumps({"classes": about["classes"]}),
        json.dumps({**about, "classes": [1]}),
        "",
        "\xff",
    ]
    for text in others:
        (tmp_path / "about.json").write_text(text)
        assert read(tmp_path).order is None


def test_what_systems_leave_beside_pictures_is_passed_over(tmp_path):
    read(pictures(tmp_path))
    for name in ("Thumbs.db", "cat/desktop.ini", "dog/._0.png"):
        (tmp_path / name).write_text("x")
    (tmp_path / "__MACOSX").mkdir()
    assert len(read(tmp_path).images_NCHW) == 6


BAD_FOLDERS = {
    "another class": (
        lambda f: pictures(f, ("cat", "dog", "fox")),
        "found 3, unexpected fox, without emu",
    ),
    "one too few": (lambda f: shutil.rmtree(pictures(f) / "dog"), "found 2, without dog"),
    "numbers from 1": (lambda f: pictures(f, ("1", "2", "3")), "found 3, unexpected 1, 2, 3, without"),
    "another size": (lambda f: pictures(f, size=9), "pictures of 8×8"),
    "16 bits": (lambda f: deep(pictures(f)), "images of 8 bits a channel; this one has 16"),
    "a text": (lambda f: (pictures(f) / "cat" / "note.txt").write_text("x"), "nothing but images"),
    "a broken file": (lambda f: (pictures(f) / "cat" / "0.png").write_bytes(b"\x89PNG"), "whole images"),
    "code by a picture's name": (
        lambda f: (pictures(f) / "cat" / "0.png").write_bytes(b"GIF89a"),
        "whole images",
    ),
}


def deep(folder):
    Image.fromarray(np.zeros((8, 8), dtype=np.uint16)).save(folder / "cat" / "0.png")


@pytest.mark.parametrize(("build", "said"), BAD_FOLDERS.values(), ids=BAD_FOLDERS)
def test_a_folder_that_does_not_fit_is_one_line(tmp_path, build, said):
    build(tmp_path)
    assert said in refusal(read, tmp_path)
