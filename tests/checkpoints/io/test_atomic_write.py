"""A folder is replaced as a whole or not at all."""

import errno
import io
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from inarch.checkpoints.formats.files import write_safetensors
from inarch.checkpoints.formats.weights import Shard, TensorInfo
from inarch.checkpoints.io import publish as folders
from inarch.checkpoints.io.atomic_write import replacing
from inarch.checkpoints.io.steady import settle
from inarch.errors import CheckpointFileError

SHARD = Shard("model.safetensors", {n: TensorInfo("F32", (500,)) for n in "ab"})


def save(folder, generation, below=True, overwrite=False):
    """A save like a model's: weights, a config, a file in a folder below; all of one generation."""
    with replacing(folder, overwrite) as fresh:
        write_safetensors(
            fresh / "model.safetensors", SHARD, lambda n: np.full(500, generation, "float32")
        )
        (fresh / "config.json").write_text(f"{generation}")
        if below:
            (fresh / "1_Pooling").mkdir()
            (fresh / "1_Pooling/config.json").write_text(f"{generation}")


def tree(folder):
    """Contents of a folder by name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in Path(folder).rglob("*")
    }


@pytest.fixture(params=["exchange", "one by one"])
def way(request, monkeypatch):
    """Run with the system's exchange of two names, and without it, as on Windows and macOS."""
    if request.param == "one by one":
        monkeypatch.setattr(folders, "_swap", lambda one, two: False)


@pytest.fixture
def target(tmp_path):
    """A folder that is alone in its parent, with a first save in it and files of the user's."""
    folder = tmp_path / "parent" / "model"
    save(folder, 1)
    (folder / "README.md").write_text("mine")
    (folder / "notes" / "deep").mkdir(parents=True)
    (folder / "notes" / "deep" / "a.txt").write_text("mine too")
    return folder


def test_a_save_makes_the_folders_that_it_needs(tmp_path):
    folder = tmp_path / "a" / "b" / "c"
    save(folder, 1)
    assert (folder / "config.json").read_text() == "1"
    assert [p.name for p in folder.parent.iterdir()] == ["c"]


def test_a_new_folder_has_the_permissions_that_any_new_folder_has(tmp_path):
    (tmp_path / "usual").mkdir()
    save(tmp_path / "model", 1)
    assert (tmp_path / "model").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_replaced_folder_keeps_its_permissions(target, way):
    target.chmod(0o750)
    save(target, 2)
    assert target.stat().st_mode & 0o777 == 0o750


def test_a_second_save_replaces_what_is_written_and_keeps_the_rest(target, way):
    (target / "empty").mkdir()
    (target / "link").symlink_to("README.md")
    (target / "folder_link").symlink_to("notes")
    (target / "dangling").symlink_to("nowhere")
    save(target, 2)
    found = tree(target)
    assert found["config.json"] == found["1_Pooling/config.json"] == b"2"
    assert found["README.md"] == b"mine"
    assert found["notes/deep/a.txt"] == b"mine too"
    assert (target / "empty").is_dir()
    links = ("link", "folder_link", "dangling")
    assert [os.readlink(target / n) for n in links] == ["README.md", "notes", "nowhere"]
    assert [p.name for p in target.parent.iterdir()] == ["model"]


STALE = [
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "pytorch_model-00001-of-00002.bin",
    "model-00001-of-00002.safetensors",
    "any name.safetensors",
    "model.safetensors.index.json",
    "tf_model.h5",
]
# Written by no tool that a loader here recognizes.
MINE = [
    "training.bin", "onnx/model.safetensors", "model_card.md", "model.fp16.safetensors",
    "model_epoch3.safetensors", "pytorch_model_best.bin", "tf_model_old.h5", "mine.model",
    "model-00007-of-00009.safetensors", "2024_runs/config.json", "1_Other/config.json",
    "sentence_splitter_config.json", "vocab.txt.orig",
]  # fmt: skip


def index(*names):
    return json.dumps({"weight_map": dict(enumerate(names))})


def put(folder, names, text="old"):
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)


def test_old_weights_do_not_survive_next_to_new_ones(target, way):
    put(target, [*STALE, *MINE, "tokenizer.json"])
    (target / "model.safetensors.index.json").write_text(index(*STALE[3:5], "../escape.bin", 5))
    (target / "pytorch_model.bin.index.json").write_text(index(STALE[2], "README.md"))
    (target.parent / "escape.bin").write_text("mine")
    save(target, 2)
    found = tree(target)
    assert not set(STALE) & found.keys()
    assert all(found[name] == b"old" for name in (*MINE, "tokenizer.json"))
    assert found["README.md"] == b"mine"
    assert (target.parent / "escape.bin").exists()


def test_of_a_tokenizer_and_of_modules_all_files_of_the_last_save_count(target, way):
    old = ["vocab.txt", "tokenizer_config.json", "sentence_bert_config.json"]
    put(target, [*old, *MINE, "2_Normalize/config.json"])
    listed = [{"path": path} for path in ("", "2_Normalize", "../model", None)]
    (target / "modules.json").write_text(json.dumps(listed))
    save(target, 2, below=False)  # of neither: all of the old ones stay
    assert {*old, "2_Normalize/config.json"} < tree(target).keys()
    with replacing(target) as fresh:
        (fresh / "tokenizer.json").write_text("new")
    assert set(old[:2]).isdisjoint(tree(target))
    with replacing(target) as fresh:
        (fresh / "modules.json").write_text("[]")
    found = tree(target)
    assert {"tokenizer.json", "modules.json", "model.safetensors"} < found.keys()
    assert not {"sentence_bert_config.json", "2_Normalize/config.json"} & found.keys()
    assert all(found[name] == b"old" for name in MINE)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_listed_module_that_is_a_link_outside_is_left_alone(target, tmp_path, way):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("mine")
    (target / "2_Link").symlink_to(tmp_path / "mine")
    (target / "modules.json").write_text('[{"path": "2_Link"}]')
    with replacing(target) as fresh:
        (fresh / "modules.json").write_text("[]")
    assert (tmp_path / "mine" / "config.json").read_text() == "mine"
    assert (target / "modules.json").read_text() == "[]"
    assert not (target / ".inarch-save").exists()


def test_without_hard_links_kept_files_stay(tmp_path, way, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(errno.EPERM, "no links here")

    save(tmp_path / "model", 1)
    (tmp_path / "model/tokenizer.json").write_text("kept")
    monkeypatch.setattr(os, "link", refuse)
    save(tmp_path / "model", 2)
    assert (tmp_path / "model/tokenizer.json").read_text() == "kept"
    assert (tmp_path / "model/config.json").read_text() == "2"


def test_saving_through_a_link_replaces_what_it_points_to(target, tmp_path, way):
    link = tmp_path / "link"
    link.symlink_to(target)
    save(link, 2)
    assert link.is_symlink()
    assert (target / "config.json").read_text() == "2"
    assert (target / "README.md").read_text() == "mine"


def test_saving_through_a_link_to_nowhere_makes_its_target(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "new" / "model")
    save(tmp_path / "link", 1)
    assert (tmp_path / "new" / "model" / "config.json").read_text() == "1"


@pytest.mark.parametrize("error", [ValueError("in our code"), KeyboardInterrupt()])
def test_a_block_that_fails_leaves_no_trace(error, target, way):
    before = tree(target.parent)

    def fail():
        with replacing(target) as fresh:
            (fresh / "config.json").write_text("2")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert tree(target.parent) == before


os_mkdir = os.mkdir


class FullDisk:
    """Disk that fails at the n-th step that needs it, and a count of the steps."""

    def __init__(self, fails_at, monkeypatch):
        self.step = 0
        self.fails_at = fails_at
        for home, name in [
            (os, "fsync"), (os, "mkdir"), (os, "rename"), (os, "chmod"), (folders, "_swap")
        ]:  # fmt: skip
            monkeypatch.setattr(home, name, self.counted(getattr(home, name)))
        opened = io.open
        disk = self

        def failing_open(file, mode="r", *args, **kwargs):
            handle = opened(file, mode, *args, **kwargs)
            if "w" in mode:
                disk.take()
                handle = FailingFile(handle, disk)
            return handle

        monkeypatch.setattr(io, "open", failing_open)

    def take(self):
        self.step += 1
        if self.step == self.fails_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def counted(self, function):
        def call(*args, **kwargs):
            if function is not os_mkdir or not os.path.exists(args[0]):
                self.take()
            return function(*args, **kwargs)

        return call


class FailingFile:
    """A file whose writes are steps of a `FullDisk`."""

    def __init__(self, handle, disk):
        self.handle = handle
        self.disk = disk

    def write(self, data):
        self.disk.take()
        return self.handle.write(data)

    def __getattr__(self, name):
        return getattr(self.handle, name)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.handle.close()


@pytest.mark.parametrize("way_", ["exchange", "one by one"])
@pytest.mark.parametrize("kind", ["new folder", "checkpoint alone", "among other files"])
def test_a_disk_full_at_any_step_leaves_the_old_files_whole(way_, kind, tmp_path):
    folder = tmp_path / "model"
    if kind != "new folder":
        save(folder, 1)
    if kind == "among other files":
        (folder / "README.md").write_text("mine")
    before = tree(tmp_path)
    for step in range(1, 200):
        with pytest.MonkeyPatch.context() as patch:
            if way_ == "one by one":
                patch.setattr(folders, "_swap", lambda one, two: False)
            disk = FullDisk(step, patch)
            try:
                save(folder, 2)
                break
            except CheckpointFileError as error:
                message = str(error)
        assert "model" in message
        assert "No space left" in message
        assert tree(tmp_path) == before
    else:
        pytest.fail("the save never ran to its end")
    # Only what comes after the save is made may fail unseen: that its names are on the disk.
    assert disk.step >= step > 12
    found = tree(folder)
    assert found["config.json"] == found["1_Pooling/config.json"] == b"2"
    assert found.keys() == set(before_names(kind))
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def before_names(kind):
    names = ["model.safetensors", "config.json", "1_Pooling", "1_Pooling/config.json"]
    return [*names, "README.md"] if kind == "among other files" else names


CHILD = """
import sys
sys.path[:0] = [{tests!r}, {root!r}]
from test_atomic_write import save
"""
TESTS = Path(__file__).parent


def child(code, *arguments, **options):
    code = CHILD.format(tests=str(TESTS), root=str(TESTS.parents[2])) + code
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


@pytest.mark.skipif(os.name == "nt", reason="no file size limits")
def test_a_real_write_error_in_the_middle_of_a_file_leaves_the_old_files_whole(target):
    before = tree(target.parent)
    run = child(
        "import resource\n"
        "from inarch.errors import CheckpointFileError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2500, 2500))\n"
        "try:\n    save(sys.argv[1], 2)\n"
        "except CheckpointFileError as e:\n    print(e)",
        target,
    )
    output, _ = run.communicate(timeout=60)
    assert "can't be written: File too large" in output
    assert tree(target.parent) == before


@pytest.mark.skipif(os.name == "nt", reason="no locks that end with a process")
@pytest.mark.parametrize("alone", [True, False])
def test_a_kill_at_any_moment_leaves_one_whole_save(alone, tmp_path):
    folder = tmp_path / "model"
    save(folder, 0)
    if not alone:
        (folder / "README.md").write_text("mine")
    names = tree(folder).keys()
    moments = random.Random(0)
    generations = set()
    for start in range(0, 5000, 1000):
        run = child(
            "print('ready', flush=True)\n"
            "for n in range(int(sys.argv[2]), 100_000):\n    save(sys.argv[1], n)",
            folder,
            start,
        )
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
        time.sleep(moments.uniform(0, 0.25))
        run.kill()
        run.communicate(timeout=60)
        settle(folder)
        found = tree(folder)
        assert found.keys() == names
        generation = int(found["config.json"])
        generations.add(generation)
        assert int(found["1_Pooling/config.json"]) == generation
        weights = np.frombuffer(found["model.safetensors"][-4000:], "<f4")
        assert set(weights) == {generation}
    assert len(generations) > 1
    save(folder, -1)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]  # what the killed ones left is gone


def test_a_file_in_the_folders_place_is_refused_and_kept(tmp_path):
    (tmp_path / "model").write_text("mine")
    with pytest.raises(CheckpointFileError, match="model is a file"):
        save(tmp_path / "model", 1)
    assert (tmp_path / "model").read_text() == "mine"


@pytest.mark.parametrize("way_there", ["dot", "absolute", "link", "above", "above, absolute"])
def test_the_current_directory_and_those_above_it_are_refused_and_kept(
    way_there, tmp_path, monkeypatch
):
    here = tmp_path / "project" / "work"
    here.mkdir(parents=True)
    (here / "mine.txt").write_text("mine")
    (tmp_path / "link").symlink_to(here)
    monkeypatch.chdir(here)
    before, inode = tree(tmp_path), here.stat().st_ino
    target = {
        "dot": ".", "absolute": here, "link": tmp_path / "link", "above": "..",
        "above, absolute": tmp_path,
    }[way_there]  # fmt: skip
    with pytest.raises(CheckpointFileError, match=r"current directory.*choose a folder within"):
        save(target, 1)
    assert Path.cwd() == here
    assert here.stat().st_ino == inode
    assert tree(tmp_path) == before
    save("model", 1)  # the way out
    assert (here / "model" / "config.json").read_text() == "1"


def test_a_folder_without_a_name_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointFileError, match="the folder to save to is ''"):
        save("", 1)
    assert not tree(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="a directory in use can't be removed")
def test_a_missing_current_directory_is_reported_as_such(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here").rmdir()
    with pytest.raises(CheckpointFileError, match="the current directory is gone"):
        save("model", 1)
    assert not tree(tmp_path)


def test_a_folder_below_a_file_is_refused_by_name(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CheckpointFileError, match="model can't be written"):
        save(tmp_path / "file" / "model", 1)
    assert tree(tmp_path) == {"file": b"mine"}


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_refused_by_name(target):
    target.parent.chmod(0o500)
    try:
        with pytest.raises(CheckpointFileError, match="Permission denied"):
            save(target, 2)
        assert (target / "config.json").read_text() == "1"
    finally:
        target.parent.chmod(0o700)


def test_a_folder_that_may_not_be_exchanged_is_refused_and_stays(target, monkeypatch):
    def refuse(self, to):
        raise OSError(errno.EBUSY, "Device or resource busy")  # as a mounted folder does

    before = tree(target.parent)
    monkeypatch.setattr(folders, "_swap", lambda one, two: False)
    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(CheckpointFileError, match="busy; what was there is unchanged"):
        save(target, 2)
    assert tree(target.parent) == before


def test_a_system_without_an_exchange_is_noticed(tmp_path, monkeypatch):
    def none(*args, **kwargs):
        raise TypeError("no C library by that name")

    monkeypatch.setattr(folders.ctypes, "CDLL", none)
    save(tmp_path / "model", 1)
    save(tmp_path / "model", 2)
    assert (tmp_path / "model" / "config.json").read_text() == "2"


# --- what is somebody else's ----------------------------------------------------------------------


def facts(folder):
    """Number, rights, times, target and content of all that isn't a checkpoint's."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        name = path.relative_to(folder).as_posix()
        if name in ("model.safetensors", "config.json", "1_Pooling", "1_Pooling/config.json", "."):
            continue
        stat = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.is_file() and path.read_bytes()
        found[name] = (stat.st_ino, stat.st_mode, stat.st_mtime_ns, stat.st_ctime_ns, content)
    return found


@pytest.mark.skipif(os.name == "nt", reason="rights and links of POSIX")
def test_a_save_touches_only_its_own_files(target, way):
    (target / "notes").chmod(0o700)
    (target / "README.md").chmod(0o600)
    (target / "link").symlink_to("notes")
    os.utime(target / "README.md", (1, 1))
    os.link(target / "README.md", target / "second name")
    (target / "config.json").chmod(0o640)
    before, inode = facts(target), target.stat().st_ino
    save(target, 2)
    assert facts(target) == before
    assert target.stat().st_ino == inode
    assert (target / "config.json").read_text() == "2"
    assert (target / "config.json").stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(sys.platform != "linux", reason="needs an exchange of two names in one step")
def test_a_folder_that_holds_a_checkpoint_alone_is_exchanged_as_a_whole(tmp_path):
    save(tmp_path / "model", 1)
    inode = (tmp_path / "model").stat().st_ino
    save(tmp_path / "model", 2)
    assert (tmp_path / "model").stat().st_ino != inode


@pytest.mark.parametrize("moment", ["while it is written", "at the exchange"])
def test_a_file_that_somebody_makes_during_a_save_is_kept(moment, tmp_path, way, monkeypatch):
    folder = tmp_path / "model"
    save(folder, 1)
    swap = folders._swap

    def make():
        (folder / "notes").mkdir()
        (folder / "notes" / "a.txt").write_text("mine")
        (folder / "log.txt").write_text("mine")

    def late(one, two):
        make()
        return swap(one, two)

    if moment == "at the exchange":
        monkeypatch.setattr(folders, "_swap", late)
        save(folder, 2)
    else:
        with replacing(folder) as fresh:
            make()
            (fresh / "config.json").write_text("2")
    found = tree(folder)
    assert found["config.json"] == b"2"
    assert found["log.txt"] == found["notes/a.txt"] == b"mine"
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("place", ["home", "above the home", "the root"])
def test_the_home_folder_and_the_root_are_refused(place, tmp_path, monkeypatch):
    home = tmp_path / "homes" / "me"
    home.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    target = {"home": home, "above the home": home.parent, "the root": Path(tmp_path.anchor)}[place]
    for overwrite in (False, True):
        with pytest.raises(CheckpointFileError, match="choose a folder within it"):
            save(target, 1, overwrite=overwrite)
    assert tree(tmp_path / "homes").keys() == {"me"}
    save(home / "model", 1)


@pytest.mark.parametrize(
    "names",
    [
        ["thesis.tex"], ["config.json"], ["README.md", "tokenizer.json"], [".git/HEAD"], ["a/b/c"],
        ["2024_runs/notes.txt"], ["2024_runs/config.json"], ["run.pt"], ["run.pt", "config.json"],
        ["config.json", "model.safetensors"], ["model_epoch3.safetensors"],
    ],
)  # fmt: skip
def test_a_folder_of_other_things_is_refused_unless_allowed(names, tmp_path):
    folder = tmp_path / "work"
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text('{"port": 80}')
    before = facts(tmp_path)
    with pytest.raises(CheckpointFileError, match="holds no checkpoint; choose another.*overwrite"):
        save(folder, 1)
    assert facts(tmp_path) == before
    save(folder, 1, overwrite=True)
    assert (folder / "config.json").read_text() == "1"
    assert {*names, "model.safetensors"} <= tree(folder).keys()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.json", '{"model_type": "bert"}'), ("pytorch_model.bin", ""), ("inarch.json", "{}"),
        ("model-00001-of-00002.safetensors", ""), ("tokenizer.json", "{}"), ("tf_model.h5", ""),
    ],
)  # fmt: skip
def test_a_folder_with_a_checkpoint_or_a_part_of_one_is_saved_to(name, text, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / name).write_text(text)
    save(tmp_path / "model", 1)
    assert (tmp_path / "model" / "config.json").read_text() == "1"


def test_a_folder_in_a_files_place_is_refused_before_anything_moves(target, way):
    (target / "config.json").unlink()
    (target / "config.json").mkdir()
    before = tree(target.parent)
    with pytest.raises(CheckpointFileError, match="config.json is a folder, where a file is"):
        save(target, 2)
    assert tree(target.parent) == before


# --- saves that were cut off ----------------------------------------------------------------------


class Killed(BaseException):
    """A process that ends in the middle of a save."""


@pytest.mark.parametrize("moves", range(4))
def test_a_save_that_is_cut_off_while_its_files_are_moved_is_finished(moves, target, monkeypatch):
    put(target, ["model-00001-of-00002.safetensors"])
    (target / "model.safetensors.index.json").write_text(index("model-00001-of-00002.safetensors"))
    replace, done = os.replace, []

    def dying(one, two):
        if len(done) == moves:
            raise Killed
        done.append(two)
        replace(one, two)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", dying)
        if moves < 3:
            with pytest.raises(Killed):
                save(target, 2)
            assert (target / ".inarch-save").is_dir()
        else:
            save(target, 2)
    assert [Path(path).name for path in done[:1]] == ["model.safetensors"] * bool(moves)
    settle(target)
    found = tree(target)
    assert found["config.json"] == found["1_Pooling/config.json"] == b"2"
    assert set(np.frombuffer(found["model.safetensors"][-4000:], "<f4")) == {2}
    assert not {".inarch-save", "model-00001-of-00002.safetensors"} & found.keys()


@pytest.mark.skipif(os.name == "nt", reason="no locks that end with a process")
def test_leftovers_of_killed_saves_are_removed_and_those_of_live_ones_are_not(tmp_path):
    folder = tmp_path / "model"
    save(folder, 1)
    code = (
        "from inarch.checkpoints.io.atomic_write import replacing\n"
        "with replacing(sys.argv[1]) as fresh:\n"
        "    (fresh / 'config.json').write_text('x')\n"
        "    print('ready', flush=True)\n    sys.stdin.read()"
    )
    run = child(code, folder, stdin=subprocess.PIPE)
    assert run.stdout.readline() == "ready\n"
    (left,) = [path for path in tmp_path.iterdir() if path != folder]
    mine = tmp_path / ".model.mine"
    mine.mkdir()
    save(folder, 2)
    assert left.is_dir()
    run.kill()
    run.communicate(timeout=60)
    save(folder, 3)
    assert {path.name for path in tmp_path.iterdir()} == {"model", ".model.mine"}
