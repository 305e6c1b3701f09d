"""Train networks on a set and test them, and what else a set is judged by."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moe_distill.api.keywords import settings_of
from moe_distill.api.plain_errors import with_plain_errors
from moe_distill.api.session import Session
from moe_distill.api.set_session import SURROUNDINGS, opened_for
from moe_distill.data.real_set import RealSet
from moe_distill.errors import InputError
from moe_distill.evaluation.columns import cells_of
from moe_distill.evaluation.protocol import EvaluationProtocol
from moe_distill.pipelines.evaluate import SetStudents
from moe_distill.results.results import Comparison, Results
from moe_distill.synthetic.synthetic_set import SyntheticSet, SyntheticUnion


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation(Results):
    """Results of one set.

    Attributes:
        protocol: How its students were trained, for ``evaluate(…, like=results)``.
        test: Fingerprint of the test images.
    """

    protocol: EvaluationProtocol | None = None
    test: str = ""

    def compare(self, other: Results) -> Comparison:
        """Return by how much these students are ahead of others; see :meth:`Results.compare`.

        Raises:
            InputError: See :meth:`Results.compare`; or the others were tested on other images.
        """
        if isinstance(other, Evaluation) and other.test != self.test:
            raise InputError(
                "test", f"{self.test[:12]} and {other.test[:12]}", "the same test images in both"
            )
        return super().compare(other)


@with_plain_errors
def evaluate(
    synthetic: SyntheticUnion | SyntheticSet,
    test: RealSet,
    *,
    train: RealSet | None = None,
    like: Evaluation | None = None,
    progress: bool = True,
    **keywords: Any,
) -> Evaluation:
    """Train fresh networks on a set and test each on real images; those in the store are not trained again.

    Args:
        synthetic: A set: distilled now, or read by :meth:`SyntheticSet.load`.
        test: The real test images. They are normalised as the set's.
        train: The real training images, for recipes whose labels come from a teacher; a set that
            :func:`~moe_distill.distill` returned knows its own.
        like: Results whose students, recipe, mixing and seeds are taken, so that both can be compared.
        progress: Whether long work shows a progress bar.
        **keywords: Any option of the command line, on top of those that the set was distilled with:
            ``students=["convnet3", "timm/convnext_atto", MyNetwork]`` (names, and classes or functions that
            make a ``torch.nn.Module``; ``{"mine": MyNetwork}`` names them), ``recipe="dsa"``, ``seeds=3`` …

    Returns:
        A row for each network and seed.

    Raises:
        InputError: A keyword is unknown or has a wrong value, or the test images do not fit the set.
        KeyboardInterrupt: The call was interrupted; the same call goes on.

    Example:
        >>> import moe_distill as md, tempfile
        >>> train, test = md.load_dataset("digits")
        >>> quick = {"scale": "smoke", "store": tempfile.mkdtemp(), "progress": False}
        >>> len(md.evaluate(md.random_images(train, 1, **quick), test, students="mlp", seeds=2))
        2
    """
    if like is not None:
        _require_alike(like, keywords)
    with opened_for(synthetic, test, train, progress, "evaluate", keywords) as (opened, path):
        return _evaluated(opened, path, None if like is None else like.protocol)


def _evaluated(opened: Session, path: str | None, protocol: EvaluationProtocol | None) -> Evaluation:
    """Train and test the students of a session's set.

    Args:
        opened: The session.
        path: The set's; None for the set of the session's plan.
        protocol: How they are trained; None for the session's protocol.
    """
    plan, protocol = opened.pipeline.plan, protocol or opened.pipeline.protocol
    real, test = plan.data.load(opened.runtime.cache)
    if path is None:
        protocol.check(real, plan.decoded(real))
    with opened.tracked():
        rows = SetStudents(plan, protocol, path).make(opened.runtime)
        opened.runtime.tracker.results(rows, opened.runtime.costs)
    return Evaluation([cells_of(row) for row in rows], protocol, test.fingerprint)


def _require_alike(like: Evaluation, keywords: Mapping[str, Any]) -> None:
    """Refuse what cannot be taken as a model, and keywords that would have no effect beside it."""
    if not isinstance(like, Evaluation) or like.protocol is None:
        raise InputError("like", type(like).__name__, "results of one set, as md.evaluate returned them")
    settings = settings_of(keywords)
    for name, value in settings.items():
        if name.partition(".")[0] not in SURROUNDINGS:
            raise InputError(name, value, "leave it out beside like=, which says how students are trained")
