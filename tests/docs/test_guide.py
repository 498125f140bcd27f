"""The guide rebuilds DistilBERT from nothing, and ends with what is in the repository."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import pytest

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "contribute"
FOLDER = Path("inarch/models/distil_bert")
RUNNER = Path("tests/docs/guide.py")


def pages():
    """The pages of the guide in the order of its table of contents."""
    index = GUIDE / "index.md"
    (names,) = re.findall(r"```{toctree}\n(?::.*\n)*\n(.*?)```", index.read_text(), re.DOTALL)
    return [index, *(GUIDE / f"{name}.md" for name in names.split())]


@pytest.fixture
def scratch(tmp_path):
    """A copy of the repository without DistilBERT, with the guide's checkpoint of it."""
    root = tmp_path / "guide"
    root.mkdir()
    rest = shutil.ignore_patterns("__pycache__", "distil_bert", "distil_bert.safetensors")
    for name in ("inarch", "tests"):
        shutil.copytree(ROOT / name, root / name, ignore=rest)
    shutil.copy(ROOT / "pyproject.toml", root)
    shutil.copytree(GUIDE / "tiny", root / "tiny")
    shutil.copy(ROOT / "tests/golden/distil_bert.safetensors", root / "distil_bert.safetensors")
    return root


def follow(root, *steps):
    environment = os.environ | {
        "PYTHONPATH": str(root), "COLUMNS": "80", "KERAS_BACKEND": keras.backend.backend(),
        "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    arguments = [sys.executable, str(root / RUNNER), *map(str, steps)]
    return subprocess.run(
        arguments, cwd=root, env=environment, capture_output=True, text=True, check=False
    )


def same_as_here(scratch):
    made = {path.name: path.read_text() for path in (scratch / FOLDER).iterdir() if path.is_file()}
    right = {path.name: path.read_text() for path in (ROOT / FOLDER).iterdir() if path.is_file()}
    for name in sorted(made.keys() | right.keys()):
        assert made.get(name) == right.get(name), f"{FOLDER / name}, as the guide makes it"


def test_the_guide_spells_out_the_files_that_are_here(scratch):
    done = follow(scratch, "--files", *pages())
    assert done.returncode == 0, done.stderr
    same_as_here(scratch)


@pytest.mark.slow
def test_following_the_guide_makes_the_architecture_that_is_here(scratch):
    assert not (scratch / FOLDER).exists()
    done = follow(scratch, *pages())
    assert done.returncode == 0, done.stderr
    same_as_here(scratch)


def test_every_page_of_the_guide_is_a_step_of_it():
    assert sorted(pages()) == sorted(GUIDE.glob("*.md"))


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("```python\n1 + 1  # -> 3\n```\n", "it is 2"),
        ("```python\nimport inarch.models.nothing\n```\n", "ModuleNotFoundError"),
        ("```console\n$ cp nowhere here\n```\n", "exit code 1"),
        ("```console\n$ inarch --version\ninarch 9.9\n```\n", "-inarch 9.9"),
        ("```{code-block} diff\n:caption: pyproject.toml\n-no such line\n+one\n```\n", "0 times"),
        ("```ruby\nputs 1\n```\n", "nothing is known"),
    ],
)
def test_a_page_that_differs_is_noticed(page, message, scratch, tmp_path):
    path = tmp_path / "page.md"
    path.write_text(page)
    done = follow(scratch, path)
    assert done.returncode == 1
    assert message in done.stderr
    assert "page.md, the block at line " in done.stderr
