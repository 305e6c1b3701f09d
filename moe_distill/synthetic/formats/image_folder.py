"""Class folders of 8-bit pictures, read and written."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from unicodedata import normalize

import numpy as np
import torch
from PIL import Image

from moe_distill.data.pictures import as_shown, class_folders, opened, pictures_in
from moe_distill.errors import InputError
from moe_distill.synthetic.formats.about import read_about
from moe_distill.synthetic.formats.foreign import KEY, ForeignSet, TargetData
from moe_distill.synthetic.synthetic_set import Decoded


def read_folder(root: Path, wanted: TargetData) -> ForeignSet:
    """Read ``<class>/*``: folders are class names, WordNet ids, or numbers like ``00000`` or ``new000``.

    Source: SRe2L's programs name their pictures ``new000/class000_id000.jpg``, RDED's programs theirs
        ``00000/…``.

    Raises:
        InputError: If classes, kind, size or colours of a picture differ from the data's, or one is broken.
    """
    folders, order = _in_label_order(root, wanted)
    listed = [(path, label) for label, folder in enumerate(folders) for path in pictures_in(folder, KEY)]
    channels, height, width = wanted.shape
    if len(listed) * channels * height * width * torch.float32.itemsize > wanted.limit:
        raise InputError(KEY, root, f"fewer than {len(listed)} pictures, or a larger pipeline.largest_gib")
    # Left in 8 bits, a quarter of the memory of float32.
    images_NCHW = torch.empty(len(listed), *wanted.shape, dtype=torch.uint8)
    for row, (path, _) in enumerate(listed):
        images_NCHW[row] = _pixels(path, wanted)
    labels_N = torch.tensor([label for _, label in listed])
    first = folders[0].name
    method = "sre2l" if re.fullmatch(r"new\d+", first) and first not in wanted.classes else "folder"
    return ForeignSet(method, images_NCHW, labels_N, (root,), spaces=("raw",), order=order)


def _in_label_order(root: Path, wanted: TargetData) -> tuple[list[Path], tuple[str, ...] | None]:
    """Return the class folders in the order of the labels, and the class names in that order if known."""
    folders = class_folders(root, KEY)
    for classes in (wanted.classes, wanted.synsets):
        names = [normalize("NFC", name) for name in classes]
        if names and set(folders) == set(names):
            return [folders[name] for name in names], wanted.classes
    matches = [match for name in folders if (match := re.fullmatch(r"(\D*)(\d{1,9})", name))]
    numbers = {int(match[2]): folders[match[0]] for match in matches}
    # One prefix for all, and no two folders with one number, such as 1 and 01.
    alike = len({match[1] for match in matches}) == 1 and len(numbers) == len(folders)
    if alike and sorted(numbers) == list(range(len(wanted.classes))):
        return [numbers[label] for label in range(len(wanted.classes))], read_about(root).classes
    some = ", ".join(wanted.classes[:3])
    expected = (
        f"{len(wanted.classes)} class folders named as the data's classes ({some}, …) or 00000, 00001, …"
    )
    raise InputError(KEY, root, f"{expected}; {_differing(set(folders), wanted.classes)}")


def _differing(folders: set[str], classes: Sequence[str]) -> str:
    """Return a description of how the names of folders and classes differ."""
    unexpected = sorted(folders - set(classes))
    missing = [name for name in classes if name not in folders]
    parts = [f"found {len(folders)}"]
    if unexpected:
        parts.append(f"unexpected {_few(unexpected)}")
    if missing:
        parts.append(f"without {_few(missing)}")
    return ", ".join(parts)


def _few(names: Sequence[str]) -> str:
    first = ", ".join(names[:3])
    return f"{first} and {len(names) - 3} more" if len(names) > 3 else first


def _pixels(path: Path, wanted: TargetData) -> torch.Tensor:
    channels, height, width = wanted.shape
    with opened(path, KEY) as picture:
        size, mode = picture.size, picture.mode
        # Checked before it is decoded. A gray picture fits colour data, but not the other way round.
        allowed = size == (width, height) and (channels == 3 or mode == "L")
        pixels_HWC = np.array(as_shown(picture, "RGB" if channels == 3 else "L")) if allowed else None
    if pixels_HWC is None:
        expected = f"pictures of {width}×{height} with 8 bits in {channels} channels"
        raise InputError(KEY, path, f"{expected}; this one is {size[0]}×{size[1]} of mode {mode}")
    return torch.from_numpy(pixels_HWC).view(height, width, channels).permute(2, 0, 1)


def pictures_of(raw_NCHW: torch.Tensor) -> Iterator[Image.Image]:
    """Yield raw images as 8-bit pictures, clamped to [0, 1] and rounded.

    Raises:
        InputError: If they have neither 1 nor 3 channels.
    """
    if raw_NCHW.shape[1] not in (1, 3):
        raise InputError(
            "pipeline.layout", "pictures", f"images of 1 or 3 channels; these have {raw_NCHW.shape[1]}"
        )
    # In float64, so that no value is rounded twice: the error is at most half a step of 8 bits, 1/510.
    pixels_NCHW = (raw_NCHW.double().clamp(0, 1) * 255).round().to(torch.uint8)
    for image_CHW in pixels_NCHW:
        # Pillow takes gray images without a channel axis.
        array = image_CHW[0] if len(image_CHW) == 1 else image_CHW.permute(1, 2, 0).contiguous()
        yield Image.fromarray(array.numpy())


def write_class_folders(raw_NCHW: torch.Tensor, labels_N: torch.Tensor, folder: Path) -> None:
    """Write ``<class number>/<number>.png``, both with five digits.

    Raises:
        InputError: As for :func:`pictures_of`.
    """
    written: Counter[int] = Counter()
    for picture, label in zip(pictures_of(raw_NCHW), labels_N.tolist(), strict=True):
        class_folder = folder / f"{label:05d}"
        class_folder.mkdir(exist_ok=True)
        picture.save(class_folder / f"{written[label]:05d}.png")
        written[label] += 1


def write_with_table(decoded: Decoded, classes: Sequence[str], folder: Path) -> None:
    """Write ``000000.png`` … and ``metadata.jsonl`` with the label, class and expert of each picture.

    Learned labels are the column ``soft_label``, probabilities in float32.

    Args:
        decoded: Raw images with their labels; values are clamped to [0, 1].
        classes: Class names.
        folder: The folder to write to.

    Raises:
        InputError: As for :func:`pictures_of`.
    """
    pictures = pictures_of(decoded.images_MCHW.cpu())
    labels, experts = decoded.labels_M.tolist(), decoded.experts_M.tolist()
    soft_labels = None if decoded.targets_MC is None else decoded.targets_MC.float().tolist()
    # The name and the first column are those that Hugging Face's ``imagefolder`` looks for. Not CSV, which
    # holds no lists.
    with (folder / "metadata.jsonl").open("w", encoding="utf-8") as table:
        for number, (picture, label, expert) in enumerate(zip(pictures, labels, experts, strict=True)):
            name = f"{number:06d}.png"
            picture.save(folder / name)
            row = {"file_name": name, "label": label, "class": classes[label], "expert": expert}
            if soft_labels is not None:
                row["soft_label"] = soft_labels[number]
            table.write(json.dumps(row, ensure_ascii=False) + "\n")
