"""Picture files in class folders: which names count, and the pixels that a viewer shows."""

import io
import os
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, ImageOps

from moe_distill.errors import InputError

KINDS = {".jpg": "jpeg", ".jpeg": "jpeg", ".jfif": "jpeg", ".jpe": "jpeg", ".png": "png", ".bmp": "bmp"}
KINDS |= {".gif": "gif", ".webp": "webp", ".avif": "avif", ".tif": "tiff", ".tiff": "tiff", ".ppm": "ppm"}
KINDS |= {".pgm": "ppm"}
# Pillow knows more formats, some of which start other programs (EPS); a file's name does not decide what is
# in it.
FORMATS = tuple(sorted({kind.upper() for kind in KINDS.values()}))
# What file managers, archivers and file servers leave in folders; names that begin with a dot besides.
LITTER = {"thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r", "__macosx", "@eadir"}
LITTER |= {"$recycle.bin", "system volume information", "lost+found"}
# Twice what Pillow warns of: from here on it opens no file.
MOST_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 0)
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
_ON_THEIR_SIDE = (5, 6, 7, 8)  # values of EXIF's orientation
_AV1_BITS = (8, 8, 10, 12)  # by the flags high_bitdepth and twelve_bit


@contextmanager
def readable(path: Path, key: str) -> Iterator[None]:
    """Turn what the system says in the block into an error of the setting that names the folder.

    Raises:
        InputError: A file or folder cannot be read.
    """
    try:
        yield
    except OSError as error:
        where = printable_path(error.filename or path)
        raise InputError(key, where, f"a file or folder that can be read ({error.strerror})") from error


def entries(folder: Path, key: str) -> list[Path]:
    """Return what lies in a folder, sorted, less what systems leave in folders; nothing without a folder.

    Args:
        folder: Where to look.
        key: The setting that names the folder, for errors.

    Raises:
        InputError: The folder cannot be read, or a name is not UTF-8.
    """
    with readable(folder, key):
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
    for path in (folder, *paths):
        try:
            str(path).encode()
        except UnicodeEncodeError as error:
            raise InputError(
                key, printable_path(path), "folders and files with names in UTF-8; rename this one"
            ) from error
    return [path for path in paths if path.name[0] != "." and path.name.lower() not in LITTER]


def class_folders(part: Path, key: str) -> dict[str, Path]:
    """Return the folders in ``part`` by name, composed (Unicode's NFC) and sorted; none where it is not.

    Args:
        part: Where to look.
        key: The setting that names the folder, for errors.

    Raises:
        InputError: As for :func:`entries`; or two names differ in their Unicode form alone.
    """
    folders: dict[str, Path] = {}
    for path in entries(part, key):
        with readable(path, key):
            is_folder = path.is_dir()
        name = unicodedata.normalize("NFC", path.name)
        if is_folder and name in folders:
            twins = f"{folders[name].name!a} and {path.name!a}"
            allowed = f"one folder a class; {name} is there in two Unicode forms, {twins}: merge them"
            raise InputError(key, printable_path(part), allowed)
        if is_folder:
            folders[name] = path
    return dict(sorted(folders.items()))


def pictures_in(folder: Path, key: str) -> list[Path]:
    """Return the pictures of a class folder, sorted; none where it does not exist.

    Args:
        folder: Where to look.
        key: The setting that names the folder, for errors.

    Raises:
        InputError: As for :func:`entries`; or anything but pictures lies there.
    """
    paths = entries(folder, key)
    for path in paths:
        with readable(path, key):
            is_picture = path.suffix.lower() in KINDS and path.is_file()
        if not is_picture:
            raise InputError(
                key, printable_path(path), f"nothing but images in class folders ({', '.join(KINDS)})"
            )
    return paths


def content(path: Path, key: str) -> bytes:
    """Return the bytes of a file.

    Raises:
        InputError: It cannot be read.
    """
    with readable(path, key):
        return path.read_bytes()


@contextmanager
def opened(path: Path, key: str, data: bytes | None = None) -> Iterator[Image.Image]:
    """Give a picture, whose pixels are not yet decoded; what goes wrong in the block is an error in the file.

    Args:
        path: The file.
        key: The setting that names it, for errors.
        data: Its bytes, where they were read before.

    Raises:
        InputError: It cannot be read, is too large, has more than 8 bits a channel, or is broken.
    """
    try:
        with Image.open(path if data is None else io.BytesIO(data), formats=FORMATS) as image:
            bits = _BITS[image.format](image) if image.format and image.format in _BITS else 8
            if bits > 8:
                raise InputError(
                    key, printable_path(path), f"images of 8 bits a channel; this one has {bits}"
                )
            yield image
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(
            key, printable_path(path), f"images of at most {MOST_PIXELS:,} pixels; {error}"
        ) from error
    except Exception as error:  # decoders raise nearly anything where the bytes are wrong
        if isinstance(error, OSError) and error.errno:
            raise InputError(
                key, printable_path(path), f"an image that can be read ({error.strerror})"
            ) from error
        allowed = f"whole images; this file is broken or truncated, or more than Pillow takes ({error})"
        raise InputError(key, printable_path(path), allowed) from error


def header(path: Path, key: str) -> tuple[tuple[int, int], str]:
    """Return width and height in pixels, as a viewer shows the picture, and the mode it is stored in.

    Raises:
        InputError: As for :func:`opened`.
    """
    with opened(path, key) as image:
        width, height = image.size
        # Pillow turns a TIFF by itself, and gives its size as turned.
        turned = image.format != "TIFF" and image.getexif().get(ExifTags.Base.Orientation) in _ON_THEIR_SIDE
        return ((height, width) if turned else (width, height)), image.mode


def as_shown(image: Image.Image, mode: str) -> Image.Image:
    """Return a picture as a viewer shows it: turned as its EXIF says, on white where it is transparent.

    Args:
        image: As opened; it is changed.
        mode: ``L`` or ``RGB``.
    """
    ImageOps.exif_transpose(image, in_place=True)
    if image.has_transparency_data:
        on_top = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", on_top.size, "white"), on_top)
    return image.convert(mode)


def _bits_of_png(image: Any) -> int:
    return 16 if image.tile[0][3].endswith(";16B") else 8


def _bits_of_tiff(image: Any) -> int:
    return max(image.tag_v2.get(258, (1,)))


def _bits_of_ppm(image: Any) -> int:
    """Return 16 where the header's largest value takes two bytes, 32 of a file of floating-point numbers."""
    how = image.tile[0][3]
    wide = image.mode == "I" or (isinstance(how, tuple) and how[1] > 255)
    return 32 if image.mode == "F" else 16 if wide else 8


def _bits_of_avif(image: Any) -> int:
    """Return what the configuration of the AV1 codec says, which each of the file's pictures has one of."""
    image.fp.seek(0)
    flags = [found[1][0] for found in re.finditer(rb"av1C\x81.(.)", image.fp.read(), re.DOTALL)]
    return max((_AV1_BITS[flag >> 5 & 3] for flag in flags), default=8)


# Bits a channel as the file has them: of several channels, Pillow's mode is that of the 8 bits it reduces
# them to.
_BITS: Mapping[str, Callable[[Any], int]] = {
    **{"PNG": _bits_of_png, "TIFF": _bits_of_tiff},
    **{"PPM": _bits_of_ppm, "AVIF": _bits_of_avif},
}


def printable_path(path: Path | str) -> str:
    """Return a path for a message: what cannot be printed, as bytes that are not UTF-8, is escaped."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
