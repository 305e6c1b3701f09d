"""Tables of other pipelines on a sweep's page."""

from moe_distill.reports import rendering
from moe_distill.reports.sections import table_sections, tables_of


def shown(tables):
    """Return the sections of a page's tables as HTML."""
    return "".join(rendering.part("tables", made) for made in table_sections(tables))


def test_lines_of_all_jobs_are_shown_once_with_what_varies(tmp_path):
    head = "roster,measure,value,scale,config_hash\n"
    first, second = "dm5x2,dcor,0.123456,small,1\n", "dm2x5,<hsic>,1e-3,small,2\n"
    for job, lines in (("a", first), ("b", first + second)):
        (tmp_path / job).mkdir()
        (tmp_path / job / "measures.csv").write_text(head + lines)
    found = tables_of(tmp_path, [tmp_path / "a", tmp_path / "b"])
    assert list(found) == ["measures.csv"] and len(found["measures.csv"]) == 2
    html = shown(found)
    assert html.count("<tr>") == 3 and "0.1235" in html and "&lt;hsic&gt;" in html and "0.001" in html
    assert "scale small" in html and "config_hash" not in html
    assert table_sections(tables_of(tmp_path / "a" / "nothing", [])) == []


def test_rank_correlations_of_a_sweep_come_first_and_whole(tmp_path):
    pairs = [(f"m{i}", f"m{j}") for i in range(25) for j in range(i)]
    head, told = "dataset,method,ipc,noe,compared,within,first,second,rho,low,high,sets\n", "d,dm,5,2"
    lines = [
        f"{told},measures,{net},{a},{b},0.5,-0.123,0.9,6\n" for net in ("vgg", "<net>") for a, b in pairs
    ]
    lines += [f"{told},architectures,m{i},vgg,<net>,nan,nan,nan,6\n" for i in range(25)]
    lines += ["d,idm,5,2,measures,vgg,m1,m0,-1.0,nan,nan,3\n"]
    (tmp_path / "agreement.csv").write_text(head + "".join(lines))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "measures.csv").write_text("measure,value,config_hash\ndcor,0.5,1\nhsic,0.25,2\n")
    html = shown(tables_of(tmp_path, [tmp_path / "a"]))
    assert html.count("+0.50 (−0.12 to +0.90)") == 2 * len(pairs) == 600 and html.count("undefined") == 25
    assert html.count("<td>−1.00</td>") == 1 and html.count("<h3>") == 3 and "<net>" not in html
    assert "dataset d, method idm, ipc 5, noe 2, sets 3" in html and "m1 ~ m0" in html
    assert html.index("Do networks") < html.index("Do measures") < html.index("real images dealt out")
    assert len(tables_of(tmp_path, [])["agreement.csv"]) == 626
