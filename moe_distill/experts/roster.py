"""The roster: every expert with its method, settings and number of images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any, Literal, TypedDict

from annotated_types import MinLen

from moe_distill.errors import FieldError, InputError
from moe_distill.experts.filling import MethodFactory, Presets, kind_of
from moe_distill.experts.rotation import Balanced, Rotation
from moe_distill.experts.sequence import Conditioning, WarmStart
from moe_distill.methods.base import Method
from moe_distill.models.base import NetworkFactory
from moe_distill.store.identity import describe, word_of
from moe_distill.validation.values import Count, Experts, checked


class _Member(TypedDict):
    method: MethodFactory


class Member(_Member, total=False):
    """An expert as an entry of a list; the method is required.

    Attributes:
        ipc: Stored images per class, if not those of the split.
        network: Builds the architecture it distils with, if not the run's.
    """

    ipc: Count
    network: NetworkFactory | None


@dataclass(frozen=True)
class ExpertSpec:
    """The specification of one expert.

    Attributes:
        method: Builds the method, with every setting filled in.
        ipc: Stored images per class.
        row: The ipc of the row of published settings that was used; None without a row.
        network: Builds the architecture it distils with; None for the run's.
        where: Path of the method in the roster's configuration, for error messages.
        rotation: Architectures that take turns, in place of one; or None.
    """

    method: MethodFactory
    ipc: int
    # Not in keys: it tells where settings came from, while the settings themselves are in the method.
    row: int | None = field(default=None, metadata={"describe": False})
    network: NetworkFactory | None = None
    where: str = field(default="method", metadata={"describe": False})
    rotation: Rotation | None = None

    @property
    def networks(self) -> tuple[NetworkFactory | None, ...]:
        """Builders of the architectures that take turns, or of the only one; None for the run's."""
        return self.rotation.networks if self.rotation else (self.network,)

    @property
    def name(self) -> str:
        """Name of the method as users type it."""
        return word_of(self.method.func)

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the method and of the expert's own networks, as they are described in keys."""
        network = {} if self.network is None else describe(self.network)
        rotation = {} if self.rotation is None else self.rotation.settings
        settings = {**describe(self.method), **network, **rotation}
        # The name of the class is no setting: it is in the word already.
        settings.pop("_target_", None)
        return settings

    def __str__(self) -> str:
        """Return a word such as ``idm5``, ``idm5-vgg11`` or ``idm5-pool-norm-convnet-vgg11``."""
        if self.rotation is not None:
            return f"{self.name}{self.ipc}-{self.rotation}"
        if self.network is None:
            return f"{self.name}{self.ipc}"
        return f"{self.name}{self.ipc}-{word_of(getattr(self.network, 'func', self.network))}"


@dataclass(frozen=True)
class Roster:
    """The experts of a mixture, in order.

    Attributes:
        members: Their specifications.
        conditioning: What each knows of those before it, if they are made one after another.
    """

    members: tuple[ExpertSpec, ...]
    conditioning: Conditioning | None = None

    @property
    def num_experts(self) -> int:
        """The number of experts."""
        return len(self.members)

    @property
    def budget(self) -> int:
        """Total stored images per class of all experts."""
        return sum(m.ipc for m in self.members)

    @property
    def method(self) -> str:
        """Names of the distinct methods, joined by ``+``."""
        # Distinct names, in roster order.
        return "+".join(dict.fromkeys(m.name for m in self.members))

    @property
    def ipc(self) -> str:
        """The experts' common ipc, or all of them joined by ``+`` if they differ."""
        sizes = [m.ipc for m in self.members]
        return str(sizes[0]) if len(set(sizes)) == 1 else "+".join(map(str, sizes))

    @property
    def decoded_per_class(self) -> list[int]:
        """Decoded images per class of each expert's set."""
        return [m.ipc * m.method().tiling.per_image for m in self.members]

    def __str__(self) -> str:
        """Return a word such as ``idm5x2``, ``dm5+idm5`` or ``idm5-factor1+idm5-factor2``."""
        names = [str(m) + self._differences(m) for m in self.members]
        word = f"{names[0]}x{self.num_experts}" if len(set(names)) == 1 else "+".join(names)
        # A single expert has none before it.
        return f"{word}-{self.conditioning}" if self.conditioning and self.num_experts > 1 else word

    def _differences(self, member: ExpertSpec) -> str:
        """Return the settings in which a member differs from others with the same word."""
        alike = [m.settings for m in self.members if str(m) == str(member)]
        differing = {
            name: value
            for name, value in member.settings.items()
            if any(settings.get(name) != value for settings in alike)
        }
        return "".join(f"-{name}{_word(value)}" for name, value in differing.items())


@checked
def same(method: MethodFactory, presets: Presets, ipc: Count, noe: Experts) -> Roster:
    """Return ``noe`` experts of one method with ``ipc`` images per class each.

    Args:
        method: The method; its missing settings are filled in from ``presets``.
        presets: Sources of missing settings.
        ipc: Stored images per class of each expert.
        noe: Number of experts.
    """
    # The same specification for all experts: they differ by their number and data only.
    return Roster((_specified({"method": method, "ipc": ipc}, presets, ipc * noe),) * noe)


@checked
def uneven(
    method: MethodFactory, presets: Presets, ipcs: Annotated[Sequence[Count], MinLen(1)], budget: Count
) -> Roster:
    """Return experts of one method that share a budget unequally.

    Args:
        method: The method; its missing settings are filled in from ``presets``.
        presets: Sources of missing settings.
        ipcs: Stored images per class, one number per expert.
        budget: The required sum of ``ipcs``: the split's ipc times its noe.

    Raises:
        FieldError: ``ipcs`` does not sum to the budget.
    """
    if sum(ipcs) != budget:
        raise FieldError("ipcs", list(ipcs), f"numbers that sum to the split's budget, ipc * noe = {budget}")
    return Roster(tuple(_specified({"method": method, "ipc": ipc}, presets, budget) for ipc in ipcs))


@checked
def pooled(
    method: MethodFactory,
    presets: Presets,
    ipc: Count,
    noe: Experts,
    networks: Annotated[Mapping[str, NetworkFactory], MinLen(1)],
    balance: Balanced | None = None,
) -> Roster:
    """Return experts like those of :func:`same`, with several architectures that take turns at each set.

    Args:
        method: The method; its missing settings are filled in from ``presets``.
        presets: Sources of missing settings.
        ipc: Stored images per class of each expert.
        noe: Number of experts.
        networks: Builders of the architectures by any name, in the order of their turns.
        balance: How gradients are balanced among the architectures; None for the method's own way.

    Raises:
        InputError: The method distils with no network.
    """
    kind = _learner(method, "pooled")
    roster = same(method, presets, ipc, noe)
    rotation = Rotation(tuple(networks.values()), balance or kind.balance)
    return Roster(tuple(replace(member, rotation=rotation) for member in roster.members))


@checked
def sequence(
    method: MethodFactory,
    presets: Presets,
    ipc: Count,
    noe: Experts,
    iterations: Literal["total", "each"],
    union: bool,
    warm: WarmStart | None,
) -> Roster:
    """Return experts like those of :func:`same` that are made one after another, from all real images each.

    Args:
        method: The method; its missing settings are filled in from ``presets``.
        presets: Sources of missing settings.
        ipc: Stored images per class of each expert.
        noe: Number of experts.
        iterations: Whether the method's iterations are those of ``each`` expert, or the ``total`` of all.
        union: Whether each expert's images are matched together with those before it.
        warm: What its networks start from; None for fresh networks.

    Raises:
        InputError: The method cannot match several sets together, or distils with no network.
    """
    kind = _learner(method, "sequence")
    if union and not kind.matches_union:
        allowed = f"false with method={word_of(kind)}, which cannot match several sets together"
        raise InputError("experts.union", union, allowed)
    members = same(method, presets, ipc, noe).members
    if iterations == "total":
        share = max(1, round(members[0].method().iterations / noe))
        shorter = partial(members[0].method, iterations=share)
        members = tuple(replace(member, method=shorter) for member in members)
    return Roster(members, Conditioning(union, warm))


@checked
def listed(
    members: Sequence[Member] | Mapping[Any, Member], presets: Presets, ipc: Count, noe: Experts
) -> Roster:
    """Return a roster of members that may differ in method, settings, network and ipc.

    Args:
        members: Members, each with ``method``, ``ipc`` unless it is the split's, and ``network`` if it has
            its own; of a mapping, the values in order.
        presets: Sources of missing settings.
        ipc: The split's ipc; the members' ipc must sum to ``ipc * noe``.
        noe: The split's number of experts, which must equal the number of members.

    Raises:
        InputError: The members do not agree with the split.
    """
    entries = members.items() if isinstance(members, Mapping) else enumerate(members)
    by_path: dict[str, Member] = {f"members.{name}": {"ipc": ipc, **member} for name, member in entries}
    # Checked here, since members may have their own ipc.
    total = sum(member["ipc"] for member in by_path.values())
    if len(by_path) != noe or total != ipc * noe:
        value = f"{len(by_path)} members with {total} images per class"
        allowed = f"a roster that agrees with the split: noe={noe}, ipc * noe = {ipc * noe}"
        raise InputError("experts", value, allowed)
    return Roster(tuple(_specified(member, presets, total, path) for path, member in by_path.items()))


def _learner(method: MethodFactory, experts: str) -> type[Method]:
    """Return a method's class, refusing one that distils with no network."""
    kind = kind_of(method)
    if not kind.trainable:
        raise InputError("experts", f"{experts} with method={word_of(kind)}", "a method whose images move")
    return kind


def _specified(member: Member, presets: Presets, budget: int, path: str = "") -> ExpertSpec:
    """Return a member with every setting filled in and checked.

    Args:
        member: The member.
        presets: Sources of missing settings.
        budget: Total ipc of all members, by which some methods choose their row.
        path: Path of the member in the configuration; empty for the run's only method.
    """
    method, ipc = member["method"], member["ipc"]
    try:
        filled, row = presets.fill(method, budget if kind_of(method).row_by == "budget" else ipc)
    except FieldError as error:
        # Other keys, such as ``presets.shorten.idm.lr``, are no part of the member.
        of_member = path and error.key.partition(".")[0] == "method"
        raise error.inside(path) if of_member else error from error
    return ExpertSpec(filled, ipc, row, member.get("network"), f"{path}.method" if path else "method")


def _word(described: Any) -> str:
    """Return a described setting as one word: its value, or the name of the class it builds."""
    return str(described["_target_"]).lower() if isinstance(described, dict) else str(described)
