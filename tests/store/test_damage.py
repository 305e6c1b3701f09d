"""Stored files that are not what was written: named in one line, set aside, made again."""

import errno
import json
import os
import stat

import pytest

from moe_distill.costs import RecordedCost
from moe_distill.errors import InputError
from moe_distill.results.known_rows import KIND, FinishedRows
from moe_distill.store.damage import checksums
from moe_distill.store.disk import as_input_error
from moe_distill.store.locks import locked
from moe_distill.store.store import Store, write_text

DAMAGE = {
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "a bit": lambda data: data[:-5] + bytes([data[-5] ^ 1]) + data[-4:],
    "other content": lambda data: b'{"quite": "another"}',
}


def make(folder):
    (folder / "deep").mkdir()
    (folder / "deep" / "value.json").write_text('{"value": 42}')
    return {
        "cost": {"seconds": 1.5},
        "by": {2: "two", 10: "ten"},
    }  # keys that JSON sorts and writes otherwise


@pytest.mark.parametrize("file", ["manifest.json", "deep/value.json"])
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_artifact_is_named_set_aside_and_made_again(tmp_path, capsys, file, damage):
    folder = Store(tmp_path).obtain("thing", {"a": 1}, make)
    path, whole = folder / file, checksums(folder)
    path.write_bytes(damage(path.read_bytes()))
    spoiled, store = path.read_bytes(), Store(tmp_path)
    assert store.has("thing", {"a": 1}) and store.find("thing", {"a": 1}) is None
    (line,) = capsys.readouterr().out.splitlines()
    assert f"damaged: {folder}: {file} " in line and line.endswith(f"set aside as {folder.name}.damaged-1")
    assert (tmp_path / "thing" / f"{folder.name}.damaged-1" / file).read_bytes() == spoiled
    assert store.obtain("thing", {"a": 1}, make) == Store(tmp_path).find("thing", {"a": 1}) == folder
    assert checksums(folder).keys() == whole.keys()
    path.write_bytes(b"")  # once more, in the process that made it and knows it to be whole
    assert Store(tmp_path).find("thing", {"a": 1}) is None
    assert sorted(p.name for p in folder.parent.iterdir()) == [f"{folder.name}.damaged-{n}" for n in (1, 2)]


def test_a_missing_file_and_a_manifest_of_another_artifact_are_damage_too(tmp_path):
    one, other = (Store(tmp_path).obtain("thing", {"a": a}, make) for a in (1, 2))
    (one / "deep" / "value.json").unlink()
    (other / "manifest.json").write_text((one / "manifest.json").read_text())
    assert [Store(tmp_path).find("thing", {"a": a}) for a in (1, 2)] == [None, None]


def without_checksums(folder, *more):
    about = json.loads((folder / "manifest.json").read_text())
    older = {k: v for k, v in about.items() if k not in ("files", "checksum", *more)}
    (folder / "manifest.json").write_text(json.dumps(older))


def test_one_file_more_of_a_kind_that_an_artifact_holds_is_damage(tmp_path, capsys):
    folder = Store(tmp_path).obtain("thing", {"a": 1}, make)
    (folder / "notes.txt").write_text("mine")
    assert Store(tmp_path).find("thing", {"a": 1}) == folder
    (folder / "deep" / "more.json").write_text("{}")
    assert Store(tmp_path).find("thing", {"a": 1}) is None
    assert f"damaged: {folder}: deep/more.json is not one of its files; " in capsys.readouterr().out


WHOLE = {"seconds": 1.5, "peak_memory_mb": 9.0, "steps": 3, "images": 4}


@pytest.mark.parametrize("cost", [None, [], "much", {**WHOLE, "seconds": -5}, {"seconds": 1.5}])
def test_what_an_older_manifest_does_not_tell_is_one_line(tmp_path, capsys, cost):
    folder = Store(tmp_path).obtain("thing", {}, lambda folder: {"cost": WHOLE if cost is None else cost})
    without_checksums(folder, *["cost"] * (cost is None))
    store = Store(tmp_path)
    assert store.find("thing", {}) == folder
    with pytest.raises(InputError, match=rf"^paths\.store={folder}: a complete artifact; it was set aside"):
        store.read_metadata(folder, cost=RecordedCost)
    assert f"damaged: {folder}: manifest.json lacks or has a wrong cost" in capsys.readouterr().out
    assert store.obtain("thing", {}, lambda folder: {"cost": WHOLE}) == folder
    assert store.read_metadata(folder, cost=RecordedCost) == {"cost": WHOLE}


IN_ITS_PLACE = {
    "a file": lambda path: path.write_text("x"),
    "a pipe": os.mkfifo,
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link in a ring": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("put", IN_ITS_PLACE.values(), ids=IN_ITS_PLACE)
@pytest.mark.parametrize("verify", [True, False])
def test_what_is_no_folder_is_set_aside_before_anything_is_made(tmp_path, capsys, put, verify):
    place = Store(tmp_path).path("thing", {"a": 1})
    place.parent.mkdir()
    put(place)
    aside = place.with_name(f"{place.name}.damaged-2")
    aside.with_name(f"{place.name}.damaged-1").symlink_to("taken")

    def made(folder):
        assert not os.path.lexists(place) and os.path.lexists(aside)
        return make(folder)

    store = Store(tmp_path)
    assert (
        store.obtain("thing", {"a": 1}, made, verify=verify)
        == Store(tmp_path).find("thing", {"a": 1})
        == place
    )
    assert capsys.readouterr().out == f"damaged: {place}: it is not a folder; set aside as {aside.name}\n"


@pytest.mark.parametrize("file", ["manifest.json", "deep/value.json"])
def test_a_pipe_among_the_files_of_an_artifact_is_damage(tmp_path, file):
    folder = Store(tmp_path).obtain("thing", {"a": 1}, make)
    (folder / file).unlink()
    os.mkfifo(folder / file)
    assert Store(tmp_path).find("thing", {"a": 1}) is None


def test_artifacts_from_before_checksums_are_found_where_they_can_be_read(tmp_path):
    folder = Store(tmp_path).obtain("thing", {"a": 1}, make)
    without_checksums(folder)
    assert Store(tmp_path).find("thing", {"a": 1}) == folder
    (folder / "deep" / "value.json").write_text('{"value": 4')
    assert Store(tmp_path).find("thing", {"a": 1}) is None


def test_a_manifest_alone_is_read_without_the_files_it_speaks_of(tmp_path):
    folder = Store(tmp_path).obtain("thing", {}, make)
    (folder / "deep" / "value.json").write_text("")
    assert Store(tmp_path).obtain("thing", {}, make, verify=False) == folder
    (folder / "manifest.json").write_text("")
    store = Store(tmp_path)
    assert store.obtain("thing", {}, make, verify=False) == folder and len(store.made) == 1


def put_row(store, accuracy):
    def row(folder):
        (folder / "row.json").write_text(json.dumps({"accuracy_last": accuracy}))

    return store.obtain(KIND, {"a": 1}, row)


@pytest.mark.parametrize("accuracy", [7.5, -0.1, float("inf"), "half", "", None])
def test_a_row_that_claims_an_impossible_accuracy_is_damage(tmp_path, capsys, accuracy):
    folder = put_row(Store(tmp_path), accuracy)
    assert not FinishedRows(Store(tmp_path)).has(folder.name)
    assert f"claims an accuracy of {accuracy}" in capsys.readouterr().out and not folder.exists()


@pytest.mark.parametrize("text", ["[1]", "null", '"half"'])
def test_what_is_no_row_is_damage(tmp_path, capsys, text):
    folder = Store(tmp_path).obtain(KIND, {}, lambda folder: (folder / "row.json").write_text(text) and None)
    assert (
        not FinishedRows(Store(tmp_path)).has(folder.name)
        and "row.json holds no row; " in capsys.readouterr().out
    )


@pytest.mark.parametrize("accuracy", [0.0, 1.0, float("nan")])
def test_a_row_of_a_possible_accuracy_is_none(tmp_path, accuracy):
    folder = put_row(Store(tmp_path), accuracy)
    assert FinishedRows(Store(tmp_path)).has(folder.name)


@pytest.mark.parametrize(("mask", "folder", "file"), [(0o002, 0o775, 0o664), (0o077, 0o700, 0o600)])
def test_whatever_a_store_holds_follows_the_umask(tmp_path, mask, folder, file):
    before = os.umask(mask)
    try:
        Store(tmp_path / "store").obtain("thing", {}, make)
    finally:
        os.umask(before)
    for path in (tmp_path / "store").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (folder if path.is_dir() else file), path


def test_a_lock_file_of_another_user_is_one_line(tmp_path, monkeypatch):
    path = tmp_path / "x.lock"
    path.touch()

    def refused(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(InputError, match=r"^paths\.store=.*x\.lock: .*chmod -R g\+w"), locked(path):
        pass


def failure(number, path=None):
    return OSError(number, os.strerror(number), *([str(path)] if path else []))


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOTDIR])
def test_an_error_of_the_disk_names_the_key_and_the_folder_it_lies_in(tmp_path, number):
    store, runs = tmp_path / "runs" / "store", tmp_path / "runs"
    store.mkdir(parents=True)
    folders = {"paths.store": store, "paths.runs": runs}
    told = {
        path: as_input_error(failure(number, path), folders)
        for path in (store / "set", runs / "a", tmp_path / "data")
    }
    assert [(e.key, e.value) if e else None for e in told.values()] == [
        ("paths.store", store),
        ("paths.runs", runs),
        None,
    ]
    assert f"({os.strerror(number)}: {store / 'set'})" in str(told[store / "set"])
    assert (
        as_input_error(failure(errno.ENOENT, store / "gone"), folders) is None
    )  # it says nothing of writing


def test_a_link_to_nothing_where_a_folder_belongs_is_told_as_such(tmp_path):
    (tmp_path / "link").symlink_to("gone")
    with pytest.raises(InputError, match=r"^paths\.store=.*link: a folder .* \(A link to nothing: .*link\)$"):
        Store(tmp_path / "link").obtain("thing", {}, make)


def test_a_folder_in_the_place_of_a_file_that_is_written_is_set_aside(tmp_path, capsys):
    (tmp_path / "report.html").mkdir()
    (tmp_path / "report.html" / "mine.txt").write_text("kept")
    write_text(tmp_path / "report.html", "page")
    assert (
        tmp_path / "report.html"
    ).read_text() == "page" and "it is a folder; set aside" in capsys.readouterr().out
    assert (tmp_path / "report.html.damaged-1" / "mine.txt").read_text() == "kept"


def test_a_folder_that_cannot_exist_is_not_a_full_disk(tmp_path):
    for root in ("/dev/null", "/proc/foo"):
        with pytest.raises(
            InputError, match=rf"^paths\.store={root}: a folder that can be read and written \("
        ):
            Store(root).obtain("thing", {}, make)


def test_a_full_disk_is_told_of_the_folder_on_it(tmp_path, small_disk):
    folders = {"paths.store": tmp_path, "paths.runs": small_disk}
    with pytest.raises(OSError) as caught:
        (small_disk / "much").write_bytes(bytes(4 << 20))
    for error in (caught.value, RuntimeError("1234 requested and 12 written")):
        told = as_input_error(error, folders)
        assert told.key == "paths.runs" and told.value == small_disk and "disk is full" in str(told)
