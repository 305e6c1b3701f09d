"""Who the experts are: each with its method, its settings and its number of images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict, cast

from annotated_types import MinLen

from moe_distill.errors import FieldError, InputError
from moe_distill.experts.filling import MethodFactory, build_once, check_row, fill, nearest_row, setting_at
from moe_distill.methods.base import Method
from moe_distill.models.base import NetworkFactory
from moe_distill.store.identity import describe, word_of
from moe_distill.validation.misfits import PUBLISHED
from moe_distill.validation.values import Count, Experts, Presets, Shortened, checked


class _Member(TypedDict):
    method: MethodFactory


class Member(_Member, total=False):
    """An expert of a list, which has a method.

    Attributes:
        presets: See :func:`same`.
        ipc: Stored images per class, if not the split's.
        network: Builds the architecture it distils with, if that is its own.
    """

    presets: Presets
    ipc: Count
    network: NetworkFactory | None


def kind_of(method: MethodFactory) -> type[Method]:
    """Return the class that a method's builder builds."""
    return cast(type[Method], method.func)


@dataclass(frozen=True)
class ExpertSpec:
    """One expert before it is built.

    Attributes:
        method: Builds the method, every setting decided.
        ipc: Stored images per class.
        row: The ipc of the row of published settings that was used; None if none was needed.
        network: Builds the architecture it distils with, where that is its own and not the run's.
        where: Where the method stands in what made the roster.
    """

    method: MethodFactory
    ipc: int
    row: int | None = field(default=None, metadata={"describe": False})
    network: NetworkFactory | None = None
    where: str = field(default="method", metadata={"describe": False})

    @property
    def name(self) -> str:
        """The method's name as users type it."""
        return word_of(self.method.func)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the method and of its own network, described."""
        own = {} if self.network is None else describe(self.network)
        return {k: v for part in (describe(self.method), own) for k, v in part.items() if k != "_target_"}

    def __str__(self) -> str:
        """Return a word such as ``idm5`` or ``idm5-vgg11``."""
        if self.network is None:
            return f"{self.name}{self.ipc}"
        return f"{self.name}{self.ipc}-{word_of(getattr(self.network, 'func', self.network))}"


@dataclass(frozen=True)
class Roster:
    """The experts of a mixture, in order."""

    members: tuple[ExpertSpec, ...]

    @property
    def noe(self) -> int:
        """Number of experts."""
        return len(self.members)

    @property
    def budget(self) -> int:
        """Stored images per class of all experts together."""
        return sum(m.ipc for m in self.members)

    @property
    def method(self) -> str:
        """The methods' names, joined by ``+`` where they differ."""
        return "+".join(dict.fromkeys(m.name for m in self.members))

    @property
    def ipc(self) -> str:
        """The experts' ipc, joined by ``+`` where they differ."""
        sizes = [m.ipc for m in self.members]
        return str(sizes[0]) if len(set(sizes)) == 1 else "+".join(map(str, sizes))

    @property
    def decoded_per_class(self) -> list[int]:
        """Images per class that networks see of each expert's set."""
        return [m.ipc * m.method().tiling.per_image for m in self.members]

    def __str__(self) -> str:
        """Return a word such as ``idm5x2``, ``dm5+idm5`` or ``idm5-factor1+idm5-factor2``."""
        names = [str(m) + self._apart(m) for m in self.members]
        return f"{names[0]}x{self.noe}" if len(set(names)) == 1 else "+".join(names)

    def _apart(self, member: ExpertSpec) -> str:
        """Return the settings of a member in which others of the same word differ from it."""
        others = [m.settings for m in self.members if str(m) == str(member)]
        differing = {k: v for k, v in member.settings.items() if any(o.get(k) != v for o in others)}
        return "".join(f"-{k}{_word(v)}" for k, v in differing.items())


@checked
def same(method: MethodFactory, presets: Presets, shorten: Shortened, ipc: Count, noe: Experts) -> Roster:
    """Return ``noe`` experts of one method with ``ipc`` images per class each.

    Args:
        method: The method; settings that say ``published`` are looked up.
        presets: Rows of published settings by ipc: the first there are of ``normalised`` (this data set, normalised
            as it is), ``published`` (this data set) and ``otherwise``.
        shorten: Settings by method name with which the scale replaces published ones.
        ipc: Stored images per class of each expert.
        noe: Number of experts.
    """
    member = _specified({"method": method, "presets": presets, "ipc": ipc}, shorten, ipc * noe, "")
    return Roster((member,) * noe)


@checked
def uneven(
    method: MethodFactory,
    presets: Presets,
    shorten: Shortened,
    ipcs: Annotated[Sequence[Count], MinLen(1)],
    budget: Count,
) -> Roster:
    """Return experts of one method that share a budget unequally.

    Args:
        method: See :func:`same`, as are ``presets`` and ``shorten``.
        presets: See ``method``.
        shorten: See ``method``.
        ipcs: Stored images per class of each expert; there are as many experts as numbers.
        budget: What they must sum to: the split's ipc times its noe.

    Raises:
        InputError: The numbers do not sum to the budget.
    """
    if sum(ipcs) != budget:
        raise FieldError("ipcs", list(ipcs), f"numbers that sum to the split's budget, ipc * noe = {budget}")
    rows = [{"method": method, "presets": presets, "ipc": ipc} for ipc in ipcs]
    return Roster(tuple(_specified(row, shorten, budget, "") for row in rows))


@checked
def listed(members: Sequence[Member] | Mapping[Any, Member], shorten: Shortened, ipc: Count, noe: Experts) -> Roster:
    """Return a roster of members that may differ in method, settings, network and ipc.

    Args:
        members: Each with ``method``, ``presets``, ``ipc`` unless it is the split's, and, if it has its own,
            ``network``; a mapping's values in order.
        shorten: See :func:`same`.
        ipc: The split's ipc; the members' must sum to ``ipc * noe``.
        noe: The split's number of experts, which must be the number of members.

    Raises:
        InputError: The members do not agree with the split.
    """
    entries = members.items() if isinstance(members, Mapping) else enumerate(members)
    rows: dict[str, dict[str, Any]] = {f"members.{name}": {"ipc": ipc, **m} for name, m in entries}
    total = sum(row["ipc"] for row in rows.values())
    if len(rows) != noe or total != ipc * noe:
        have = f"{len(rows)} members with {total} images per class"
        raise InputError("experts", have, f"a roster that agrees with the split: noe={noe}, ipc * noe = {ipc * noe}")
    return Roster(tuple(_specified(row, shorten, total, path) for path, row in rows.items()))


def _specified(member: Mapping[str, Any], shorten: Mapping[str, Any], budget: int, path: str) -> ExpertSpec:
    """Return a member with every setting decided and checked, its own path being ``path``."""
    method, presets, ipc = member["method"], member.get("presets", {}), member["ipc"]
    prefix = f"{path}." if path else ""
    name = word_of(method.func)
    of = next((of for of in ("normalised", "published", "otherwise") if presets.get(of)), "otherwise")
    rows = {int(row): settings for row, settings in (presets.get(of) or {}).items()}
    row = nearest_row(list(rows), budget if kind_of(method).row_by == "budget" else ipc)
    published, shorter = rows.get(row, {}) if row is not None else {}, shorten.get(name) or {}
    check_row(method, published, f"{prefix}presets.{of}.{row}")
    check_row(method, shorter, f"shorten.{name}")
    filled = fill(method, published, shorter, f"{prefix}method")
    try:
        build_once(filled)
    except FieldError as error:
        setting = error.key.split(".")
        whence = f"{prefix}method"
        if setting_at(method, setting) == PUBLISHED:
            whence = f"{prefix}presets.{of}.{row}" if setting_at(shorter, setting) is None else f"shorten.{name}"
        raise error.inside(whence) from error
    return ExpertSpec(filled, ipc, row, member.get("network"), f"{prefix}method")


def _word(described: Any) -> str:
    """Return a described setting in a word: itself, or the name of what it builds."""
    return str(described["_target_"]).lower() if isinstance(described, dict) else str(described)
