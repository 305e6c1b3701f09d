"""Result rows by student: which rows describe the same one, and the name of what it was trained on."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from moe_distill.results.frames import COLUMNS, Row, Rows, as_text, frame_of, trained
from moe_distill.results.set_names import set_name

if TYPE_CHECKING:
    import polars as pl

__all__ = ["COLUMNS", "RANDOM", "RANDOM_TILED", "REAL", "Row", "Rows"]

# Methods whose images are real ones, drawn at random: the baselines of all others.
RANDOM, RANDOM_TILED = "random", "random_tiled"
REAL = (RANDOM, RANDOM_TILED)

# The columns that may distinguish variants of one roster, those first that read best in a name.
_DISTINGUISHING = (
    *("dataset", "partition", "init", "diversity", "regulariser", "fusion", "recipe"),
    *("data_variant", "iterations", "images_decoded", "epochs", "recipe_key"),
)
_STUDENT = (*COLUMNS[1 : COLUMNS.index("distill_seed")], "seed")
# What a row says of its set before the set is made, and what is known only once a student is evaluated.
_KNOWN_BEFORE = (
    *("scale", "method", "roster", "dataset", "data_variant", "partition", "init", "ipc", "noe", "diversity"),
    *("regulariser", "fusion", "recipe", "recipe_key", "distill_seed"),
)
_KNOWN_AFTER = ("iterations", "dcor2_unbiased", "epochs", "images_decoded", "set_fingerprint")
# Settings whose effect on the student is described by columns completely.
_DESCRIBED = {"fusion", "mixup_alpha", "seed", "students"}


def is_random(method: str) -> bool:
    """Return True if a method's images are real ones drawn at random, plain or tiled.

    >>> is_random("random"), is_random("random+random_tiled"), is_random("dm+random")
    (True, True, False)
    """
    return set(method.split("+")) <= {*REAL}


def are_random() -> "pl.Expr":
    """Return :func:`is_random` of a frame's rows, by their methods."""
    import polars as pl

    return pl.col("method").str.split("+").list.set_difference(list(REAL)).list.len() == 0


def budget() -> "pl.Expr":
    """Return the images per class of all experts together.

    A single size is that of each of the ``noe`` experts; several are those of the experts one by one.
    """
    import polars as pl

    sizes = pl.col("ipc")
    return pl.when(sizes.list.len() > 1).then(sizes.list.sum()).otherwise(sizes.list.first() * pl.col("noe"))


def threads() -> "pl.Expr":
    """Return how many threads a row's hardware names; 1 for a GPU, whose name has none."""
    import polars as pl

    return pl.col("hardware").str.extract(r"(\d+) threads?\b").cast(pl.Float64).fill_null(1.0)


def core_seconds() -> "pl.Expr":
    """Return what a row's set cost on one machine: seconds of its distilling and its teachers, times threads.

    It is null where one of them is unknown. On a GPU it is the GPU's seconds.
    """
    import polars as pl

    return (pl.col("distill_seconds") + pl.col("teacher_seconds")) * threads()


def distinct(rows: Rows) -> "pl.DataFrame":
    """Return one row for each student: the first one, a trained row before one of a student to come.

    Two rows can describe the same student when their jobs differ only in settings that do not affect it, such
    as how images are mixed across experts where there is a single expert. If both were trained, their
    accuracies may differ in the last digits, by threads or by a device's order of sums. A student that
    several distillation seeds share, because its selection of images draws nothing, has a null
    ``distill_seed``.

    What is not known yet of students to come is copied from trained students of the same set; else it stays
    null, and the job's settings stand in for the set's fingerprint.
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
    # A student that several seeds lead to depends on none of them.
    seed = pl.when(~first["several"]).then("distill_seed")
    return frame[first["place"]].with_columns(seed.alias("distill_seed"))


def _completed(frame: "pl.DataFrame") -> "pl.DataFrame":
    """Return rows in which students to come have all that is known about their sets."""
    import polars as pl

    if frame["accuracy_last"].null_count() == 0:
        return frame
    same_set = _keys(frame, _KNOWN_BEFORE)
    of_trained = {c: pl.col(c).filter(trained()).last().over(same_set) for c in _KNOWN_AFTER}
    known = [pl.when(trained()).then(c).otherwise(value).alias(c) for c, value in of_trained.items()]
    # Without a fingerprint, sets to come are told apart by the settings that make them.
    made_by = pl.struct(*_undescribed_settings(frame), "distill_seed").struct.json_encode()
    return frame.with_columns(known).with_columns(pl.col("set_fingerprint").fill_null(made_by))


def _keys(frame: "pl.DataFrame", columns: Iterable[str]) -> "list[pl.Expr]":
    """Return expressions to group rows by: some columns, and the settings that no column describes."""
    import polars as pl

    texts = {name for name, dtype in frame.schema.items() if dtype == pl.String}
    values = [pl.col(c).fill_null("") if c in texts else pl.col(c) for c in columns]
    return [*values, *_undescribed_settings(frame)]


def _undescribed_settings(frame: "pl.DataFrame") -> "list[pl.Expr]":
    import polars as pl

    keys = [key for key in frame["settings"].struct.fields if key not in _DESCRIBED]
    return [pl.col("settings").struct.field(key).alias(f"setting {key}") for key in keys]


def variant_names(rows: Rows, within: Sequence[str] = ()) -> list[str]:
    """Name for each row what its student was trained on: the roster, and what else distinguishes its rows.

    Differences that no readable column shows are named by a key: recipes by that of their settings, several
    sets of one distillation seed by their fingerprints. Values that are not known yet count as equal.

    Args:
        rows: The rows, with the columns of :data:`COLUMNS`.
        within: Columns of text that the reader sees elsewhere: names are unique among rows alike in these.

    >>> variant_names([{"roster": "dm5x2", "fusion": fusion} for fusion in ("none", "vanilla")])
    ['dm5x2 none', 'dm5x2 vanilla']
    """
    import polars as pl

    of_set = ("distill_seed", set_name(), "settings")
    described = frame_of(rows).select("roster", *map(as_text, _DISTINGUISHING), *of_set)
    lines = described.unique(maintain_order=True)  # most rows differ in the student alone
    parts = ["roster"]
    groups = ["roster", *(f"within {c}" for c in within)]
    lines = lines.with_columns(pl.col(c).alias(f"within {c}") for c in within)
    for column in _DISTINGUISHING:
        # Within those that have the same name so far, so that a name has no word more than it needs.
        differs = (pl.col(column).drop_nulls().n_unique() > 1).over(groups)
        lines = lines.with_columns(differs.alias("differs"))
        # All names of a roster then have a word for this column, so that they read alike.
        word = pl.when(pl.col("differs").any().over("roster")).then(column)
        lines = lines.with_columns(word.alias(f"part {column}"))
        parts.append(f"part {column}")
        groups.append(f"part {column}")
    lines = lines.with_columns(_set_words(lines, groups))
    names = pl.concat_str(*parts, "set words", separator=" ", ignore_nulls=True)
    names_of_lines = lines.select(*described.columns, name=names)
    joined = described.join(
        names_of_lines, on=described.columns, how="left", nulls_equal=True, maintain_order="left"
    )
    return joined["name"].to_list()


def _set_words(lines: "pl.DataFrame", groups: Sequence[str]) -> "pl.Series":
    """Return words for sets of one distillation seed that nothing else distinguishes, null for others."""
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
    """Return words by set: the settings that only some of their jobs set, else the sets' fingerprints."""
    import polars as pl

    sets = lines.unique("set_fingerprint", keep="last", maintain_order=True)
    keys = [key for key in sets["settings"].struct.fields if key != "seed"]
    settings = {key: pl.col("settings").struct.field(key) for key in keys}
    counts = sets.select(pl.lit(1), **{key: value.n_unique() for key, value in settings.items()})
    differing = [pl.lit(f"{key}=") + value for key, value in settings.items() if counts[key].item() > 1]
    # The empty literal gives a text of every row also where no setting differs.
    words = pl.concat_str(pl.lit(""), *differing, separator=" ", ignore_nulls=True).str.strip_prefix(" ")
    sets = sets.select("set_fingerprint", words=words)
    # The words are good names only if they are as many as the sets, within each distillation seed.
    of_seed = lines.join(sets, on="set_fingerprint").group_by("distill_seed")
    counts = of_seed.agg(pl.col("set_fingerprint", "words").n_unique())
    if (counts["set_fingerprint"] == counts["words"]).all():
        return dict(sets.iter_rows())
    return {name: name[:8] for name in sets["set_fingerprint"]}


def table(rows: Rows) -> tuple[list[str], dict[str, dict[str, list[float]]]]:
    """Return architectures in order, and last-epoch accuracies (fractions) by variant and architecture."""
    import polars as pl

    frame = frame_of(rows)
    names = pl.Series(variant_names(frame), dtype=pl.String)
    students = frame.select("architecture", "accuracy_last", variant=names)
    cells: dict[str, dict[str, list[float]]] = {}
    for (variant, architecture), members in students.group_by("variant", "architecture", maintain_order=True):
        cells.setdefault(str(variant), {})[str(architecture)] = members["accuracy_last"].to_list()
    return frame["architecture"].unique(maintain_order=True).to_list(), cells
