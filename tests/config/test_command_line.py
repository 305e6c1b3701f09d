"""What stands between a command line and Hydra: job names, the order of arguments, errors in one line."""

import hashlib
import re
from inspect import signature
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException
from hydra.utils import get_object
from omegaconf import OmegaConf

from moe_distill.config.arguments import (
    as_hydra_reads,
    reordered,
    takes_path,
    with_option_quoted,
    with_text_quoted,
    without_dashes,
)
from moe_distill.config.folders import conf_dir
from moe_distill.config.refusals import one_line
from moe_distill.config.schema import job_name
from moe_distill.errors import InputError


@pytest.mark.parametrize(
    "overrides", ["split=5x2,method=idm", "a.b='x y',c=[1,2]", "", "x=" + "long" * 99, "../up=1"]
)
def test_job_names_are_short_distinct_and_plain(overrides):
    name = job_name(overrides)
    assert re.fullmatch(r"[A-Za-z0-9._-]{9,89}", name) and not name.startswith("..")
    assert name.endswith("-" + hashlib.sha256(overrides.encode()).hexdigest()[:8])
    assert name != job_name(overrides + " ")


def test_a_job_name_shows_its_overrides():
    assert job_name("split=5x2,method=idm").startswith("split-5x2_method-idm-")


@pytest.mark.parametrize("flag", ["-m", "--multirun"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_multirun_flag_may_stand_anywhere(flag, place):
    arguments = ["+experiment=table1", "scale=small"]
    arguments.insert(place, flag)
    assert reordered(arguments) == [flag, "+experiment=table1", "scale=small"]


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (["b=1", "a=2"], ["b=1", "a=2"]),
        (["b=1", "--cfg", "job", "a=2"], ["--cfg", "job", "b=1", "a=2"]),
        (["b=1", "--config-dir", "here", "a=2", "-m"], ["--config-dir", "here", "-m", "b=1", "a=2"]),
        (["b=1", "--config-dir=here", "a=2"], ["--config-dir=here", "b=1", "a=2"]),
        (["b=1", "--info", "a=2"], ["--info", "b=1", "a=2"]),
        (["b=1", "--info", "plugins", "a=2"], ["--info", "plugins", "b=1", "a=2"]),
        (["a=1", "--multirun", "-m"], ["-m", "a=1"]),
        (["a=1", "--config-dir"], ["--config-dir", "a=1"]),
    ],
)
def test_flags_stand_before_the_overrides_which_keep_their_order(given, read):
    assert reordered(given) == read


def test_one_line_says_the_cause_and_drops_where_hydra_searched():
    error = HydraException(
        "Could not load 'x'.\n\nConfig search path:\n\tprovider=hydra, path=pkg\nSee https://x"
    )
    assert one_line(error) == "Could not load 'x'."
    error.__cause__ = ValueError("inner")
    error.__cause__.__cause__ = KeyError("root")
    assert one_line(error) == "Could not load 'x'. (KeyError: 'root')"


def test_one_line_stays_one_where_the_cause_has_several():
    error = HydraException("Error merging override ipc=ten")
    error.__cause__ = ValueError("no Integer\n    full_key: ipc\n    object_type=Config")
    assert (
        one_line(error)
        == "Error merging override ipc=ten (ValueError: no Integer full_key: ipc object_type=Config)"
    )


@pytest.mark.parametrize(
    ("file", "typed"),
    [
        ("model/foo", "model=foo"),
        ("model/foo/bar", "model=foo/bar"),
        ("diversity/measure/foo", "diversity/measure=foo"),
        ("diversity/measure/foo/bar", "diversity/measure=foo/bar"),
        ("mine/foo", "mine=foo"),
    ],
)
def test_an_option_that_is_none_is_named_as_it_was_typed(file, typed):
    error = MissingConfigException("no such file", file, ["a", "b"])
    assert one_line(error) == f"{typed}: one of a, b"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model=7", "model='7'"),
        ("+data@pipeline.onto=3", "+data@pipeline.onto='3'"),
        ("diversity/measure=null", "diversity/measure='null'"),
        ("data=[digits]", "data='[digits]'"),
        *((o, o) for o in ("+experiment=[a,b]", "recipe={epochs:3}")),
        *(
            (o, o)
            for o in (
                "model=vgg11",
                "model=vgg11,7",
                "split=7",
                "ipc=7",
                "~model",
                "experts.ipcs=[7,3]",
                "method.lr=1",
                "-m",
            )
        ),
    ],
)
def test_a_number_that_should_name_an_option_is_quoted_and_nothing_else_is(override, said):
    assert with_option_quoted(override) == said


ODD = [
    "/tmp/jürgen",
    "/tmp/a=b",
    "/tmp/a(1)",
    "/tmp/a[1]",
    "/tmp/a#b",
    "/tmp/a,b",
    "/tmp/~",
    "[a]",
    "2026",
    "/tmp/it's",
    "a&b;c",
]


@pytest.mark.parametrize(
    "key", ["data.root", "+pipeline.onto.root", "paths.store", "pipeline.to", "hydra.run.dir"]
)
@pytest.mark.parametrize("path", [*ODD, "/tmp/a b", "/tmp/a\\b", "true"])
def test_a_path_is_taken_as_it_is(key, path):
    (read,) = as_hydra_reads([f"{key}={path}"])
    assert OverridesParser.create().parse_override(read).value() == path
    assert as_hydra_reads([read]) == [read]  # a command that is shown is pasted


@pytest.mark.parametrize(
    ("given", "paths"),
    [
        ("data.root=/tmp/a,/tmp/b", ["/tmp/a", "/tmp/b"]),
        ("data.root=/tmp/jürgen,/tmp/a=b", ["/tmp/jürgen", "/tmp/a=b"]),
        ("data.root='/tmp/a,b',/tmp/c", ["/tmp/a,b", "/tmp/c"]),
        ("data.root=choice(a,b)", ["a", "b"]),
        ("data.root=~/a,/b", [str(Path("~/a").expanduser()), "/b"]),
    ],
)
def test_a_sweep_parts_paths_by_commas(given, paths):
    _, read = as_hydra_reads([given, "-m"])
    swept = OverridesParser.create().parse_override(read).sweep_string_iterator()
    assert [OverridesParser.create().parse_override(f"x={one}").value() for one in swept] == paths


@pytest.mark.parametrize(
    "given",
    ["data.root=null", "paths.runs=${oc.env:HOME}/e", "method.lr=0.1", "~data.root", "split=5x2", "root=[1]"],
)
def test_what_is_no_path_or_hydra_reads_already_stays(given):
    assert with_text_quoted(given, sweeping=False) == given


@pytest.mark.parametrize("key", ["name", "recipe.name", "+question.claim", "data.name", "split"])
@pytest.mark.parametrize(
    "text", ["jürgen", "größe", "a[/b]c", "a=b(1)", "of(all) it's", "a,é", "${oc.env:A,b}é"]
)
def test_text_that_hydra_cannot_read_is_taken_as_it_is_whatever_its_key(key, text):
    (read,) = as_hydra_reads([f"{key}={text}"])
    assert OverridesParser.create().parse_override(read).value() == text and as_hydra_reads([read]) == [read]


def test_a_sweep_parts_text_by_commas_and_keeps_its_grammar():
    for given, read in (
        ("name=jürgen,größe", "name='jürgen','größe'"),
        ("seed=range(1,3)", "seed=range(1,3)"),
    ):
        assert as_hydra_reads([given, "-m"]) == ["-m", read]


@pytest.mark.parametrize(
    "given", ["students=[a,", "method={a", "name='a", "name=choice(a,é)", "experts.ipcs=[7,3"]
)
def test_what_neither_hydra_reads_nor_is_text_is_refused_by_its_key(given):
    key, _, value = given.partition("=")
    with pytest.raises(InputError, match=re.escape(f"{key}={value}: a value whose quotes")):
        as_hydra_reads([given])


@pytest.mark.parametrize("value", ["9" * 309, "9" * 5000, f"[0.5,-{'9' * 400}]", "{a: 1" + "_0" * 400 + "}"])
def test_a_number_that_no_float_holds_is_refused_by_its_key(value):
    with pytest.raises(InputError, match=re.escape(f"width={value[:40]}…: numbers of at most 308 digits")):
        as_hydra_reads([f"width={value}"])
    as_hydra_reads([f"width={'9' * 308}", f"width=0.{'9' * 400}", f"data.root={value}", f"name='{value}'"])


@pytest.mark.parametrize("key", ["größe", "+model@students.x/y", "a b"])
def test_a_key_that_hydra_cannot_read_is_refused_as_such(key):
    with pytest.raises(InputError, match=re.escape(f"{key}=mlp: a key of names separated by dots")):
        as_hydra_reads([f"{key}=mlp"])


def leaves(node, at=""):
    """Yield every key of a configuration's yaml, with the class whose argument it is."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield f"{at}.{name}", node.get("_target_")
            yield from leaves(value, f"{at}.{name}")


def test_the_keys_that_take_a_path_are_those_of_the_configuration():
    """Found by walking it: whatever lies under paths, and each argument that is declared to be a path."""
    found = set()
    for file in sorted(path for path in Path(conf_dir()).rglob("*.yaml") if "preset" not in path.parts):
        group = file.relative_to(conf_dir()).parts[0].removesuffix(".yaml")
        for key, target in leaves(OmegaConf.to_container(OmegaConf.load(file), resolve=False), group):
            name = key.rpartition(".")[2]
            declared = (
                ""
                if target is None or "${" in target
                else signature(get_object(target)).parameters.get(name, "")
            )
            if group == "paths" or "Path" in str(declared) or name in ("root", "path", "to", "dir"):
                found.add(key)
                assert takes_path(key), key
    assert {"paths.store", "data.root", "pipeline.path", "pipeline.to", "config.hydra.run.dir"} <= found


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("--method.lr=0.1", "method.lr=0.1"),
        ("--data.root=/tmp/é", "data.root='/tmp/é'"),
        *(
            (flag, flag)
            for flag in ("--config-dir=here", "--config-name=mine", "--cfg=job", "--info", "-m", "~model")
        ),
    ],
)
def test_settings_that_an_agent_writes_with_dashes_are_settings(given, read):
    assert as_hydra_reads([given]) == [read] and (without_dashes(given) == given or given.startswith("--"))
