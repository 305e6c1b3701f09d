"""Conventions of other programs: the order of a data set's classes, and the statistics of its pixels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from moe_distill.data.real_set import Statistics
from moe_distill.errors import InputError
from moe_distill.synthetic.formats.foreign import ForeignSet, TargetData

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
    """The convention of a family of programs.

    Args:
        statistics: Mean and std of the channels that pixels are standardised by, for each data set.
        orders: Class names in the order of the labels, for data sets whose order is not that of this package.
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
    foreign: ForeignSet, dataset: str, wanted: TargetData, convention: str, names: Sequence[str] | None
) -> list[int]:
    """Return the class in the data of each label in a set's files.

    Args:
        foreign: The set as it was read.
        dataset: Name of the data.
        wanted: Classes of the data.
        convention: Whose label order it is: a name in :data:`CONVENTIONS`, ``ours``, or ``auto`` to infer it
            from the files or their layout.
        names: Class names in the order of the labels, given by the user; they override everything else.

    Raises:
        InputError: If the order is ambiguous, or the classes are not those of the data.
    """
    if names is not None:
        key = "pipeline.classes"
    elif convention == AUTO and foreign.order is not None:
        key, names = "classes of the set", foreign.order
    else:
        key, names = "pipeline.classes", _order_by_convention(foreign, dataset, wanted, convention)
    # Class names come second, so that they win over an equal WordNet id.
    by_name = {**_numbered(wanted.synsets), **_numbered(wanted.classes)}
    order = [by_name.get(name, -1) for name in names]
    if sorted(order) != list(range(len(wanted.classes))):
        unknown = [name for name in names if name not in by_name]
        repeated = [name for name in names if names.count(name) > 1]
        allowed = f"each of the {len(wanted.classes)} classes of {dataset} once"
        raise InputError(
            key,
            f"[{', '.join(unknown or repeated or names)}]",
            f"{allowed}: {', '.join(wanted.classes[:10])} …",
        )
    return order


def statistics_of(foreign: ForeignSet, dataset: str, convention: str) -> tuple[Statistics, Statistics] | None:
    """Return the mean and std that a set's values are standardised by; None if they are the data's.

    They are also taken to be the data's if nothing else is known.

    Args:
        foreign: The set as it was read.
        dataset: Name of the data.
        convention: As for :func:`label_order`.
    """
    if convention == AUTO and foreign.statistics is not None:
        return foreign.statistics
    name = foreign.convention if convention == AUTO else convention
    return None if name in (None, OURS) else CONVENTIONS[name].statistics.get(dataset)


def require_statistics(foreign: ForeignSet, dataset: str, convention: str) -> None:
    """Check that it is known which mean and std a set's values are standardised by.

    Args:
        foreign: The set as it was read.
        dataset: Name of the data.
        convention: As for :func:`label_order`.

    Raises:
        InputError: If it is not known, and programs use different ones for the data set.
    """
    by_program = {name: c.statistics[dataset] for name, c in CONVENTIONS.items() if dataset in c.statistics}
    unknown = convention == AUTO and foreign.convention is None and foreign.statistics is None
    if unknown and len({*by_program.values()}) > 1:
        reason = f"programs standardise {dataset} by different numbers"
        raise InputError(KEY, convention, f"{_choices([*by_program])}: {reason}")


def require_convention(convention: str, dataset: str) -> None:
    """Check that a convention is known for a data set.

    Raises:
        InputError: If it is not.

    Example:
        >>> require_convention("mtt", "cifar10")
    """
    known = [AUTO, OURS, *(name for name, c in CONVENTIONS.items() if dataset in c.statistics)]
    if convention not in known:
        raise InputError(KEY, convention, f"{' or '.join(known)} for {dataset}")


def _order_by_convention(
    foreign: ForeignSet, dataset: str, wanted: TargetData, convention: str
) -> Sequence[str]:
    name = _inferred(foreign, dataset) if convention == AUTO else convention
    return wanted.classes if name == OURS else CONVENTIONS[name].orders.get(dataset, wanted.classes)


def _inferred(foreign: ForeignSet, dataset: str) -> str:
    """Return the convention of a layout, or ``ours`` if all programs number the data set's classes alike."""
    deviating = [name for name, c in CONVENTIONS.items() if dataset in c.orders]
    # A layout of a program that has no order for this data set says nothing about it.
    if foreign.convention is not None and (not deviating or foreign.convention in deviating):
        return foreign.convention
    if deviating:
        reason = f"programs number the classes of {dataset} differently, and these files do not show which"
        raise InputError(KEY, AUTO, f"{_choices(deviating)}, or pipeline.classes=[…]: {reason}")
    return OURS


def _choices(known: Sequence[str]) -> str:
    return f"{' or '.join([OURS, *known])}, set explicitly"


def _numbered(names: Sequence[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(names)}
