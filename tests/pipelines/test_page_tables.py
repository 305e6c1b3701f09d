"""Tables of other pipelines on a sweep's page."""

from moe_distill.pipelines.page_tables import tables_of, tables_section


def test_lines_of_all_jobs_are_shown_once_with_what_varies(tmp_path):
    head = "roster,measure,value,scale,config_hash\n"
    first, second = "dm5x2,dcor,0.123456,small,1\n", "dm2x5,<hsic>,1e-3,small,2\n"
    for job, lines in (("a", first), ("b", first + second)):
        (tmp_path / job).mkdir()
        (tmp_path / job / "measures.csv").write_text(head + lines)
    found = tables_of(tmp_path)
    assert list(found) == ["measures.csv"] and len(found["measures.csv"]) == 2
    html = tables_section(found)
    assert html.count("<tr>") == 3 and "0.1235" in html and "&lt;hsic&gt;" in html and "1e-3" in html
    assert "scale small" in html and "config_hash" not in html
    assert tables_section(tables_of(tmp_path / "a" / "nothing")) == ""
