"""What sets and variants are called on a page: in words, beside the code that rows and files know them by."""

from collections.abc import Sequence

from moe_distill.reports.break_even import FULL
from moe_distill.results.rows import Row, variant_names
from moe_distill.results.set_names import set_of

_SEED = " seed "
_JUDGING = ("fusion", "recipe", "recipe_key", "epochs", "images_decoded")
_SELECTIONS = {
    "first": "first real images",
    "random": "random real images",
    "herding": "real images chosen by herding",
    "kcenter": "real images chosen by k-center",
    "kmeans": "real images chosen by k-means",
    FULL: "all real images",
}


def describe_set(row: Row) -> str:
    """Return what a row's student was trained on: ``IDM, 2 experts of 5 images a class``."""
    methods = str(row["method"]).split("+")
    sizes, experts = str(row["ipc"]).replace("+", " and "), str(row["noe"])
    if methods == [FULL]:
        return "All real images"
    if len(methods) == 1 and (chosen := _SELECTIONS.get(methods[0].removesuffix("_tiled"))):
        tiled = ", tiled" * methods[0].endswith("_tiled")
        words = f"{chosen[0].upper()}{chosen[1:]}{tiled}"
        return f"{words}, {sizes} a class" if experts == "1" else f"{words}, {experts} times {sizes} a class"
    name = " and ".join(dict.fromkeys(method.upper() for method in methods))
    images = "image" if sizes == "1" else "images"
    return f"{name}, {experts} expert{'s' * (experts != '1')} of {sizes} {images} a class"


def set_names(rows: Sequence[Row]) -> dict[str, str]:
    """Return what each set is called, by ``set_of``: what tells sets apart, however they were judged.

    Sets that differ in their distillation seed alone have it in their names.
    """
    names = variant_names([{**row, **dict.fromkeys(_JUDGING)} for row in rows])
    prints: dict[str, set[str]] = {}
    for row, name in zip(rows, names, strict=True):
        prints.setdefault(name, set()).add(set_of(row))
    return {
        set_of(row): f"{name}{_SEED}{row['distill_seed']}" if len(prints[name]) > 1 else name
        for row, name in zip(rows, names, strict=True)
    }


def without_seed(name: str) -> str:
    """Return a set's name without the distillation seed that may stand at its end."""
    return name.partition(_SEED)[0]


def lead_name(dataset: str, variant: str, opponent: str, with_dataset: bool) -> str:
    """Return the two lines that name a variant and its opponent beside a chart."""
    return f"{dataset} {variant}\nover {opponent}" if with_dataset else f"{variant}\nover {opponent}"
