"""Scores of sets and leads in them, as a section of a sweep's page."""

from collections.abc import Sequence

from markupsafe import Markup

from moe_distill.reports.comparison_chart import leads_svg
from moe_distill.reports.layout import section
from moe_distill.reports.other_scores import score_leads, score_sheet
from moe_distill.reports.svg import fitting
from moe_distill.results.question import Question
from moe_distill.results.rows import REAL, Row


def scores_section(rows: Sequence[Row], question: Question) -> Markup:
    """Return the table of scores and the chart of the leads in them.

    Args:
        rows: Scores as :func:`~moe_distill.reports.other_scores.scored` returns them.
        question: What is asked of them.

    Raises:
        InputError: See :func:`~moe_distill.results.question.to_frame`.
    """
    from moe_distill.reports.typeset import html_table

    cards = [html_table(score_sheet(rows, question), "answer")]
    lines = [c for c in score_leads(rows, question) if c["kind"] not in REAL]
    if any(c["difference"] is not None for c in lines):
        cards.append(fitting(lambda name, narrow: leads_svg(name, lines, narrow, "hundredths"), "leads"))
    return section("Scores", "What sets are worth apart from labels (LRS) and from augmentation (ARS).", cards)
