"""A load sees one save, whole, or begins anew."""

import contextlib
import json
import os
import threading
import time

import numpy as np
import pytest

from inarch.checkpoints.formats.files import SafetensorsFile, write_safetensors
from inarch.checkpoints.formats.weights import Shard, TensorInfo
from inarch.checkpoints.io import publish, steady
from inarch.checkpoints.io.atomic_write import replacing
from inarch.checkpoints.io.locks import locked
from inarch.checkpoints.io.steady import FolderState, retry_when_changed, settle
from inarch.errors import CheckpointFileError, FolderChangedError

SHARD = Shard("model.safetensors", {n: TensorInfo("F32", (50,)) for n in "ab"})
pytestmark = pytest.mark.skipif(os.name == "nt", reason="folders aren't held open there")


def save(folder, generation):
    with replacing(folder) as fresh:
        values = np.full(50, generation, "float32")
        write_safetensors(fresh / "model.safetensors", SHARD, lambda n: values)
        (fresh / "config.json").write_text(f"{generation}")
        (fresh / "inarch.json").write_text(f"{generation}")


def read(folder):
    """All that is in a checkpoint of `save`."""
    file = SafetensorsFile(folder / "model.safetensors")
    found = {*file.read("a").tolist(), *file.read("b").tolist()}
    file.close()
    return found | {float((folder / n).read_text()) for n in ("config.json", "inarch.json")}


@retry_when_changed
def load(folder):
    state = FolderState(folder)
    try:
        found = read(folder)
        state.check()
    except CheckpointFileError:
        state.check()
        raise
    except OSError as e:
        state.check()
        raise CheckpointFileError(str(e)) from e
    finally:
        state.close()
    return found


@pytest.fixture(params=["alone", "among other files", "without an exchange"])
def folder(request, tmp_path, monkeypatch):
    """Return a folder for each way in which a save comes into place."""
    save(tmp_path / "model", 1)
    if request.param == "among other files":
        (tmp_path / "model" / "README.md").write_text("mine")
    if request.param == "without an exchange":
        monkeypatch.setattr(publish, "_swap", lambda one, two: False)
    return tmp_path / "model"


def test_a_save_during_a_load_is_noticed(folder, monkeypatch):
    monkeypatch.setattr(publish, "READERS_PATIENCE", 0)
    state = FolderState(folder)
    state.check()
    save(folder, 2)
    with pytest.raises(FolderChangedError, match="was changed by another process .* load it again"):
        state.check()
    save(folder, 1)  # equal to what it was, but not the same
    assert state.has_changed()
    state.close()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_an_edit_during_a_load_is_noticed_and_one_before_it_is_not(name, folder):
    (folder / name).write_text("edited before")
    state = FolderState(folder)
    (folder / "log.txt").write_text("of somebody else")
    assert not state.has_changed()
    (folder / name).write_text("edited now")
    assert state.has_changed()
    state.close()


def test_a_link_that_leads_to_another_checkpoint_is_noticed(folder, tmp_path):
    save(tmp_path / "other", 2)
    (tmp_path / "latest").symlink_to(folder)
    state = FolderState(tmp_path / "latest")
    (tmp_path / "new").symlink_to(tmp_path / "other")
    os.replace(tmp_path / "new", tmp_path / "latest")
    assert state.has_changed()
    state.close()


def test_loads_during_saves_see_one_of_them(folder, monkeypatch):
    monkeypatch.setattr(publish, "READERS_PATIENCE", 0)
    ended, saved = threading.Event(), []

    def keep_saving():
        while not ended.is_set():
            saved.append(len(saved) + 2)
            save(folder, saved[-1])

    thread = threading.Thread(target=keep_saving)
    thread.start()
    seen = set()
    try:
        for count in range(3000):
            with contextlib.suppress(FolderChangedError):
                (generation,) = load(folder)
                seen.add(generation)
            if count >= 40 and len(seen) > 5:
                break
    finally:
        ended.set()
        thread.join()
    assert len(seen) > 5


def test_a_save_waits_for_a_load_but_not_for_ever(folder, monkeypatch):
    monkeypatch.setattr(publish, "READERS_PATIENCE", 0.3)
    state = FolderState(folder)
    begun = time.monotonic()
    save(folder, 2)
    assert time.monotonic() - begun > 0.3
    assert load(folder) == {2}
    state.close()
    begun = time.monotonic()
    save(folder, 3)
    assert time.monotonic() - begun < 0.3


def test_a_load_that_is_disturbed_each_time_fails(monkeypatch):
    calls = []
    monkeypatch.setattr(time, "sleep", lambda seconds: None)

    @retry_when_changed
    def disturbed(times):
        calls.append(times)
        if len(calls) <= times:
            raise FolderChangedError("changed")
        return "whole"

    assert disturbed(3) == "whole"
    calls.clear()
    with pytest.raises(FolderChangedError):
        disturbed(1000)
    assert len(calls) == steady.ATTEMPTS


def test_files_of_a_save_that_cannot_be_moved_are_waited_for_and_then_named(folder, monkeypatch):
    monkeypatch.setattr(steady, "PATIENCE", 0.05)
    (folder / ".inarch-save").mkdir()
    with locked(folder), pytest.raises(CheckpointFileError, match="not in their places"):
        settle(folder)
    settle(folder)
    assert not (folder / ".inarch-save").exists()
    assert load(folder) == {1}


# --- a save that came with a folder ------------------------------------------------------------


@pytest.fixture
def made_up(tmp_path):
    """A checkpoint with a save that nobody made, and a link to a folder outside."""
    save(tmp_path / "model", 1)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "config.json").write_text("mine")
    (tmp_path / "model" / "1_Link").symlink_to(tmp_path / "outside")
    (tmp_path / "model" / ".inarch-save").mkdir()
    (tmp_path / "model" / ".inarch-save" / "config.json").write_text("2")
    return tmp_path / "model"


def test_a_save_that_came_with_a_folder_writes_nothing_outside_it(made_up, tmp_path):
    (made_up / ".inarch-save" / "1_Link").mkdir()
    (made_up / ".inarch-save" / "1_Link" / "evil.sh").write_text("evil")
    with pytest.raises(CheckpointFileError, match="leads outside its folder, to .*outside"):
        load(made_up)
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["config.json"]
    assert (made_up / "config.json").read_text() == "1"  # not a part of it either


@pytest.mark.parametrize("stale", ["1_Link/config.json", "../1_Link/config.json"])
def test_a_save_that_came_with_a_folder_removes_nothing_outside_it(stale, made_up, tmp_path):
    (made_up / ".inarch-save" / ".stale.json").write_text(json.dumps([stale]))
    with contextlib.suppress(CheckpointFileError):
        load(made_up)
    assert (tmp_path / "outside" / "config.json").read_text() == "mine"


@pytest.mark.parametrize(
    "text", ["5", "null", '{"a": 1}', "[5]", "[" * 100_000, "", "[" + " " * (1 << 20)]
)
def test_stale_names_that_no_save_writes_are_refused_by_name(text, made_up):
    (made_up / ".inarch-save" / ".stale.json").write_text(text)
    with pytest.raises(CheckpointFileError, match=r"inarch-save.*stale\.json"):
        settle(made_up)
    assert (made_up / "config.json").read_text() == "1"


@pytest.mark.parametrize("kind", ["file", "link", "link to nowhere", "stale link", "stale pipe"])
def test_what_is_no_folder_of_a_save_is_refused_at_once(kind, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("it was waited for"))
    path = folder / ".inarch-save"
    if kind.startswith("stale"):
        path.mkdir()
        path /= ".stale.json"
    if kind == "file":
        path.write_text("")
    elif kind == "stale pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path if kind == "link" else tmp_path / "nowhere")
    for use in (load, lambda folder: save(folder, 2)):
        with pytest.raises(CheckpointFileError, match=f"{path.name} is no f.*remove it"):
            use(folder)
    path.unlink()
    assert load(folder) == {1}


def test_a_save_of_another_user_is_not_finished_by_a_load(made_up, monkeypatch):
    monkeypatch.setattr(steady, "PATIENCE", 0)
    monkeypatch.setattr(os, "geteuid", lambda: made_up.stat().st_uid + 1)
    with pytest.raises(CheckpointFileError, match="as the user who"):
        load(made_up)
    assert (made_up / "config.json").read_text() == "1"
