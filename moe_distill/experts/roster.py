"""Who the experts are: each with its method, its settings and its number of images."""

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from moe_distill.errors import InputError
from moe_distill.methods.base import Method
from moe_distill.models.base import NetworkFactory
from moe_distill.records import describe

MethodFactory = functools.partial[Method]
PUBLISHED = "published"
_ABOVE_ZERO = {"iterations", "lr", "lr_images", "real_batch", "synthetic_batch", "network_batch", "base_size", "outer"}
_FROM_ZERO = {"lr_step_size", "lr_labels", "momentum", "momentum_labels", "inner", "network_lr"}


def kind_of(method: MethodFactory) -> type[Method]:
    """Return the class that a method's builder builds."""
    return cast(type[Method], method.func)


def word(builder: functools.partial[Any]) -> str:
    """Return what users call the class that a builder builds: ``idm``, ``kcenter``, ``random_tiled``."""
    return re.sub("(?<=[a-z])(?=[A-Z])", "_", builder.func.__name__).lower()


@dataclass(frozen=True)
class ExpertSpec:
    """One expert before it is built.

    Attributes:
        method: Builds the method, every setting decided.
        ipc: Stored images per class.
        row: The ipc of the row of published settings that was used; None if none was needed.
        network: Builds the architecture it distils with, where that is its own and not the run's.
    """

    method: MethodFactory
    ipc: int
    row: int | None = None
    network: NetworkFactory | None = None

    @property
    def name(self) -> str:
        """The method's name, see :func:`word`."""
        return word(self.method)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the method and of its own network, described."""
        own = {} if self.network is None else describe(self.network)
        return {k: v for part in (describe(self.method), own) for k, v in part.items() if k != "target"}

    def describe(self, batch_norm: bool = False) -> dict[str, Any]:
        """Return what decides the expert's images; the row it came from does not.

        Args:
            batch_norm: Whether the network it distils with has batch norm.
        """
        own = {} if self.network is None else {"network": describe(self.network)}
        kind = kind_of(self.method)
        revision = kind.revision + batch_norm * kind.revision_of_batch_norm
        revised = {"revision": revision} if revision else {}
        return {"method": describe(self.method), "ipc": self.ipc, **own, **revised}

    def __str__(self) -> str:
        """Return a word such as ``idm5`` or ``idm5-vgg11``."""
        if self.network is None:
            return f"{self.name}{self.ipc}"
        architecture = describe(self.network)["target"].rsplit(".", 1)[-1].lower()
        return f"{self.name}{self.ipc}-{architecture}"


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

    def __str__(self) -> str:
        """Return a word such as ``idm5x2``, ``dm5+idm5`` or ``idm5-factor1+idm5-factor2``."""
        names = [str(m) + self._apart(m) for m in self.members]
        return f"{names[0]}x{self.noe}" if len(set(names)) == 1 else "+".join(names)

    def _apart(self, member: ExpertSpec) -> str:
        """Return the settings of a member in which others of the same word differ from it."""
        others = [m.settings for m in self.members if str(m) == str(member)]
        differing = {k: v for k, v in member.settings.items() if any(o.get(k) != v for o in others)}
        return "".join(f"-{k}{_word(v)}" for k, v in differing.items())


def same(method: MethodFactory, presets: Mapping[str, Any], shorten: Mapping[str, Any], ipc: int, noe: int) -> Roster:
    """Return ``noe`` experts of one method with ``ipc`` images per class each.

    Args:
        method: The method; settings that say ``published`` are looked up.
        presets: Rows of published settings by ipc: the first there are of ``normalised`` (this data set, normalised
            as it is), ``published`` (this data set) and ``otherwise``.
        shorten: Settings by method name with which the scale replaces published ones.
        ipc: Stored images per class of each expert.
        noe: Number of experts.
    """
    return listed([{"method": method, "presets": presets, "ipc": ipc}] * _positive("noe", noe), shorten, ipc, noe)


def uneven(
    method: MethodFactory, presets: Mapping[str, Any], shorten: Mapping[str, Any], ipcs: Sequence[int], budget: int
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
    if not ipcs or sum(_positive("experts.ipcs", ipc) for ipc in ipcs) != budget:
        raise InputError("experts.ipcs", list(ipcs), f"numbers that sum to the split's budget, ipc * noe = {budget}")
    return Roster(
        tuple(_specified({"method": method, "presets": presets, "ipc": ipc}, shorten, budget) for ipc in ipcs)
    )


def listed(
    members: Sequence[Mapping[str, Any]] | Mapping[str, Any], shorten: Mapping[str, Any], ipc: int, noe: int
) -> Roster:
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
    rows = [{"ipc": ipc, **m} for m in (members.values() if isinstance(members, Mapping) else members)]
    budget = _positive("ipc", ipc) * _positive("noe", noe)
    total = sum(_positive("ipc", m["ipc"]) for m in rows)
    if len(rows) != noe or total != budget:
        have = f"{len(rows)} members with {total} images per class"
        raise InputError("experts", have, f"a roster that agrees with the split: noe={noe}, ipc * noe = {budget}")
    return Roster(tuple(_specified(m, shorten, total) for m in rows))


def _specified(member: Mapping[str, Any], shorten: Mapping[str, Any], budget: int) -> ExpertSpec:
    method, presets, ipc = member["method"], member.get("presets", {}), member["ipc"]
    name = word(method)
    rows = presets.get("normalised") or presets.get("published") or presets.get("otherwise") or {}
    wanted = budget if kind_of(method).row_by == "budget" else ipc
    row = nearest_row([int(r) for r in rows], wanted)
    published = {} if row is None else {int(r): v for r, v in rows.items()}[row]
    filled = fill(method, published, shorten.get(name) or {}, "method")
    for setting, value in filled.keywords.items():
        if setting in _ABOVE_ZERO and not 0 < value < float("inf"):
            raise InputError(f"method.{setting}", value, "a number above 0")
        if setting in _FROM_ZERO and not 0 <= value < float("inf"):
            raise InputError(f"method.{setting}", value, "a number from 0 on")
    return ExpertSpec(filled, ipc, row, member.get("network"))


def nearest_row(rows: Sequence[int], ipc: int) -> int | None:
    """Return the row nearest to ``ipc`` in ratio, the smaller of two that are equally near; None without rows."""
    return min(sorted(rows), key=lambda row: max(row, ipc) / min(row, ipc), default=None)


def fill(partial: functools.partial[Any], published: Mapping[str, Any], shorter: Mapping[str, Any], path: str) -> Any:
    """Replace what says ``published``, in nested builders and records too: by the scale's value, else the row's.

    Raises:
        InputError: Neither has one.
    """
    given = partial.keywords.items()
    settings = {n: _filled(v, published.get(n), shorter.get(n), f"{path}.{n}") for n, v in given}
    return functools.partial(partial.func, *partial.args, **settings)


def _filled(value: Any, published: Any, shorter: Any, path: str) -> Any:
    if isinstance(value, functools.partial):
        return fill(value, published or {}, shorter or {}, path)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [f for f in dataclasses.fields(value) if f.init]
        record = functools.partial(type(value), **{f.name: getattr(value, f.name) for f in fields})
        return fill(record, published or {}, shorter or {}, path)()
    if not isinstance(value, str) or value != PUBLISHED:
        return value
    found = published if shorter is None else shorter
    if found is None:
        raise InputError(path, PUBLISHED, "a value: no settings are published for this data set")
    return found


def _word(described: Any) -> str:
    """Return a described setting in a word: itself, or the name of what it builds."""
    return described["target"].rsplit(".", 1)[-1].lower() if isinstance(described, dict) else str(described)


def _positive(key: str, value: int) -> int:
    if type(value) is not int or value < 1:
        raise InputError(key, value, "a whole number of at least 1")
    return value
