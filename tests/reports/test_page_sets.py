"""What a page shows of a set goes without a file beside it that is damaged, and says so."""

import pytest
from conftest_sets import a_set

from moe_distill.reports.looks import Look
from moe_distill.reports.sets import Manifest, read_distilled, set_sections, snapshots_of

FILES = ("manifest.json", "features_2d.csv", "curves.csv", "snapshots/expert_0-1.safetensors")
WRONG = {
    "empty": b"", "other text": b"quite another\n1", "not UTF-8": b"\xff\xfe,\n\x00", "deep": b"[" * 10**5,
    "numbers that are none": b'{"iterations": "many", "dcor2_unbiased": {}}',
    "quotes": b'1,a,"' + b"x" * 200_000,
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_beside_a_set_is_left_out_of_the_page(tmp_path, capsys, file, wrong):
    a_set().save(tmp_path / "expert_0.safetensors")
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_bytes(wrong)
    shown = [read_distilled("toys", "", Look(0), tmp_path)]
    assert shown[0].manifest == Manifest() and snapshots_of(tmp_path) == {}
    (images,) = set_sections(shown)  # neither curves nor features
    assert [card.title for card in images.cards] == ["toys"]
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith(f"{tmp_path / file}: left out of the page") for line in lines)
