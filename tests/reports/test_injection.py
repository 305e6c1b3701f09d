"""Text of strangers' sets, of attempts and of rows acts nowhere: not in a page, a card, Markdown, LaTeX or a
table."""

import base64
import csv
import dataclasses
import hashlib
import re

import pytest
import torch
from conftest_rows import answers_of, students, texts_in, trained
from markupsafe import Markup

from moe_distill.escaping import from_csv, in_csv, in_markdown
from moe_distill.reports import rendering
from moe_distill.reports.gallery import gallery
from moe_distill.reports.looks import Look
from moe_distill.reports.run_page import RunReport, build_page
from moe_distill.reports.sections import CellReport, Link, address_of, table_sections
from moe_distill.reports.sets import Distilled, images_section
from moe_distill.reports.tables import Entry, Line, Sheet, html_table, latex_table, markdown, sheet
from moe_distill.results.attempts import Attempt
from moe_distill.results.frames import frame_of
from moe_distill.results.question import Question
from moe_distill.results.row_files import read_table, write_csv
from moe_distill.results.rows import COLUMNS
from moe_distill.results.schema import ResultRow
from moe_distill.results.stages import StageCost
from moe_distill.synthetic.formats.card import CardFacts, card
from moe_distill.synthetic.provenance import Provenance
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.validation.misfits import annotations_of
from moe_distill.validation.values import Text

ATTACK = "<script>alert(1)</script>\"><svg onload=alert(1)>'><img src=x onerror=alert(1)>"
RAW = re.compile(r"<script>alert|<svg onload|<img src=x", re.IGNORECASE)
# What numbers are computed from; text there ends before anything is shown.
COMPUTED = ("mean", "std", "ipc", "space", "tiling", "whitening")
TEXTS = [f.name for f in dataclasses.fields(Provenance) if f.name not in COMPUTED]


def a_set(name, attack=ATTACK):
    about = {
        "dataset": "d",
        "data_variant": "v",
        "data_fingerprint": "f",
        "classes": ("a", "b"),
        "method": "dm",
    }
    about |= {"expert": 0, "ipc": 1, "mean": (0.5,), "std": (0.2,)}
    hostile = {"classes": (attack, f"{attack}2"), "settings": {attack: attack, "roster": [attack]}}
    about |= {name: hostile.get(name, attack)} if name else {}
    return SyntheticSet(torch.zeros(2, 1, 8, 8), Provenance(**about))


def shown(*sets):
    """Return a page of sets."""
    section = images_section(
        [Distilled(title, title, Look(0), together, path) for title, together, path in sets]
    )
    return page_with(section)


def page_with(*sections):
    """Return the page of a run with these sections of sets."""
    about = {"kicker": "", "title": "t", "code": "", "links": (), "best": None, "sentence": "", "tiles": ()}
    about |= {"accuracy": None, "accuracy_note": "", "variants": {}, "bars": (), "costs": None}
    return rendering.page("run", **about, set_sections=sections, command="", facts={})


def attempt(**more):
    about = {"began": 0.0, "command": "run", "commit": "c", "host": "h", "boot": "b", "process": 1}
    return Attempt(**{**about, "process_began": 1.0, "ended": 60.0, **more})


def test_what_turns_the_writing_or_moves_a_cursor_is_spelt_out_on_a_page(tmp_path):
    acts = "a\x1b[31mred", "\u202egnp", "\x00\x85\u2066"
    text = shown((acts[1], SyntheticSet.union([a_set("classes", acts[2])]), tmp_path))
    text += build_page(RunReport(acts[0], ""))
    assert (
        not set(text) & set("\x1b\u202e\x00\x85\u2066") and "\\u202egnp" in text and "a\\x1b[31mred" in text
    )


@pytest.mark.parametrize("name", TEXTS)
def test_no_field_of_a_set_acts_on_a_page_or_a_card(name, tmp_path):
    together = SyntheticSet.union([a_set(name)])
    ways = {
        together.members[0].provenance.expert: {i: torch.zeros(2, 1, 8, 8, dtype=torch.uint8) for i in (0, 5)}
    }
    pages = shown((ATTACK, together, tmp_path)) + rendering.part("gallery", gallery(together.members, ways))
    known = CardFacts({"name": ATTACK}, [(ATTACK, ATTACK, ATTACK)])
    for text in (pages, card(together, 2, known, f"/{ATTACK}")):
        assert len(text) > 500 and not RAW.search(text)
    assert "alert(1)" in pages


def test_no_field_of_an_attempt_acts_on_a_page():
    texts = [f.name for f in dataclasses.fields(Attempt) if f.type in (str, str | None)]
    assert {"error", "commit", "command", "host"} <= set(texts)
    tried = [attempt(**{name: ATTACK}) for name in texts]
    links = [Link(ATTACK, address_of(ATTACK))]
    report = CellReport(ATTACK, ATTACK, tried, ATTACK, ATTACK, ATTACK, links)
    text = rendering.part("cells", [report])
    assert "alert(1)" in text and not RAW.search(text)


@pytest.mark.filterwarnings("ignore:constrained_layout not applied")
@pytest.mark.parametrize("varies", [False, True])
def test_no_column_of_a_row_acts_in_a_page_markdown_or_latex(varies, tmp_path):
    made = students("toys", ("dm5x2", "random10x1"), ("a", "b"))
    texts = [c for c, takes in annotations_of(ResultRow).items() if takes in (str, Text)]
    whole = trained("dm5x2", "", "1.0")  # what else is no text is refused when read
    rows = [
        {**whole, **{c: v for c, v in r.items() if v}, **{c: f"{ATTACK} {r[c]} {i * varies}" for c in texts}}
        for i, r in enumerate(made)
    ]
    rows = [{**r, "config_hash": str(i)} for i, r in enumerate(rows)]
    write_csv(tmp_path / "t.csv", rows, COLUMNS)
    rows = texts_in([tmp_path / "t.csv"])
    assert len(rows) == len(made)
    answers = answers_of(rows, Question(claim=ATTACK))
    answer = sheet(answers)
    cost = StageCost(ATTACK, ATTACK, True, 1.0, 1.0, 1, 1)
    page = build_page(RunReport(ATTACK, ATTACK, frame_of(rows), [cost], [], {ATTACK: ATTACK}, is_job=True))
    page += html_table(answer, answers.named)
    page += "".join(rendering.part("tables", made) for made in table_sections({"probe.csv": rows}))
    for text in (page, markdown(answer), latex_table(answer)):
        assert "alert(1)" in text and not RAW.search(text)


def test_what_networks_and_measures_are_called_does_not_act():
    about = dict.fromkeys(("first", "second", "within", "dataset"), ATTACK)
    lines = [
        {**about, "compared": c, "rho": "1", "low": "0", "high": "1", "sets": "4"} for c in ("architectures",)
    ]
    text = "".join(rendering.part("tables", made) for made in table_sections({"agreement.csv": lines}))
    assert not RAW.search(text) and "alert(1)" in text


def test_whatever_is_no_markup_is_escaped_where_it_is_put_in():
    """Who forgets the markup shows it as text, and runs nothing."""
    table = Sheet(("<u>", "<u>"), {"<u>": [Line("<u>", (Entry("<u>", "<u>"),))]}, ("<u>",))
    for text in (html_table(table), markdown(table), build_page(RunReport("<u>", "<u>"))):
        assert "<u>" not in text and "&lt;u&gt;" in text
    assert r"\textless{}u\textgreater{}" in latex_table(table) and "<u>" not in latex_table(table)
    assert "<u>x</u>" in html_table(Sheet((Markup("<u>x</u>"),), {}, ()))


def test_a_link_leads_nowhere_but_to_a_file_beside_the_page():
    for name in ("javascript:alert(1)", "//evil.example/x", "a?b#c/d", "https://evil.example"):
        address = address_of(name)
        assert address.startswith("./") and not set(address) & set(":?#\"'<> ")


def test_the_policy_of_a_page_lets_its_own_script_run_and_no_other():
    page = build_page(RunReport("t", "<script>alert(1)</script>"))
    policy = re.search('Content-Security-Policy" content="([^"]*)"', page)[1]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    (script,) = re.findall("<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert rules["script-src"] == f"'sha256-{digest}'" and rules["default-src"] == "'none'"


FORMULAS = (
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "＝1",
    "'=1",
    "''-x",
    "- a",
)
PLAIN = ("", "'", "'quoted'", "a=b", "-0.5", "+1e-3", "-inf", "nan", 'a, "b"\nc', " =1")


@dataclasses.dataclass
class Keyed:
    config_hash: str
    a: str


def test_no_cell_of_a_table_is_a_formula_and_each_is_read_as_it_was(tmp_path):
    rows = [{"config_hash": str(i), "a": text} for i, text in enumerate((*FORMULAS, *PLAIN))]
    write_csv(tmp_path / "t.csv", rows, ("config_hash", "a"))
    assert read_table(tmp_path / "t.csv") == rows == texts_in([tmp_path / "t.csv"], Keyed)
    with (tmp_path / "t.csv").open(newline="") as file:
        cells = [line["a"] for line in csv.DictReader(file)]
    assert all(cell.startswith("'") for cell in cells[: len(FORMULAS)]) and cells[len(FORMULAS) :] == [*PLAIN]
    assert [in_csv(n) for n in (-1, -0.5, None)] == [-1, -0.5, None] and from_csv("'=x") == "=x"


def test_markdown_shows_a_text_as_it_is():
    odd = "a_b [x](javascript:y) *c* `d` <e> & f|g \\ _h_ ~i~\n# j"
    told = in_markdown(odd)
    assert told == "a_b \\[x\\](javascript:y) \\*c\\* \\`d\\` &lt;e&gt; &amp; f\\|g \\\\ \\_h\\_ \\~i\\~ # j"
    assert in_markdown("cross_expert 5×2 ± 0.3 †") == "cross_expert 5×2 ± 0.3 †"


def test_a_cards_front_matter_is_read_as_what_was_written():
    import yaml

    odd = "\x85---\n</script>\u2028& 'x': \"y\" 🙂"
    front = card(SyntheticSet.union([a_set("dataset", odd)]), 2, CardFacts()).split("---\n")[1]
    assert yaml.safe_load(front)["distilled"]["dataset"] == odd and "</script>" not in front
