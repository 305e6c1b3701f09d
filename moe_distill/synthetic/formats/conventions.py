"""How other programs number the classes of data sets and standardise their pixels, where that may not be as
here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from moe_distill.errors import InputError
from moe_distill.synthetic.formats.foreign import Foreign, Statistics, Wanted

AUTO, OURS = "auto", "ours"
KEY = "pipeline.convention"
_CIFAR = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
_CIFAR100 = ((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762))
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# Classes 193, 182, 258, 162, 155, 167, 159, 273, 207 and 229 of ImageNet-1k, by torchvision's names.
_WOOF = (
    *("Australian terrier", "Border terrier", "Samoyed", "beagle", "Shih-Tzu", "English foxhound"),
    *("Rhodesian ridgeback", "dingo", "golden retriever", "Old English sheepdog"),
)


@dataclass(frozen=True)
class Convention:
    """What a family of programs does.

    Args:
        statistics: Mean and std of the channels that it standardises pixels by, by data set.
        orders: Class names in the order of its labels, of data sets where this is not the order here.
    """

    statistics: Mapping[str, tuple[Statistics, Statistics]]
    orders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


_OF_MTT = {
    **{"cifar10": _CIFAR, "cifar100": _CIFAR},
    **{"tinyimagenet": _IMAGENET, "imagenette": _IMAGENET, "imagewoof": _IMAGENET},
}
CONVENTIONS: Mapping[str, Convention] = {
    # utils.py of VICO-UoE/DatasetCondensation (DC, DSA and DM).
    "dc": Convention({"cifar10": _CIFAR, "cifar100": _CIFAR100, "tinyimagenet": _IMAGENET}),
    # utils.py of GeorgeCazenavette/mtt-distillation, which TESLA, FTD, DATM and IDM took over.
    "mtt": Convention(_OF_MTT, {"imagewoof": _WOOF}),
    # ddranking/utils/data.py of NUS-HPC-AI-Lab/DD-Ranking v0.2.
    "ddranking": Convention(_OF_MTT, {"imagewoof": _WOOF}),
}


def label_order(
    foreign: Foreign, dataset: str, wanted: Wanted, said: str, names: Sequence[str] | None
) -> list[int]:
    """Return for each label of a set's files which class it is here.

    Args:
        foreign: What was read.
        dataset: Name of the data.
        wanted: Its classes.
        said: Whose label order it is, by the user: a name of :data:`CONVENTIONS`, ``ours``, or ``auto``,
            which goes by what the files or their layout tell.
        names: The classes in the order of the labels, by the user, which go before all that.

    Raises:
        InputError: It cannot be told, or the classes are not the data's.
    """
    key, named = "pipeline.classes", names
    if named is None and said == AUTO and foreign.order is not None:
        key, named = "classes of the set", foreign.order
    if named is None:
        named = _order_of(dataset, wanted, _whose(foreign, dataset, said))
    by_name = {**_numbered(wanted.synsets), **_numbered(wanted.classes)}
    order = [by_name.get(name, -1) for name in named]
    if sorted(order) != list(range(len(wanted.classes))):
        strange = [name for name in named if name not in by_name] or [
            name for name in named if named.count(name) > 1
        ]
        allowed = f"each of the {len(wanted.classes)} classes of {dataset} once"
        raise InputError(
            key, f"[{', '.join(strange or named)}]", f"{allowed}: {', '.join(wanted.classes[:10])} …"
        )
    return order


def statistics_of(foreign: Foreign, dataset: str, said: str) -> tuple[Statistics, Statistics] | None:
    """Return by which mean and std a set's numbers are standardised where that is known; else None, as for
    the data's.

    See :func:`label_order` for the arguments.
    """
    if said == AUTO and foreign.statistics is not None:
        return foreign.statistics
    known = foreign.convention if said == AUTO else said
    return None if known in (None, OURS) else CONVENTIONS[known].statistics.get(dataset)


def require_statistics(foreign: Foreign, dataset: str, said: str) -> None:
    """Refuse standardised numbers of which it cannot be told by which mean and std; see :func:`label_order`.

    Raises:
        InputError: Programs use several for the data set.
    """
    uses = {name: c.statistics[dataset] for name, c in CONVENTIONS.items() if dataset in c.statistics}
    unknown = said == AUTO and foreign.convention is None and foreign.statistics is None
    if unknown and len({*uses.values()}) > 1:
        raise InputError(
            KEY, said, f"{_choices([*uses])}: programs standardise {dataset} by different numbers"
        )


def require_convention(said: str, dataset: str) -> None:
    """Refuse a name of no convention that is known for a data set.

    Raises:
        InputError: It is none.
    """
    known = [AUTO, OURS, *(name for name, c in CONVENTIONS.items() if dataset in c.statistics)]
    if said not in known:
        raise InputError(KEY, said, f"{' or '.join(known)} for {dataset}")


def _whose(foreign: Foreign, dataset: str, said: str) -> str:
    if said != AUTO:
        return said
    known = [name for name, c in CONVENTIONS.items() if dataset in c.orders]
    if foreign.convention is not None and (not known or foreign.convention in known):
        return foreign.convention
    if known:
        told = f"programs number the classes of {dataset} differently, and these files do not say how"
        raise InputError(KEY, said, f"{_choices(known)}, or pipeline.classes=[…]: {told}")
    return OURS


def _order_of(dataset: str, wanted: Wanted, whose: str) -> Sequence[str]:
    return wanted.classes if whose == OURS else CONVENTIONS[whose].orders.get(dataset, wanted.classes)


def _choices(known: Sequence[str]) -> str:
    return f"{' or '.join([OURS, *known])}, said by you"


def _numbered(names: Sequence[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(names)}
