"""What a set is judged by beside the accuracies of its students: DD-Ranking's scores, and linear probes."""

from dataclasses import replace
from typing import Any

from moe_distill.api.distilling import DistilledSet
from moe_distill.api.plain_errors import with_plain_errors
from moe_distill.api.set_session import opened_for
from moe_distill.data.real_set import RealSet
from moe_distill.errors import InputError
from moe_distill.evaluation.columns import cells_of
from moe_distill.pipelines.probe import Probing
from moe_distill.pipelines.score import Scoring
from moe_distill.results.results import Scores
from moe_distill.synthetic.synthetic_set import SyntheticSet, SyntheticUnion


@with_plain_errors
def score(
    synthetic: SyntheticUnion | SyntheticSet,
    test: RealSet,
    *,
    train: RealSet | None = None,
    progress: bool = True,
    **keywords: Any,
) -> Scores:
    """Score a set by DD-Ranking's LRS and ARS: what it is worth apart from labels and augmentation.

    Source: DD-Ranking (2025), with accuracies as fractions, as its documentation has them.

    Args:
        synthetic: A set; see :func:`~moe_distill.evaluate`, as for the others.
        test: The real test images.
        train: The real training images, on which networks are trained for comparison; a set that
            :func:`~moe_distill.distill` returned knows its own.
        progress: Whether long work shows a progress bar.
        **keywords: See :func:`~moe_distill.evaluate`; ``options={"pipeline.lrs": [0.01]}`` sets the learning
            rates that are tried.

    Returns:
        A row for each network, with ``lrs``, ``ars`` and what they are made of.

    Raises:
        InputError: See :func:`~moe_distill.evaluate`; or the real training images are unknown.

    Example:
        >>> import moe_distill as md, tempfile
        >>> train, test = md.load_dataset("digits")
        >>> quick = {"scale": "smoke", "store": tempfile.mkdtemp(), "progress": False}
        >>> synthetic = md.random_images(train, 1, **quick)
        >>> scores = md.score(synthetic, test, students="mlp", seeds=1, options={"pipeline.lrs": [0.01]})
        >>> 0 < scores.rows[0]["lrs"] < 1
        True
    """
    _require_images("train", train, synthetic)
    with opened_for(synthetic, test, train, progress, "score", keywords) as (opened, path):
        pipeline = replace(opened.pipeline, path=path)
        with opened.tracked():
            rows, _ = Scoring(pipeline).scored(opened.runtime)
        return Scores(rows, "DD-Ranking's scores", ("architecture", "lrs", "ars"))


@with_plain_errors
def probe(
    synthetic: SyntheticUnion | SyntheticSet,
    test: RealSet,
    *,
    train: RealSet | None = None,
    progress: bool = True,
    **keywords: Any,
) -> Scores:
    """Train students on a set, freeze them, and test a linear classifier of real images on their features.

    Args:
        synthetic: A set; see :func:`~moe_distill.evaluate`, as for the others.
        test: The real test images.
        train: The real training images, to which the classifier is fitted; a set that
            :func:`~moe_distill.distill` returned knows its own.
        progress: Whether long work shows a progress bar.
        **keywords: See :func:`~moe_distill.evaluate`.

    Returns:
        A row for each network and seed, with ``accuracy`` and ``accuracy_untrained``.

    Raises:
        InputError: See :func:`~moe_distill.evaluate`; or the real training images are unknown.

    Example:
        >>> import moe_distill as md, tempfile
        >>> train, test = md.load_dataset("digits")
        >>> quick = {"scale": "smoke", "store": tempfile.mkdtemp(), "progress": False}
        >>> probed = md.probe(md.random_images(train, 1, **quick), test, students="mlp", seeds=1)
        >>> [row["architecture"] for row in probed.rows]
        ['mlp']
    """
    _require_images("train", train, synthetic)
    with opened_for(synthetic, test, train, progress, "probe", keywords) as (opened, path):
        with opened.tracked():
            rows = Probing(replace(opened.pipeline, path=path)).probe(opened.runtime)
        shown = ("architecture", "seed", "accuracy", "accuracy_untrained")
        return Scores([cells_of(row) for row in rows], "linear probe, test accuracy", shown)


def _require_images(keyword: str, train: RealSet | None, synthetic: SyntheticUnion | SyntheticSet) -> None:
    if (
        train is None
        and isinstance(synthetic, SyntheticSet | SyntheticUnion)
        and not isinstance(synthetic, DistilledSet)
    ):
        raise InputError(keyword, None, "the real training images: a set read from a file does not hold them")
