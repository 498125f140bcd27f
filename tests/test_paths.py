"""No name in a checkpoint leads outside its folder, for reading or for writing."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inarch.errors import CheckpointFileError
from inarch.paths import check_file_name, resolve_inside, resolve_to_replace

OUTSIDE = [
    "..", "../secret", "a/../../secret", "a/..", "/etc/passwd", "//server/share", "C:secret",
    "C:\\secret", "\\\\server\\secret", "..\\secret", "a\\..\\..\\secret", "file:///etc/passwd",
    "secret\0.json", "a\nb", ".git/hooks/post-commit", "a/.hidden", "nul", "a/COM1.json",
    "a" * 256, "a/" * 600 + "b", "\ud800", 3, None, ["x"], True, b"x",
]  # fmt: skip


@pytest.mark.parametrize("name", OUTSIDE, ids=ascii)
def test_a_name_that_leads_outside_is_refused_with_its_field_and_value(name, tmp_path):
    for check in (resolve_inside, lambda folder, *rest: check_file_name(*rest)):
        with pytest.raises(CheckpointFileError, match=r"modules.json: 'path' is ") as error:
            check(tmp_path, name, "modules.json: 'path'")
        assert repr(name)[1:8] in str(error.value) or ascii(name)[1:8] in str(error.value)


@pytest.mark.parametrize("name", ["", ".", "1_Pooling", "./a//b.json", "a/b/", "a..b", "é"])
def test_a_name_within_the_folder_is_a_path_below_it(name, tmp_path):
    path = resolve_inside(tmp_path, name)
    assert path == tmp_path / name
    assert ".." not in path.parts


def test_a_plain_name_has_no_folder_and_a_file_has_a_name(tmp_path):
    for name in ("a/b", "", "."):
        with pytest.raises(CheckpointFileError, match="isn't a plain file name"):
            resolve_inside(tmp_path, name, plain=True)
    for name in ("", ".", "/"):
        with pytest.raises(CheckpointFileError, match="it must be a path within"):
            check_file_name(name, "a file")
    assert check_file_name("./1_Pooling//config.json", "a file") == "1_Pooling/config.json"


@given(st.text() | st.text("./\\ab:~ \0", max_size=12))
def test_whatever_the_name_it_is_refused_or_is_within_the_folder(name):
    folder = Path("/nowhere/model")
    try:
        path = resolve_inside(folder, name)
    except CheckpointFileError:
        return
    assert Path(os.path.normpath(path)).is_relative_to(folder)
    assert os.fsencode(path)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_lead_within_the_folder_or_are_refused(tmp_path):
    folder, secret = tmp_path / "model", tmp_path / "secret"
    (folder / "sub").mkdir(parents=True)
    secret.mkdir()
    (secret / "config.json").write_text("{}")
    (folder / "there.json").write_text("{}")
    (folder / "within.json").symlink_to("there.json")
    (folder / "sub" / "up.json").symlink_to("../there.json")
    (folder / "file.json").symlink_to(secret / "config.json")
    (folder / "chain.json").symlink_to("file.json")
    (folder / "gone.json").symlink_to(secret / "gone")
    (folder / "folder").symlink_to("../secret")
    (tmp_path / "link").symlink_to(folder)
    for root in (folder, tmp_path / "link"):
        for name in ("within.json", "sub/up.json"):
            assert resolve_inside(root, name).read_text() == "{}"
        for name in (
            "file.json",
            "chain.json",
            "gone.json",
            "folder/config.json",
            "folder",
            "folder/new",
        ):
            with pytest.raises(CheckpointFileError, match=r"leads outside its folder, to .*secret"):
                resolve_inside(root, name)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_snapshot_of_the_hub_cache_may_link_to_the_blobs_of_its_repository_alone(tmp_path):
    one, two = (tmp_path / f"models--x--{name}" for name in ("one", "two"))
    for repository in (one, two):
        (repository / "blobs").mkdir(parents=True)
        (repository / "blobs" / "abc").write_text("{}")
        (repository / "snapshots" / "1" / "1_Pooling").mkdir(parents=True)
    snapshot = one / "snapshots" / "1"
    (snapshot / "config.json").symlink_to("../../blobs/abc")
    (snapshot / "1_Pooling" / "config.json").symlink_to("../../../blobs/abc")
    (snapshot / "other.json").symlink_to(two / "blobs" / "abc")
    (snapshot / "refs.json").symlink_to("../../refs")
    for name in ("config.json", "1_Pooling/config.json"):
        assert resolve_inside(snapshot, name).read_text() == "{}"
    assert resolve_inside(snapshot / "1_Pooling", "config.json").read_text() == "{}"
    for name in ("other.json", "refs.json"):
        with pytest.raises(CheckpointFileError, match="leads outside"):
            resolve_inside(snapshot, name)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_blobs_that_are_a_link_are_none(tmp_path):
    snapshot = tmp_path / "models--x--one" / "snapshots" / "1"
    snapshot.mkdir(parents=True)
    (tmp_path / "secret").write_text("mine")
    (tmp_path / "models--x--one" / "blobs").symlink_to(tmp_path)
    (snapshot / "config.json").symlink_to("../../blobs/secret")
    with pytest.raises(CheckpointFileError, match="leads outside"):
        resolve_inside(snapshot, "config.json")


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_is_replaced_itself_and_never_one_above_it_that_leads_outside(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").symlink_to(tmp_path / "elsewhere")
    (folder / "out").symlink_to(tmp_path)
    assert resolve_to_replace(folder, "config.json") == folder / "config.json"
    assert resolve_to_replace(folder, "new/config.json") == folder / "new" / "config.json"
    for name in ("out/config.json", "../config.json", "/config.json", ""):
        with pytest.raises(CheckpointFileError):
            resolve_to_replace(folder, name)
