"""Pictures as a viewer shows them, and what else lies in folders of them."""

import os
import struct
import subprocess
import sys
import unicodedata
import zlib

import numpy as np
import pytest
from conftest_shown import KEY, STORED, refused, shown
from PIL import Image, ImageOps

from moe_distill.data import pictures
from moe_distill.data.pictures import class_folders, entries, header, pictures_in


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "avif", "tiff"])
def test_a_picture_is_turned_as_viewers_turn_it(tmp_path, suffix, orientation):
    path, exif = tmp_path / f"x.{suffix}", Image.Exif()
    exif[0x0112] = orientation
    STORED.save(path, **({"tiffinfo": {0x0112: orientation}} if suffix == "tiff" else {"exif": exif}))
    turns = [
        *(lambda x: x, ImageOps.mirror, lambda x: x.rotate(180), ImageOps.flip),
        *(lambda x: ImageOps.flip(x.rotate(90, expand=True)), lambda x: x.rotate(-90, expand=True)),
        *(lambda x: ImageOps.flip(x.rotate(-90, expand=True)), lambda x: x.rotate(90, expand=True)),
    ]
    oracle = turns[orientation - 1](STORED)
    assert header(path, KEY)[0] == shown(path).size == oracle.size
    # Lossy kinds come near the turned picture and near no other.
    away = [
        np.abs(np.asarray(shown(path), float) - np.asarray(turn(STORED), float)).mean()
        for turn in turns
        if turn(STORED).size == oracle.size
    ]
    assert min(away) == np.abs(np.asarray(shown(path), float) - np.asarray(oracle, float)).mean()


def translucent(mode):
    """Return a picture of that mode whose left half is clear, with black below, and what it looks like on
    white."""
    pixels = np.asarray(STORED.convert("L")).copy()
    alpha = np.full_like(pixels, 255)
    alpha[:, :12] = 0
    on_white = np.where(alpha == 0, 255, pixels)
    pixels[:, :12] = 0
    pixels[:, 12:] |= 1  # no other pixel is 0
    on_white[:, 12:] |= 1
    if mode in ("LA", "RGBA"):
        gray = Image.fromarray(pixels)
        return Image.merge(mode, [gray] * (len(mode) - 1) + [Image.fromarray(alpha)]), {}, on_white
    if mode == "P":
        image = Image.fromarray(pixels, "P")
        image.putpalette([v for v in range(256) for _ in range(3)])
        return image, {"transparency": 0}, on_white
    return Image.fromarray(pixels).convert(mode), {"transparency": 0 if mode == "L" else (0, 0, 0)}, on_white


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "RGB"])
@pytest.mark.parametrize("wanted", ["RGB", "L"])
def test_what_is_clear_is_white(tmp_path, mode, wanted):
    image, how, on_white = translucent(mode)
    image.save(tmp_path / "x.png", **how)
    seen = np.asarray(shown(tmp_path / "x.png", wanted))
    assert np.array_equal(seen if wanted == "L" else seen[..., 1], on_white)


def test_half_clear_is_half_white(tmp_path):
    Image.new("RGBA", (8, 8), (0, 100, 200, 128)).save(tmp_path / "x.png")
    expected = np.array([0, 100, 200]) * (128 / 255) + 255 * (127 / 255)
    assert np.abs(np.asarray(shown(tmp_path / "x.png"))[0, 0] - expected).max() <= 1


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK"])
def test_an_opaque_picture_is_converted_alone(tmp_path, mode):
    path = tmp_path / ("x.tiff" if mode == "CMYK" else "x.png")
    STORED.convert(mode).save(path)
    for wanted in ("L", "RGB"):
        with Image.open(path) as image:
            assert np.array_equal(np.asarray(shown(path, wanted)), np.asarray(image.convert(wanted)))


def test_what_systems_leave_in_folders_is_passed_over(tmp_path):
    for name in ("Thumbs.db", "THUMBS.DB", "desktop.ini", "._0.png", ".DS_Store", "Icon\r", "ehthumbs.db"):
        (tmp_path / name).write_text("x")
    for name in ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found", ".Trashes"):
        (tmp_path / name).mkdir()
    STORED.save(tmp_path / "0.png")
    (tmp_path / "cat").mkdir()
    assert [path.name for path in entries(tmp_path, KEY)] == ["0.png", "cat"]
    assert list(class_folders(tmp_path, KEY)) == ["cat"]
    (tmp_path / "cat").rmdir()
    assert pictures_in(tmp_path, KEY) == [tmp_path / "0.png"]


def test_names_are_composed_and_twins_are_refused(tmp_path):
    forms = [unicodedata.normalize(form, "café") for form in ("NFD", "NFC")]
    (tmp_path / forms[0]).mkdir()
    assert class_folders(tmp_path, KEY) == {forms[1]: tmp_path / forms[0]}
    (tmp_path / forms[1]).mkdir()
    refused(r"café is there in two Unicode forms, 'cafe\\u0301' and 'caf\\xe9'", class_folders, tmp_path, KEY)


@pytest.mark.parametrize("where", ["root", "class", "file"])
def test_names_that_are_not_utf8_are_refused(tmp_path, where):
    odd = os.fsdecode(b"caf\xe9")
    root = tmp_path / (odd if where == "root" else "own")
    folder = root / (odd if where == "class" else "cat")
    folder.mkdir(parents=True)
    (folder / (odd if where == "file" else "0.png")).write_bytes(b"")
    look = pictures_in if where == "file" else class_folders
    refused(
        r"caf\\xe9: folders and files with names in UTF-8", look, folder if where == "file" else root, KEY
    )


@pytest.mark.parametrize(
    "call",
    [
        lambda p: entries(p, KEY),
        lambda p: header(p / "x.png", KEY),
        lambda p: pictures.content(p / "x.png", KEY),
    ],
)
def test_what_may_not_be_read_is_told_in_one_line(tmp_path, monkeypatch, call):
    STORED.save(tmp_path / "x.png")

    def denied(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    for owner, name in ((type(tmp_path), "iterdir"), (type(tmp_path), "read_bytes"), (Image, "open")):
        monkeypatch.setattr(owner, name, denied)
    refused(r"that can be read \(Permission denied\)$", call, tmp_path)


def test_links_that_loop_are_no_folders(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert class_folders(tmp_path, KEY) == {}
    refused(r"loop: nothing but images in class folders", pictures_in, tmp_path, KEY)


def bomb(path, width, height):
    """Write a PNG that says how large it is and holds no pixels."""
    chunks = (b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT")
    framed = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(framed))
    return path


def test_an_image_too_large_is_told_with_its_size_and_the_limit(tmp_path):
    path = bomb(tmp_path / "x.png", 20_000, 20_000)
    refused(
        r"x\.png: images of at most 178,956,970 pixels; Image size \(400000000 pixels\)", header, path, KEY
    )


def test_a_picture_of_half_that_size_is_opened_without_a_word(tmp_path):
    path = bomb(tmp_path / "x.png", 13_000, 13_000)
    code = "import sys; from moe_distill.data.pictures import Path, opened; "
    code += "print(opened(Path(sys.argv[1]), 'k').__enter__().size)"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("(13000, 13000)\n", "")


@pytest.mark.parametrize("name", ["x.heic", "x.svg", "x.jp2", "x.txt", "x"])
def test_other_kinds_are_refused_with_those_that_are_read(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    refused(rf"{name}: nothing but images .*\.jpg.*\.jfif.*\.avif", pictures_in, tmp_path, KEY)


def test_no_other_format_hides_behind_a_name(tmp_path):
    STORED.save(tmp_path / "x.eps")  # which Pillow would give to Ghostscript
    refused("whole images", header, (tmp_path / "x.eps").rename(tmp_path / "x.jpg"), KEY)


def test_whatever_a_decoder_raises_is_one_line(tmp_path, monkeypatch):
    STORED.save(tmp_path / "x.png")

    def broken(*_, **__):
        raise struct.error("unpack\nrequires 4 bytes")

    monkeypatch.setattr(ImageOps, "exif_transpose", broken)
    refused(
        r"x\.png: whole images; .*broken or truncated, or more than Pillow takes \(unpack requires 4 bytes\)",
        shown,
        tmp_path / "x.png",
    )
