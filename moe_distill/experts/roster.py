"""Who the experts are: each with its method, its settings and its number of images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

from annotated_types import MinLen

from moe_distill.errors import FieldError, InputError
from moe_distill.experts.filling import MethodFactory, Presets, kind_of
from moe_distill.models.base import NetworkFactory
from moe_distill.store.identity import describe, word_of
from moe_distill.validation.values import Count, Experts, checked


class _Member(TypedDict):
    method: MethodFactory


class Member(_Member, total=False):
    """An expert of a list, which has a method.

    Attributes:
        ipc: Stored images per class, if not the split's.
        network: Builds the architecture it distils with, if that is its own.
    """

    ipc: Count
    network: NetworkFactory | None


@dataclass(frozen=True)
class ExpertSpec:
    """One expert before it is built.

    Attributes:
        method: Builds the method, every setting decided.
        ipc: Stored images per class.
        row: The ipc of the row of published settings that was used; None if there is none.
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
    def num_experts(self) -> int:
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
        return f"{names[0]}x{self.num_experts}" if len(set(names)) == 1 else "+".join(names)

    def _apart(self, member: ExpertSpec) -> str:
        """Return the settings of a member in which others of the same word differ from it."""
        others = [m.settings for m in self.members if str(m) == str(member)]
        differing = {k: v for k, v in member.settings.items() if any(o.get(k) != v for o in others)}
        return "".join(f"-{k}{_word(v)}" for k, v in differing.items())


@checked
def same(method: MethodFactory, presets: Presets, ipc: Count, noe: Experts) -> Roster:
    """Return ``noe`` experts of one method with ``ipc`` images per class each.

    Args:
        method: The method; settings that it leaves out are looked up.
        presets: Where they are looked up.
        ipc: Stored images per class of each expert.
        noe: Number of experts.
    """
    return Roster((_specified({"method": method, "ipc": ipc}, presets, ipc * noe),) * noe)


@checked
def uneven(
    method: MethodFactory, presets: Presets, ipcs: Annotated[Sequence[Count], MinLen(1)], budget: Count
) -> Roster:
    """Return experts of one method that share a budget unequally.

    Args:
        method: See :func:`same`, as is ``presets``.
        presets: See ``method``.
        ipcs: Stored images per class of each expert; there are as many experts as numbers.
        budget: What they must sum to: the split's ipc times its noe.

    Raises:
        FieldError: The numbers do not sum to the budget.
    """
    if sum(ipcs) != budget:
        raise FieldError("ipcs", list(ipcs), f"numbers that sum to the split's budget, ipc * noe = {budget}")
    return Roster(tuple(_specified({"method": method, "ipc": ipc}, presets, budget) for ipc in ipcs))


@checked
def listed(
    members: Sequence[Member] | Mapping[Any, Member], presets: Presets, ipc: Count, noe: Experts
) -> Roster:
    """Return a roster of members that may differ in method, settings, network and ipc.

    Args:
        members: Each with ``method``, ``ipc`` unless it is the split's, and ``network`` if it has its own; a
            mapping's values in order.
        presets: See :func:`same`.
        ipc: The split's ipc; the members' must sum to ``ipc * noe``.
        noe: The split's number of experts, which must be the number of members.

    Raises:
        InputError: The members do not agree with the split.
    """
    entries = members.items() if isinstance(members, Mapping) else enumerate(members)
    rows: dict[str, Member] = {f"members.{name}": {"ipc": ipc, **member} for name, member in entries}
    total = sum(row["ipc"] for row in rows.values())
    if len(rows) != noe or total != ipc * noe:
        have = f"{len(rows)} members with {total} images per class"
        raise InputError(
            "experts", have, f"a roster that agrees with the split: noe={noe}, ipc * noe = {ipc * noe}"
        )
    return Roster(tuple(_specified(row, presets, total, path) for path, row in rows.items()))


def _specified(member: Member, presets: Presets, budget: int, path: str = "") -> ExpertSpec:
    """Return a member with every setting decided and checked, its own path being ``path``."""
    method, ipc = member["method"], member["ipc"]
    try:
        filled, row = presets.fill(method, budget if kind_of(method).row_by == "budget" else ipc)
    except FieldError as error:
        of_member = path and error.key.partition(".")[0] == "method"
        raise error.inside(path) if of_member else error from error
    return ExpertSpec(filled, ipc, row, member.get("network"), f"{path}.method" if path else "method")


def _word(described: Any) -> str:
    """Return a described setting in a word: itself, or the name of what it builds."""
    return str(described["_target_"]).lower() if isinstance(described, dict) else str(described)
