"""The columns of rows that a plan, or real data, decides."""

from typing import Any

from moe_distill.data.real_set import RealSet
from moe_distill.experts.distillation import Distillation
from moe_distill.store.identity import word_of


def columns_of_real(train: RealSet) -> dict[str, Any]:
    """Return the columns of rows about students of all real training data."""
    none = dict.fromkeys(("partition", "init", "diversity", "regulariser"), "none")
    per_class = int(train.counts().max())
    return {
        **none,
        "dataset": train.name,
        "data_variant": train.variant,
        "method": "full_dataset",
        "roster": "full_dataset",
        "ipc": per_class,
        "noe": 1,
        "iterations": 0,
        "dcor2_unbiased": "",
        "set_fingerprint": train.fingerprint,
    }


def columns_of_plan(plan: Distillation) -> dict[str, Any]:
    """Return the columns of rows that a plan decides before it is run."""
    starts = [m.method.keywords.get("init", m.method) for m in plan.roster.members]
    # A selection goes by its rule, a builder by what it builds.
    rules = (getattr(start, "select", start) for start in starts)
    init = {word_of(getattr(rule, "func", rule)) for rule in rules}
    return {
        "method": plan.roster.method,
        "roster": str(plan.roster),
        "partition": word_of(type(plan.split)),
        "init": "+".join(sorted(init)),
        "ipc": plan.roster.ipc,
        "noe": plan.roster.num_experts,
        "diversity": plan.term.title if plan.term else "none",
        "regulariser": plan.regulariser.title if plan.regulariser and plan.learns else "none",
        "distill_seed": plan.seed,
        "preset_row": "+".join(dict.fromkeys(str(m.row) for m in plan.roster.members if m.row is not None)),
    }
