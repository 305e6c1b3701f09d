"""Picture files in class folders: which file names count, and decoding them as a viewer shows them."""

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
# Pillow decodes by content, not by name, and knows formats that start other programs (EPS): only these are
# allowed.
FORMATS = tuple(sorted({kind.upper() for kind in KINDS.values()}))
# What file managers, archivers and file servers leave in folders; names that begin with a dot are skipped
# too.
LITTER = {"thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r", "__macosx", "@eadir"}
LITTER |= {"$recycle.bin", "system volume information", "lost+found"}
# Pillow warns above MAX_IMAGE_PIXELS and refuses above twice as many; only the refusal is of interest here.
MOST_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 0)
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
_ON_THEIR_SIDE = (5, 6, 7, 8)  # values of EXIF's orientation
_AV1_BITS = (8, 8, 10, 12)  # by the flags high_bitdepth and twelve_bit


@contextmanager
def readable(path: Path, key: str) -> Iterator[None]:
    """Turn an ``OSError`` in the block into an error of the setting that names the folder.

    Raises:
        InputError: If a file or folder cannot be read.
    """
    try:
        yield
    except OSError as error:
        where = printable_path(error.filename or path)
        raise InputError(key, where, f"a file or folder that can be read ({error.strerror})") from error


def entries(folder: Path, key: str) -> list[Path]:
    """Return the sorted entries of a folder without hidden and system files; empty if there is no folder.

    Args:
        folder: The folder.
        key: The setting that names it, for errors.

    Raises:
        InputError: If the folder cannot be read, or a name is not UTF-8.
    """
    # Sorted: the order of a listing differs between file systems, and labels and draws depend on it.
    with readable(folder, key):
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
    for path in (folder, *paths):
        try:
            # Python decodes other bytes to lone surrogates, on which hashing and JSON would fail later.
            str(path).encode()
        except UnicodeEncodeError as error:
            raise InputError(
                key, printable_path(path), "folders and files with names in UTF-8; rename this one"
            ) from error
    return [path for path in paths if path.name[0] != "." and path.name.lower() not in LITTER]


def class_folders(part: Path, key: str) -> dict[str, Path]:
    """Return the folders in ``part`` by name (composed, Unicode's NFC), sorted; empty if it is no folder.

    Args:
        part: The folder to search.
        key: The setting that names the folder, for errors.

    Raises:
        InputError: As for :func:`entries`, or if two names differ only in their Unicode form.
    """
    folders: dict[str, Path] = {}
    for path in entries(part, key):
        with readable(path, key):
            is_folder = path.is_dir()
        # macOS stores names decomposed, others as they are typed: composed, equal names are equal.
        name = unicodedata.normalize("NFC", path.name)
        if is_folder and name in folders:
            twins = f"{folders[name].name!a} and {path.name!a}"
            allowed = f"one folder a class; {name} is there in two Unicode forms, {twins}: merge them"
            raise InputError(key, printable_path(part), allowed)
        if is_folder:
            folders[name] = path
    return dict(sorted(folders.items()))


def pictures_in(folder: Path, key: str) -> list[Path]:
    """Return the pictures of a class folder, sorted; empty if it does not exist.

    Args:
        folder: The class folder.
        key: The setting that names the folder, for errors.

    Raises:
        InputError: As for :func:`entries`, or if the folder holds anything other than pictures.
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
        InputError: If it cannot be read.
    """
    with readable(path, key):
        return path.read_bytes()


@contextmanager
def opened(path: Path, key: str, data: bytes | None = None) -> Iterator[Image.Image]:
    """Open a picture without decoding its pixels; any exception in the block is reported as a broken file.

    Args:
        path: The file.
        key: The setting that names it, for errors.
        data: Its bytes, if they were read before.

    Raises:
        InputError: If it cannot be read, is too large, has more than 8 bits per channel, or is broken.
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
        raise  # raised above or in the block, and clear already
    except Image.DecompressionBombError as error:
        raise InputError(
            key, printable_path(path), f"images of at most {MOST_PIXELS:,} pixels; {error}"
        ) from error
    except Exception as error:  # decoders raise nearly anything where the bytes are wrong
        # With an errno it comes from the system and not from a decoder.
        if isinstance(error, OSError) and error.errno:
            raise InputError(
                key, printable_path(path), f"an image that can be read ({error.strerror})"
            ) from error
        allowed = f"whole images; this file is broken or truncated, or more than Pillow takes ({error})"
        raise InputError(key, printable_path(path), allowed) from error


def header(path: Path, key: str) -> tuple[tuple[int, int], str]:
    """Return the displayed (width, height) of a picture, in pixels, and the Pillow mode it is stored in.

    Raises:
        InputError: As for :func:`opened`.
    """
    with opened(path, key) as image:
        width, height = image.size
        # Pillow rotates TIFF files itself, and their size is that after rotation.
        turned = image.format != "TIFF" and image.getexif().get(ExifTags.Base.Orientation) in _ON_THEIR_SIDE
        return ((height, width) if turned else (width, height)), image.mode


def as_shown(image: Image.Image, mode: str) -> Image.Image:
    """Return a picture as a viewer shows it: rotated as its EXIF says, on a white background.

    Args:
        image: As opened; it is changed in place.
        mode: ``L`` or ``RGB``.
    """
    ImageOps.exif_transpose(image, in_place=True)
    # Convert alone would drop the alpha channel and show the colour stored under it, often black.
    if image.has_transparency_data:
        on_top = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", on_top.size, "white"), on_top)
    return image.convert(mode)


def _bits_of_png(image: Any) -> int:
    return 16 if image.tile[0][3].endswith(";16B") else 8


def _bits_of_tiff(image: Any) -> int:
    # Tag 258 is BitsPerSample, one number per channel; its default is 1.
    return max(image.tag_v2.get(258, (1,)))


def _bits_of_ppm(image: Any) -> int:
    """Return 16 if the header's largest value takes two bytes, 32 for floating-point numbers, else 8."""
    if image.mode == "F":
        return 32
    # The decoder's arguments are (raw mode, largest value) where Pillow has to scale the values to 8 bits.
    arguments = image.tile[0][3]
    is_wide = image.mode == "I" or (isinstance(arguments, tuple) and arguments[1] > 255)
    return 16 if is_wide else 8


def _bits_of_avif(image: Any) -> int:
    """Return the largest bit depth in the AV1 codec configurations, one for each picture in the file."""
    image.fp.seek(0)
    # Box av1C: marker and version 0x81, a byte of profile and level, then the byte with both depth flags.
    flags = [match[1][0] for match in re.finditer(rb"av1C\x81.(.)", image.fp.read(), re.DOTALL)]
    return max((_AV1_BITS[flag >> 5 & 3] for flag in flags), default=8)


# Bits per channel in the file, by format: the mode of a colour picture does not show them, as Pillow reduces
# its channels to 8 bits.
_BITS: Mapping[str, Callable[[Any], int]] = {
    **{"PNG": _bits_of_png, "TIFF": _bits_of_tiff},
    **{"PPM": _bits_of_ppm, "AVIF": _bits_of_avif},
}


def printable_path(path: Path | str) -> str:
    r"""Return a path for a message: unprintable characters and bytes that are not UTF-8 are escaped.

    Example:
        >>> printable_path("new\nline.png")
        'new\\nline.png'
    """
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
