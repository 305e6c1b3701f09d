"""The site builds strictly; its links lead somewhere; it asks no other host for anything."""

import os
import re
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from omegaconf import OmegaConf

import moe_distill as md

ROOT = Path(__file__).parents[2]
SHOWN = ["table4"]  # of the gallery: all pages take a minute
# What the theme's script fetches only for pages with diagrams, light boxes, live code or a repository's
# numbers, of which we have none, and in browsers of before 2020.
ON_DEMAND = (
    "mermaid",
    "glightbox",
    "pyodide",
    "ace-builds",
    "resize-observer-polyfill",
    "api.github.com",
    "/api/v4/projects/",
)
# Names of formats and licences in scripts, which nobody fetches.
NAMES = ("http://www.w3.org/", "https://fontawesome.com")
# What a browser fetches when it shows a page, by tag and attribute; `a` only leads there.
FETCHED = {
    *(
        (tag, "src")
        for tag in ("audio", "embed", "iframe", "img", "input", "script", "source", "track", "video")
    ),
    *((tag, "href") for tag in ("image", "link", "use")),
    ("img", "srcset"),
    ("source", "srcset"),
    ("object", "data"),
    ("video", "poster"),
}


def build(folder, environment=None):
    """Build the staged site; return the finished process."""
    zensical = Path(sys.executable).parent / "zensical"
    command = [zensical, "build", "--strict", "-c", "-f", folder / "zensical.toml"]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """All that the site is built from."""
    folder = tmp_path_factory.mktemp("docs")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "docs")
        from generate import stage

        stage(folder, SHOWN)
    return folder


@pytest.fixture(scope="module")
def environment():
    """This process's, with the package that is tested on the path of others."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "moe_distill" / "sweeps")))}


@pytest.fixture(scope="module")
def site(staged, environment):
    """The built site's folder."""
    done = build(staged, environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return staged / "site"


class Page(HTMLParser):
    """The links, the ids and the resources of a page."""

    def __init__(self, text):
        super().__init__()
        self.links, self.ids, self.fetched, self.words = [], set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("id", "name"):
                self.ids.add(value)
            if name in ("href", "src") and value:
                self.links.append(value)
            name = name.removeprefix("xlink:")
            if (tag, name) in FETCHED and value:
                self.fetched.append(value)
            if name == "style" and value:
                self.fetched += addresses_in_css(value)

    def handle_data(self, data):
        self.words.append(data)


def addresses_in_css(text):
    """Return what a style sheet fetches."""
    return re.findall(r"url\(\s*['\"]?([^'\")]+)", text) + re.findall(r"@import\s+['\"]([^'\"]+)", text)


def is_outside(address):
    """Return True for an address on another host."""
    return urlsplit(address).scheme in ("http", "https") or address.startswith("//")


def outside(path):
    """Return what a file of the site fetches from other hosts."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".html":
        styles = re.findall(r"<style[^>]*>(.*?)</style>", text, re.DOTALL)
        fetched = [*Page(text).fetched, *(a for style in styles for a in addresses_in_css(style))]
    elif path.suffix in (".css", ".svg"):
        fetched = [*addresses_in_css(text), *re.findall(r"<image[^>]*href=['\"]([^'\"]+)", text)]
    else:  # a script may fetch any address that it names
        named = re.findall(r"https?://[^\s\"'`)]+", text)
        fetched = [a for a in named if not a.startswith(NAMES) and not any(word in a for word in ON_DEMAND)]
    return [address for address in fetched if is_outside(address)]


def test_no_page_asks_another_host_for_anything(site):
    files = [path for path in site.rglob("*") if path.suffix in (".html", ".css", ".js", ".svg")]
    assert len(files) > 30 and {path.suffix for path in files} == {".html", ".css", ".js", ".svg"}
    assert {path.name: outside(path) for path in files if outside(path)} == {}
    text = "".join(path.read_text() for path in site.glob("**/*.html"))
    assert not re.search(r'class="[^"]*\b(mermaid|glightbox|pyodide)\b|data-md-component="source"', text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.html", '<script src="https://cdn.example/x.js"></script>'),
        ("a.html", '<link rel="stylesheet" href="//fonts.example/css">'),
        ("a.html", "<style>@font-face { src: url(https://fonts.example/a.woff2) }</style>"),
        ("a.css", '@import "https://fonts.example/css";'),
        ("a.svg", '<svg><image href="https://pictures.example/a.png"/></svg>'),
        ("a.js", 'fetch("https://numbers.example/count")'),
    ],
)
def test_what_another_host_is_asked_for_is_seen(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert len(outside(tmp_path / name)) == 1


@cache
def page_of(path):
    """Return a page, read once."""
    return Page(path.read_text(encoding="utf-8"))


def is_dead(path, link):
    """Return True if a link of a page leads to no file, or to no place on its page."""
    parts = urlsplit(link)
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    place = unquote(parts.fragment)
    if not target.is_file():
        return True
    # Places with two underscores are made by the theme's script.
    return (
        bool(place)
        and target.suffix == ".html"
        and not (place.startswith("__") or place in page_of(target).ids)
    )


def test_every_link_leads_to_a_page_and_a_place_on_it(site):
    # 404.html is shown at any address, so its links are of the site's root.
    pages = [path for path in site.rglob("*.html") if path.name != "404.html"]
    links = [(path, link) for path in pages for link in page_of(path).links if not is_outside(link)]
    local = [(path, link) for path, link in links if not urlsplit(link).scheme]
    assert [f"{path.relative_to(site)}: {link}" for path, link in local if is_dead(path, link)] == []
    assert len(local) > 500


def test_a_dead_link_is_seen(tmp_path):
    page = tmp_path / "a.html"
    page.write_text('<p id="here"></p>')
    assert [is_dead(page, link) for link in ("#here", "a.html#here", "#gone", "b.html", "a.html#gone")] == [
        False,
        False,
        True,
        True,
        True,
    ]


def test_every_page_is_in_the_navigation_and_every_entry_there_is_a_page(staged):
    named = re.findall(r'= "([\w/]+\.md)"', (staged / "zensical.toml").read_text())
    pages = {path.relative_to(staged / "pages").as_posix() for path in (staged / "pages").rglob("*.md")}
    assert {*named} == {name for name in pages if name.count("/") < 2} and len(named) == len({*named})


@pytest.mark.parametrize(
    "line", ["[lost](nowhere.md)", "[lost](install.md#nowhere)", "::: moe_distill.nothing"]
)
def test_a_page_with_a_broken_reference_does_not_build(line, tmp_path, environment):
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / "index.md").write_text(f"# A page\n\n{line}\n")
    (pages / "install.md").write_text("# Another\n")
    text = (ROOT / "docs" / "zensical.toml").read_text()
    (tmp_path / "zensical.toml").write_text(
        re.sub(r"^nav = \[.*?^\]$", "", text, flags=re.DOTALL | re.MULTILINE)
    )
    assert build(tmp_path, environment).returncode != 0


def test_every_option_and_its_settings_are_in_the_tables(staged):
    text = (staged / "pages/reference/options.md").read_text()
    conf = ROOT / "conf"
    groups = {f.parent.relative_to(conf).as_posix() for f in conf.glob("*/**/*.yaml")}
    shown = [g for g in groups if g.partition("/")[0] not in ("hydra", "preset", "stages", "experiment")]
    assert (
        all(f"`{g}={f.stem}`" in text for g in shown for f in (conf / g).glob("*.yaml")) and len(shown) > 20
    )
    idm = text.partition("### `method=idm`")[2].partition("### ")[0]
    # A value of the yaml, its meaning from the docstring; one inherited, with the yaml's comment.
    assert "| `momentum` | <code>0.5</code> | Momentum of the images. |" in idm
    assert "| `queue.capacity` | <code>100</code> |" in idm
    cpu = text.partition("### `trainer=cpu`")[2].partition("### ")[0]
    assert "<code>cpu</code>" in cpu and "| `devices` | <code>1</code> |" in cpu
    about = OmegaConf.load(conf / "help.yaml").groups
    assert all(f"{words[1:]}." in text for name, words in about.items() if name in shown)


def test_every_top_level_setting_is_in_its_table(staged):
    text = (staged / "pages/reference/settings.md").read_text()
    assert all(f"| `{name}` |" in text for name in ("seed", "seeds", "split", "threads", "mixup_alpha"))
    assert (
        "| `seeds` | <code>Students</code> | <code>5</code> | Number of students per architecture. |" in text
    )


def test_every_public_name_is_in_the_reference(site):
    words = {page: " ".join(Page((site / f"reference/{page}.html").read_text()).words) for page in
             ("api", "methods", "models", "measures")}  # fmt: skip
    names = {*md.__all__} - {"methods", "models", "measures"}
    assert all(name in words["api"] for name in names)
    for page in ("methods", "models", "measures"):
        assert all(name in words[page] for name in getattr(md, page).__all__)
    assert "nothing was computed then" in words["api"]  # a docstring's Raises


def test_the_gallery_has_the_page_of_committed_rows(site):
    page = (site / "gallery/table4/report.html").read_text()
    assert "idm5x2" in page and "Keeping experts apart" in page
    assert "gallery/table4/report.html" in (site / "reference/experiments.html").read_text()


def test_search_finds_words_of_pages(site):
    index = (site / "search.json").read_text()
    assert all(word in index for word in ("herding", "umask", "cross_expert", "requeued"))
