"""What sets and variants are called on a page: in words, next to the code that rows and files use."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from moe_distill.reports.break_even import FULL
from moe_distill.results.frames import as_text
from moe_distill.results.rows import variant_names
from moe_distill.results.set_names import set_name

if TYPE_CHECKING:
    import polars as pl

_SEED = " seed "
# Columns of how a set was evaluated, which is no part of its name.
_EVALUATION = ("fusion", "recipe", "recipe_key", "epochs", "images_decoded")
_SELECTIONS = {
    "first": "first real images",
    "random": "random real images",
    "herding": "real images chosen by herding",
    "kcenter": "real images chosen by k-center",
    "kmeans": "real images chosen by k-means",
    "el2n": "real images chosen by EL2N",
    "forgetting": "real images chosen by forgetting",
    "aum": "real images chosen by AUM",
    "ccs": "real images chosen by CCS",
    FULL: "all real images",
}


def describe_set(method: str, ipc: Sequence[int], noe: int) -> str:
    """Return in words what students were trained on.

    Args:
        method: The method, several joined by plus signs.
        ipc: Images per class of each expert; a single number is that of every expert.
        noe: The number of experts.

    >>> describe_set("idm", [5], 2)
    'IDM, 2 experts of 5 images a class'
    >>> describe_set("random_tiled", [10], 1)
    'Random real images, tiled, 10 a class'
    """
    methods = method.split("+")  # experts of several methods
    sizes = " and ".join(map(str, ipc))
    if methods == [FULL]:  # whose images per class are not a choice
        return "All real images"
    selection = _SELECTIONS.get(methods[0].removesuffix("_tiled"))
    if len(methods) == 1 and selection:
        tiled = ", tiled" if methods[0].endswith("_tiled") else ""
        words = f"{selection[0].upper()}{selection[1:]}{tiled}"
        return f"{words}, {sizes} a class" if noe == 1 else f"{words}, {noe} times {sizes} a class"
    name = " and ".join(dict.fromkeys(part.upper() for part in methods))
    experts = "expert" if noe == 1 else "experts"
    images = "image" if sizes == "1" else "images"
    return f"{name}, {noe} {experts} of {sizes} {images} a class"


def set_names(frame: "pl.DataFrame") -> dict[str, str]:
    """Return what each set is called, by its name in rows (``set_of``).

    A set evaluated in several ways has one name. Sets that differ in their distillation seed alone have the
    seed in their names.

    Args:
        frame: Result rows.
    """
    import polars as pl

    # Null tells nothing apart, see ``variant_names``.
    hidden = [pl.lit(None, frame.schema[column]).alias(column) for column in _EVALUATION]
    names = variant_names(frame.with_columns(hidden))
    seeds = frame.select(set_name(), as_text("distill_seed"))
    sets_of: dict[str, set[str]] = {}
    for set_, name in zip(seeds["set_fingerprint"], names, strict=True):
        sets_of.setdefault(name, set()).add(set_)
    return {
        set_: f"{name}{_SEED}{seed}" if len(sets_of[name]) > 1 else name
        for (set_, seed), name in zip(seeds.iter_rows(), names, strict=True)
    }


def without_seed(name: str) -> str:
    """Return a set's name without the distillation seed that it may end with.

    >>> without_seed("dm5x2 seed 1"), without_seed("dm5x2")
    ('dm5x2', 'dm5x2')
    """
    return name.partition(_SEED)[0]


def lead_name(dataset: str, variant: str, opponent: str, with_dataset: bool) -> str:
    """Return the two lines that name a variant and its opponent beside a chart.

    Args:
        dataset: The data set.
        variant: The variant's name.
        opponent: The opponent's name.
        with_dataset: Whether the data set is named too.
    """
    return f"{dataset} {variant}\nover {opponent}" if with_dataset else f"{variant}\nover {opponent}"
