"""The layouts of public distilled sets, which are recognised by their file names."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from moe_distill.data.pictures import class_folders
from moe_distill.errors import InputError
from moe_distill.synthetic.formats import readers
from moe_distill.synthetic.formats.foreign import KEY, ForeignSet, TargetData
from moe_distill.synthetic.formats.generic import ENDINGS, read_file, read_files, tensor_files
from moe_distill.synthetic.formats.image_folder import read_folder

AUTO = "auto"


@dataclass(frozen=True)
class Layout:
    """A way of storing a set.

    Args:
        name: Its name on the command line.
        files: Description of the files, for errors.
        fits: Returns True if a path looks like this layout, judging by names alone.
        read: Reads a set of this layout.
        tiled: Whether stored images may hold several small ones without a mark in the files.
        any_name: Whether files may have any name; other layouts that fit are then preferred.
    """

    name: str
    files: str
    fits: Callable[[Path], bool]
    read: Callable[[Path, TargetData], ForeignSet]
    tiled: bool = False
    any_name: bool = False


def _named(pattern: str) -> Callable[[Path], bool]:
    return lambda path: path.is_file() and re.fullmatch(pattern, path.name) is not None


def _holding(name: str) -> Callable[[Path], bool]:
    return lambda path: (path / name).is_file()


def _is_file(path: Path) -> bool:
    return path.is_file() and path.suffix in ENDINGS


def _are_files(path: Path) -> bool:
    return len(tensor_files(path)) > 1


# Recognised by names alone: no file is opened before its layout is known.
LAYOUTS = (
    Layout("dc", "a file res_<method>_….pt", _named(r"res_.*\.pt"), readers.read_dc),
    Layout("idc", "a file data….pt", _named(r"data.*\.pt"), readers.read_idc, tiled=True),
    Layout("random", "a file …_images.pt beside …_labels.pt", _named(r".*_images\.pt"), readers.read_random),
    Layout("idm", "a file acc_<accuracy>.pkl", _named(r"acc_.*\.pkl"), readers.read_idm),
    Layout("kip", "a file kip….npz or …ssize….npz", _named(r"(kip.*|.*ssize.*)\.npz"), readers.read_kip),
    Layout(
        "mtt", "a folder with images_best.pt and labels_best.pt", _holding("images_best.pt"), readers.read_mtt
    ),
    Layout("tensors", "a folder with images.pt", _holding("images.pt"), readers.read_tensors),
    Layout(
        "folder",
        "a folder with <class>/*.png or *.jpg",
        lambda path: bool(class_folders(path, KEY)),
        read_folder,
    ),
    Layout("file", f"a file of images and labels, {', '.join(ENDINGS)}", _is_file, read_file, any_name=True),
    Layout(
        "files", "a folder with such a file of each class or expert", _are_files, read_files, any_name=True
    ),
)


def layout_of(path: Path, name: str = AUTO) -> Layout:
    """Return the layout of a path, or the layout with the given name.

    Raises:
        InputError: If there is nothing at the path, no layout or several fit, or no layout has that name.
    """
    if not path.exists():
        raise InputError(KEY, path, "a file or folder of a distilled set; there is nothing there")
    if name != AUTO:
        chosen = [layout for layout in LAYOUTS if layout.name == name]
        if not chosen:
            raise InputError("pipeline.layout", name, f"one of {AUTO}, {', '.join(x.name for x in LAYOUTS)}")
        return chosen[0]
    if _is_of_this_package(path):
        raise InputError(KEY, path, "a set of another program; pipeline=evaluate takes this one as it is")
    fitting = [layout for layout in LAYOUTS if layout.fits(path)]
    # A published layout goes before "any file of tensors"; two published ones are for the user to decide.
    fitting = [layout for layout in fitting if not layout.any_name] or fitting
    if len(fitting) > 1:
        raise InputError("pipeline.layout", AUTO, f"{' or '.join(x.name for x in fitting)}: {path} fits each")
    if not fitting:
        known = "; ".join(f"{x.files} ({x.name})" for x in LAYOUTS)
        raise InputError(KEY, path, f"{known}; other names with pipeline.layout=<the word in brackets>")
    return fitting[0]


def _is_of_this_package(path: Path) -> bool:
    """Return True if a path looks like a set that this package wrote."""
    if path.is_dir():
        return any(path.glob("expert_*.safetensors"))
    has_our_name = re.fullmatch(r"expert_\d+\.safetensors", path.name) is not None
    # Sets of this package have their metadata in a JSON beside the tensors, whatever they are called.
    return has_our_name or (path.suffix == ".safetensors" and path.with_suffix(".json").is_file())
