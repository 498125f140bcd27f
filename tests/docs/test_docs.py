"""What the pages say runs, on tiny checkpoints of the names that the pages use.

Blocks of ```python and ```console run in order, page by page. A comment `# -> value` says what an
expression gives, and is held to it. Blocks that need a hub, or a shell, say so by their class.
"""

import ast
import json
import re
import shlex
from pathlib import Path

import keras
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from inarch.cli.app import app
from inarch.models.bert.backbone import BertBackbone
from inarch.tasks import MaskedLM, TextClassifier, TextEmbedder, TextPreprocessor
from inarch.text import WordPieceTokenizer

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
BLOCK = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = ":class: needs-hub\n"

LETTERS = "abcdefghijklmnopqrstuvwxyz"
VOCABULARY = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ":", "the", "cat", "sat", "on", "mat",
    "dog", "ran", "good", "bad", "film", *LETTERS, *(f"##{letter}" for letter in LETTERS),
]  # fmt: skip


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A folder with every checkpoint and file that the pages name."""

    def backbone(**changes):
        keras.utils.set_random_seed(3)
        return BertBackbone(len(VOCABULARY), 1, 2, 16, 24, max_sequence_length=32, **changes)

    def preprocessor(*allowed):
        return TextPreprocessor(WordPieceTokenizer(VOCABULARY), 32, allowed)

    root = tmp_path_factory.mktemp("docs")
    tasks = {
        "my-embedder": TextEmbedder(
            backbone(), preprocessor(), normalize=True, prompts={"query": "query: "}
        ),
        "my-masked-lm": MaskedLM(backbone(pooler=False), preprocessor("[MASK]")),
        "my-classifier": TextClassifier(
            backbone(), 2, preprocessor(), labels=["negative", "positive"]
        ),
    }
    for name, task in tasks.items():
        task.save_to_preset(root / name)
    (root / "tests").mkdir()
    (root / "tests" / "golden").symlink_to(ROOT / "tests" / "golden")
    (root / "texts.txt").write_text("A good film.\nA bad film.\n")
    (root / "reviews.jsonl").write_text(json.dumps({"review": "A good film."}) + "\n")
    return root


@pytest.fixture
def here(checkpoints, tmp_path, monkeypatch):
    """A folder of one's own that holds the checkpoints, as the current one."""
    for path in checkpoints.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def blocks(page, kind):
    """The blocks of a page that run: the line before each, and its text."""
    text = page.read_text("utf-8")
    found = [m for m in BLOCK.finditer(text) if m[1] == kind]
    return [(text.count("\n", 0, m.start(2)), m[2]) for m in found]


def execute(code, before, page, names):
    """Run a block statement by statement, and hold it to what its comments say."""
    lines = code.splitlines()
    for node in ast.increment_lineno(ast.parse(code), before).body:
        said = lines[node.end_lineno - before - 1].partition("# -> ")[2]
        if said:
            assert isinstance(node, ast.Expr), f"{page}:{node.lineno} says a value of no expression"
            value = eval(compile(ast.Expression(node.value), page, "eval"), names)
            assert repr(value) == said, f"{page}:{node.lineno}"
        else:
            exec(compile(ast.Module([node], []), page, "exec"), names)


@pytest.mark.filterwarnings("ignore:.* has no values for")
@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.stem)
def test_python_on_the_pages_runs(page, here):
    # `__name__` is that of a module, which Keras looks up for the classes that a page defines.
    names = {"__name__": "__main__"}
    for before, code in blocks(page, "python"):
        execute(code, before, str(page), names)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "console")], ids=lambda p: p.stem)
def test_commands_on_the_pages_run(page, here):
    for before, code in blocks(page, "console"):
        for number, line in enumerate(code.splitlines(), before + 1):
            prompt, program, *arguments = shlex.split(line)
            assert (prompt, program) == ("$", "inarch"), f"{page}:{number}"
            stdin = None
            if "<" in arguments:
                *arguments, _, file = arguments
                stdin = Path(file).read_text()
            result = CliRunner().invoke(app, arguments, input=stdin)
            assert result.exit_code == 0, f"{page}:{number}: {result.output}"


def test_every_command_is_described():
    described = set(re.findall(r"^## (.+)$", (DOCS / "command-line.md").read_text(), re.MULTILINE))
    assert described == set(get_command(app).commands)


def test_blocks_that_do_not_run_say_why():
    for page in PAGES:
        for kind, code in BLOCK.findall(page.read_text("utf-8")):
            if kind.startswith("{code-block}"):
                assert code.startswith(NOT_RUN), f"{page.name}: {code}"
            else:
                assert kind in ("python", "console", "text") or kind[0] == "{", f"{page}: {kind!r}"
