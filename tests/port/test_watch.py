"""`inarch port check --watch`: a check for each change, in a process of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import inarch
from inarch.cli import port_watch
from inarch.errors import InputError

ROOT = Path(inarch.__file__).parent

# In place of a check: what the folder says, by a process that is told what to check.
CODE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
import inarch.models
from inarch.cli import main, port_watch
inarch.models.__path__ = [{home!r}]
port_watch.COMMAND = [sys.executable, "-c", {child!r}]
sys.argv = ["inarch", "port", "check", "new", "--watch", *{options!r}]
main()
"""
CHILD = """
import json, sys
text = open({path!r}).read()
print(json.dumps({{"text": text, "given": sys.argv[1:]}}))
sys.exit(text != "right")
"""


@pytest.fixture
def watched(tmp_path):
    """`watched(*options)`: a watch of a folder with one file, and that file."""
    folder = tmp_path / "models" / "new"
    folder.mkdir(parents=True)
    path = folder / "backbone.py"
    path.write_text("wrong")
    started = []

    def start(*options):
        child = CHILD.format(path=str(path))
        code = CODE.format(home=str(folder.parent), child=child, options=options)
        process = subprocess.Popen(
            [sys.executable, "-c", code], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        started.append(process)
        return process, path

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_each_change_is_checked_in_a_process_of_its_own_until_ctrl_c(watched):
    process, path = watched("--json", "--checkpoint", "tiny")
    first = json.loads(process.stdout.readline())
    assert first == {"text": "wrong", "given": ["new", "--checkpoint=tiny", "--json"]}
    path.write_text("right")
    assert json.loads(process.stdout.readline())["text"] == "right"
    (path.parent / "presets.toml").write_text("")  # a file that is new
    assert json.loads(process.stdout.readline())["text"] == "right"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err


def test_files_of_other_kinds_are_no_change(tmp_path):
    (tmp_path / "backbone.py").write_text("")
    before = port_watch.folder_state(tmp_path)
    (tmp_path / "backbone.py.swp").write_text("")
    (tmp_path / "__pycache__").mkdir()
    assert port_watch.folder_state(tmp_path) == before
    os.utime(tmp_path / "backbone.py", ns=(1, 1))
    assert port_watch.folder_state(tmp_path) != before


def test_a_folder_that_is_not_there_is_named():
    with pytest.raises(InputError, match="no folder 'bart2'"):
        port_watch.watch_check("bart2", [], as_json=False)


@pytest.mark.slow
def test_an_edit_of_the_real_folder_counts(tmp_path):
    """Break and mend a file of a copy of the package, and see red and green."""
    shutil.copytree(ROOT, tmp_path / "inarch", ignore=shutil.ignore_patterns("__pycache__"))
    path = tmp_path / "inarch" / "models" / "distil_bert" / "checkpoint.py"
    right = path.read_text()
    path.write_text(right.replace('norm("sa_layer_norm", "attention_norm"),', ""))
    process = subprocess.Popen(
        [sys.executable, "-m", "inarch", "port", "check", "distil_bert", "--watch", "--json",
         "--folder", str(ROOT.parent / "tests" / "golden")],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)}, text=True,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        first = json.loads(process.stdout.readline())
        assert first["first_failed"] == "prove"
        path.write_text(right)
        assert json.loads(process.stdout.readline())["passed"]
    finally:
        process.kill()
        process.wait()
