"""What result rows are about: which tell of one student, and the names of what it was trained on."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from moe_distill.results.frames import COLUMNS, Row, Rows, as_text, frame_of, is_trained, trained
from moe_distill.results.schema import sizes_of
from moe_distill.results.set_names import set_name

if TYPE_CHECKING:
    import polars as pl

__all__ = ["COLUMNS", "RANDOM", "RANDOM_TILED", "REAL", "Row", "Rows", "is_trained"]

# Methods whose images are real ones, drawn at random: what others are compared with.
RANDOM, RANDOM_TILED = REAL = "random", "random_tiled"

_APART = (
    *("dataset", "partition", "init", "diversity", "regulariser", "fusion", "recipe"),
    *("data_variant", "iterations", "images_decoded", "epochs", "recipe_key"),
)
_STUDENT = (*COLUMNS[1 : COLUMNS.index("distill_seed")], "seed")
# What is known of a row before its set is made, but for the student; and what is seen once it is judged.
_FORESEEN = (
    *("scale", "method", "roster", "dataset", "data_variant", "partition", "init", "ipc", "noe", "diversity"),
    *("regulariser", "fusion", "recipe", "recipe_key", "distill_seed"),
)
_SEEN = ("iterations", "dcor2_unbiased", "epochs", "images_decoded", "set_fingerprint")
# Settings of which the columns say all that reached the student.
_DESCRIBED = {"fusion", "mixup_alpha", "seed", "students"}


def is_random(row: Row) -> bool:
    """Say whether a row's images are real ones drawn at random, as they are or tiled."""
    return set(str(row["method"]).split("+")) <= {*REAL}


def are_random() -> "pl.Expr":
    """Return :func:`is_random` of a frame's rows."""
    import polars as pl

    return pl.col("method").str.split("+").list.set_difference(list(REAL)).list.len() == 0


def budget() -> "pl.Expr":
    """Return the images per class of all experts together; one size is that of each."""
    import polars as pl

    sizes = pl.col("ipc")
    return pl.when(sizes.list.len() > 1).then(sizes.list.sum()).otherwise(sizes.list.first() * pl.col("noe"))


def budget_of(row: Row) -> int:
    """Return the images per class of all experts of a row together, its cells as they stand in a file."""
    sizes = sizes_of(str(row["ipc"]))
    return sum(sizes) if len(sizes) > 1 else sizes[0] * int(row["noe"])


def distinct(rows: Rows) -> "pl.DataFrame":
    """Return rows once a student, the first of each, one that was trained before one to come.

    Two rows are about one student where their jobs differ only in what cannot touch it, such as in how images
    are mixed across experts where there is a single expert. Where both were trained, their accuracies may
    differ in the last digits, by threads or by a device's order of sums. A student that several distillation
    seeds lead to, as a selection draws nothing, is of none of them (``distill_seed`` is null).

    Of students to come, what is not known beforehand is taken from one that was trained on the same set; else
    it stays null, and what names the set is made up of the job's settings.
    """
    import polars as pl

    frame = _completed(frame_of(rows).with_columns(set_name()))
    place = pl.col("place")
    first = (
        frame.with_row_index("place")
        .group_by(_keys(frame, [*_STUDENT, "set_fingerprint"]), maintain_order=True)
        .agg(
            pl.coalesce(place.filter(trained()).first(), place.first()),
            several=pl.col("distill_seed").n_unique() > 1,
        )
    )
    of_any = pl.when(~first["several"]).then("distill_seed")
    return frame[first["place"]].with_columns(of_any.alias("distill_seed"))


def _completed(frame: "pl.DataFrame") -> "pl.DataFrame":
    """Return rows in which students to come have what is known of their sets."""
    import polars as pl

    if frame["accuracy_last"].null_count() == 0:
        return frame
    alike = _keys(frame, _FORESEEN)
    of_trained = {c: pl.col(c).filter(trained()).last().over(alike) for c in _SEEN}
    known = [pl.when(trained()).then(c).otherwise(value).alias(c) for c, value in of_trained.items()]
    made_by = pl.struct(*_settings_left(frame), "distill_seed").struct.json_encode()
    return frame.with_columns(known).with_columns(pl.col("set_fingerprint").fill_null(made_by))


def _keys(frame: "pl.DataFrame", columns: Iterable[str]) -> "list[pl.Expr]":
    """Return what rows of a kind have in common: some columns, and the settings that no column describes."""
    import polars as pl

    texts = {name for name, dtype in frame.schema.items() if dtype == pl.String}
    values = [pl.col(c).fill_null("") if c in texts else pl.col(c) for c in columns]
    return [*values, *_settings_left(frame)]


def _settings_left(frame: "pl.DataFrame") -> "list[pl.Expr]":
    import polars as pl

    keys = [key for key in frame["settings"].struct.fields if key not in _DESCRIBED]
    return [pl.col("settings").struct.field(key).alias(f"setting {key}") for key in keys]


def variant_names(rows: Rows, within: Sequence[str] = ()) -> list[str]:
    """Name what each row's student was trained on and how: the roster, and what else tells its rows apart.

    What no column in words tells apart goes by a number: a recipe by its settings', a set by its fingerprint
    where one distillation seed has several. A value that is not known yet tells nothing apart.

    Args:
        rows: The rows, with the columns of :data:`COLUMNS`.
        within: Columns of text that are told elsewhere: names need to be unique among rows alike in these
            only.
    """
    import polars as pl

    of_set = ("distill_seed", set_name(), "settings")
    about = frame_of(rows).select("roster", *map(as_text, _APART), *of_set)
    lines = about.unique(maintain_order=True)  # most rows differ in the student alone
    parts = ["roster"]
    groups = ["roster", *(f"within {c}" for c in within)]
    lines = lines.with_columns(pl.col(c).alias(f"within {c}") for c in within)
    for column in _APART:
        differs = (pl.col(column).drop_nulls().n_unique() > 1).over(groups)
        lines = lines.with_columns(differs.alias("differs"))
        # A roster's names have a word for a column that tells rows apart in any of its groups.
        word = pl.when(pl.col("differs").any().over("roster")).then(column)
        lines = lines.with_columns(word.alias(f"part {column}"))
        parts.append(f"part {column}")
        groups.append(f"part {column}")
    lines = lines.with_columns(_set_words(lines, groups))
    names = pl.concat_str(*parts, "set words", separator=" ", ignore_nulls=True)
    named = lines.select(*about.columns, name=names)
    found = about.join(named, on=about.columns, how="left", nulls_equal=True, maintain_order="left")
    return found["name"].to_list()


def _set_words(lines: "pl.DataFrame", groups: Sequence[str]) -> "pl.Series":
    """Return what tells apart sets of one distillation seed that nothing else does, null for others."""
    import polars as pl

    several = (pl.col("set_fingerprint").n_unique() > 1).over([*groups, "distill_seed"])
    numbered = lines.with_columns(several=several).with_row_index("place")
    numbered = numbered.filter(pl.col("several").any().over(groups))
    words: dict[int, str] = {}
    for alike in numbered.partition_by(groups):
        by_set = _settings_that_differ(alike)
        words |= {place: by_set[name] for place, name in alike.select("place", "set_fingerprint").iter_rows()}
    return pl.Series("set words", [words.get(place) or None for place in range(len(lines))], pl.String)


def _settings_that_differ(lines: "pl.DataFrame") -> dict[str, str]:
    """Return words by set: what only some of their jobs' command lines set, else the sets' fingerprints."""
    import polars as pl

    sets = lines.unique("set_fingerprint", keep="last", maintain_order=True)
    keys = [key for key in sets["settings"].struct.fields if key != "seed"]
    settings = {key: pl.col("settings").struct.field(key) for key in keys}
    counts = sets.select(pl.lit(1), **{key: value.n_unique() for key, value in settings.items()})
    apart = [pl.lit(f"{key}=") + value for key, value in settings.items() if counts[key].item() > 1]
    words = pl.concat_str(pl.lit(""), *apart, separator=" ", ignore_nulls=True).str.strip_prefix(" ")
    sets = sets.select("set_fingerprint", words=words)
    of_seed = lines.join(sets, on="set_fingerprint").group_by("distill_seed")
    counts = of_seed.agg(pl.col("set_fingerprint", "words").n_unique())
    if (counts["set_fingerprint"] == counts["words"]).all():
        return dict(sets.iter_rows())
    return {name: name[:8] for name in sets["set_fingerprint"]}


def table(rows: Rows) -> tuple[list[str], dict[str, dict[str, list[float]]]]:
    """Return architectures in order and, by variant and architecture, last-epoch accuracies (fractions)."""
    import polars as pl

    frame = frame_of(rows)
    names = pl.Series(variant_names(frame), dtype=pl.String)
    named = frame.select("architecture", "accuracy_last", variant=names)
    cells: dict[str, dict[str, list[float]]] = {}
    for (variant, architecture), of_cell in named.group_by("variant", "architecture", maintain_order=True):
        cells.setdefault(str(variant), {})[str(architecture)] = of_cell["accuracy_last"].to_list()
    return frame["architecture"].unique(maintain_order=True).to_list(), cells
