"""ImageNet's larger subsets: Tiny-ImageNet from its archive, and selected classes of an ImageNet-1k tree."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar

from moe_distill.data.pictures import class_folders, content, printable_path, readable
from moe_distill.data.sources.public_sets import ImageNetSubset
from moe_distill.data.sources.published import PublishedSet
from moe_distill.data.sources.tree import KEY, LAYOUT, Listing, Tree, few, images_in, listed, tree_of
from moe_distill.errors import InputError
from moe_distill.store.tensor_cache import Tensors
from moe_distill.validation.values import Text

ANNOTATIONS = "val_annotations.txt"


@dataclass(frozen=True, kw_only=True)
class ImageNetClasses(PublishedSet):
    """Selected classes of an ImageNet-1k tree, ``train/<wnid>/*`` and ``val/<wnid>/*``.

    The tree may hold other classes as well. Nothing is downloaded, as ImageNet is available to registered
    users only. A tree without ``val/`` may call its held-out part ``test/``. ImageNet-100 is the list of
    Tian, Krishnan and Isola, "Contrastive Multiview Coding" (ECCV 2020, arXiv:1906.05849).

    Args:
        wnids: WordNet ids, in the order of ``classes``.
    """

    wnids: Sequence[Text]
    variant: ClassVar[str] = "imagenet-1k"

    def _files(self) -> str:
        classes = f"{len(self.wnids)} classes"
        return f"an ImageNet-1k folder with train/<wnid>/*.JPEG and val/<wnid>/*.JPEG of {classes}"

    def _has_files(self, root: Path) -> bool:
        return not class_folders(root / "train", KEY).keys().isdisjoint(self.wnids)

    def _own_files(self, root: Path, cache: Path) -> Tensors:
        if self.root is None:
            raise InputError(KEY, None, f"{self._files()}, or {LAYOUT}; it is not downloaded")
        parts = class_folders(root, KEY)
        # ImageNet's own val/ goes before test/, whose images have no labels.
        held_out = "test" if "test" in parts and "val" not in parts else "val"
        for part in ("train", held_out):
            lacking = set(self.wnids) - class_folders(root / part, KEY).keys()
            if lacking:
                raise InputError(KEY, printable_path(root), f"{self._files()}; {part}/ lacks {few(lacking)}")
        train, test = (listed([root / part / wnid for wnid in self.wnids]) for part in ("train", held_out))
        return self.decoded(tree_of(self.wnids, train, test), cache)


def _published(column: int) -> list[str]:
    lines = Path(__file__).with_name("tinyimagenet.txt").read_text().splitlines()
    return [line.split(" ", 1)[column] for line in lines]


@dataclass(frozen=True, kw_only=True)
class TinyImageNet(ImageNetSubset):
    """Tiny-ImageNet (Le and Yang, 2015): 200 classes of 500 training and 50 test images of 64×64 pixels.

    The published test part has no labels: ``val`` is the test set, as in the literature.

    Args:
        classes: The first name in WordNet of each class.
        wnids: WordNet ids, ascending.
    """

    classes: Sequence[Text] = field(default_factory=partial(_published, 1))
    wnids: Sequence[Text] = field(default_factory=partial(_published, 0))
    variant: ClassVar[str] = "tiny-imagenet-200"

    def _folder(self, root: Path) -> Path:
        """Return the folder of the unpacked archive: ``root`` itself, or a folder in it."""
        return root if any(root.glob("train/*/images")) else super()._folder(root)

    def _tree(self, folder: Path) -> Tree:
        train = [folder / "train" / wnid / "images" for wnid in self.wnids]
        with readable(folder, KEY):
            lacking = {path.relative_to(folder).as_posix() for path in train if not path.is_dir()}
        if lacking:
            allowed = (
                f"train/<wnid>/images/*.JPEG of {len(train)} classes, val/images/*.JPEG and val/{ANNOTATIONS}"
            )
            raise InputError(KEY, printable_path(folder), f"{allowed}; it lacks {few(lacking)}")
        return tree_of(self.wnids, listed(train), self._annotated(folder / "val"))

    def _annotated(self, val: Path) -> Listing:
        file = val / ANNOTATIONS
        with readable(file, KEY):
            is_file = file.is_file()
        if not is_file:
            raise InputError(
                KEY, printable_path(file), "a file with the name and class of each image of val/images/"
            )
        images = {path.name: path for path in images_in(val / "images")}
        lines = (line.partition("\t") for line in content(file, KEY).decode(errors="replace").splitlines())
        classes = {name: rest.split("\t")[0] for name, _, rest in lines}
        # File names without a line, lines without a file, and classes that occur on one side only.
        mismatches = (images.keys() ^ classes.keys()) | (set(classes.values()) ^ set(self.wnids))
        if mismatches:
            allowed = f"a line for each image of val/images/, and images of all {len(self.wnids)} classes"
            raise InputError(KEY, printable_path(file), f"{allowed}; mismatches: {few(mismatches)}")
        # By class and then by name, the order in which class folders are read.
        ranked = sorted((self.wnids.index(wnid), images[name]) for name, wnid in classes.items())
        return tuple((path, label) for label, path in ranked)
