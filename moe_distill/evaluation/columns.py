"""The columns of result rows, and those that a plan or the real data decide."""

from collections.abc import Mapping
from typing import TypedDict, cast

from moe_distill.data.real_set import RealSet
from moe_distill.experts.distillation import Distillation
from moe_distill.store.identity import word_of


class StudentRow(TypedDict, total=False):
    """A student's row before it is written to ``results.csv``, or some of its columns.

    Unknown numbers are empty texts; columns that are not known yet are missing. The columns are:

    - of the set: ``roster`` (``idm5x2``), ``method``, ``noe``, ``ipc`` (stored images per class of each
      expert, ``7+3`` if they differ), ``dataset``, ``data_variant`` (where its pixels came from),
      ``partition``, ``init``, ``diversity``, ``regulariser``, ``iterations``, ``distill_seed``,
      ``set_fingerprint``; ``preset_row``, the ipc of the published row of settings; ``dcor2_unbiased``, the
      mean over pairs of experts and the networks φ;
    - of the student: ``architecture``, ``width`` (factor on its channels), ``seed``, ``fusion``, ``recipe``
      (``dsa-cumulative`` if it trains in stages), ``recipe_key`` (8 hexadecimal digits of its settings),
      ``lr`` (the first), ``epochs``, ``steps``, ``images_decoded`` (training images after decoding);
    - the result: ``accuracy_last`` and ``accuracy_best``, test accuracies as fractions after the last and the
      best tested epoch, NaN for a student that diverged;
    - the cost: ``distill_seconds`` of the set, and ``teacher_seconds`` of all networks whose training it
      waited for (also of those that other sets share); ``train_seconds`` of this student (the time of
      students that were trained together, divided by their number); ``peak_memory_mb``, in MiB, the larger
      one of distilling and training;
    - the origin: ``experiment``, ``scale``, ``overrides`` (what the job sets; empty for a baseline),
      ``config_hash`` (the row's key), ``device``, ``hardware``, ``dtype`` (of the numbers that the student
      multiplies, ``float32`` or ``bfloat16``; with those of its set in front if they differ, as
      ``bfloat16+float32``), ``commit``.
    """

    experiment: str
    scale: str
    method: str
    roster: str
    dataset: str
    data_variant: str
    partition: str
    init: str
    ipc: int | str
    noe: int
    iterations: int | str
    diversity: str
    dcor2_unbiased: float | str
    regulariser: str
    fusion: str
    recipe: str
    recipe_key: str
    architecture: str
    width: float | str
    distill_seed: int | str
    seed: int
    accuracy_last: float
    accuracy_best: float
    lr: float
    epochs: int
    steps: int
    images_decoded: int
    distill_seconds: float | str
    teacher_seconds: float | str
    train_seconds: float
    peak_memory_mb: float
    device: str
    dtype: str
    hardware: str
    set_fingerprint: str
    config_hash: str
    commit: str
    overrides: str
    preset_row: str


def cells_of(row: StudentRow) -> Mapping[str, int | float | str]:
    """Return a row's columns as a plain mapping, to be joined with those of other tables."""
    return cast(Mapping[str, int | float | str], row)


def columns_of_real(train: RealSet) -> StudentRow:
    """Return the columns of rows about students of all real training data."""
    per_class = int(train.counts().max())
    return {
        "partition": "none",
        "init": "none",
        "diversity": "none",
        "regulariser": "none",
        "dataset": train.name,
        "data_variant": train.variant,
        "method": "full_dataset",
        "roster": "full_dataset",
        "ipc": per_class,
        "noe": 1,
        "iterations": 0,
        "dcor2_unbiased": "",
        "set_fingerprint": train.fingerprint,
        "distill_seed": "",
        "width": "",
    }


def columns_of_plan(plan: Distillation) -> StudentRow:
    """Return the columns of rows that a plan decides before it is run."""
    # An expert starts from what its `init` makes; a method without one, such as a selection, is itself the
    # start.
    starts = [member.method.keywords.get("init", member.method) for member in plan.roster.members]
    # A selection is named by its rule (`kcenter`), anything else by its function or class.
    rules = [getattr(start, "rule", start) for start in starts]
    init = {word_of(getattr(rule, "func", rule)) for rule in rules}
    preset_rows = dict.fromkeys(str(m.row) for m in plan.roster.members if m.row is not None)
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
        "preset_row": "+".join(preset_rows),
    }
