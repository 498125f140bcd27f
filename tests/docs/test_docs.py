"""Code of the pages runs, on tiny checkpoints of the names that the pages use.

Blocks of ```python and ```console run in order, page by page. A comment `# -> value` is what an
expression must give. Blocks that need a hub, or a shell, have a class for it.
"""

import importlib.util
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
from inarch.models.gpt2.backbone import GPT2Backbone
from inarch.models.t5.backbone import T5Backbone
from inarch.models.wav2vec2.backbone import Wav2Vec2Backbone
from inarch.tasks import (
    AudioClassifier,
    AudioPreprocessor,
    CausalLM,
    CTCPreprocessor,
    CTCSpeechToText,
    MaskedLM,
    MultiVectorEmbedder,
    MultiVectorPreprocessor,
    QuestionAnswerer,
    Reranker,
    Seq2SeqLM,
    SparseEmbedder,
    TextClassifier,
    TextEmbedder,
    TextPreprocessor,
    TokenClassifier,
    Translator,
)
from inarch.text import BytePairTokenizer, CTCTokenizer, WordPieceTokenizer
from inarch.text.byte_level import BYTE_TO_UNICODE

from .blocks import blocks, execute

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), *DOCS.glob("tasks/*.md")])

LETTERS = "abcdefghijklmnopqrstuvwxyz"
VOCABULARY = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ":", "the", "cat", "sat", "on", "mat",
    "dog", "ran", "good", "bad", "film", *LETTERS, *(f"##{letter}" for letter in LETTERS),
]  # fmt: skip

BYTES = {token: i for i, token in enumerate([*BYTE_TO_UNICODE, "<|endoftext|>"])}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A folder with every checkpoint and file that the pages name."""

    def backbone(**changes):
        keras.utils.set_random_seed(3)
        return BertBackbone(len(VOCABULARY), 1, 2, 16, 24, max_sequence_length=32, **changes)

    def preprocessor(*allowed, **options):
        return TextPreprocessor(WordPieceTokenizer(VOCABULARY), 32, allowed, **options)

    root = tmp_path_factory.mktemp("docs")
    tasks = {
        "my-embedder": TextEmbedder(
            backbone(), preprocessor(prompts={"query": "query: "}), normalize=True
        ),
        "my-sparse-embedder": SparseEmbedder(backbone(pooler=False), preprocessor()),
        "my-multi-vector-embedder": MultiVectorEmbedder(
            backbone(pooler=False),
            MultiVectorPreprocessor(
                WordPieceTokenizer(VOCABULARY),
                32,
                query_expansion={"strategy": "min", "length": 8},
            ),
            [{"type": "Dense", "out_features": 16, "bias": False, "activation_function": None}],
        ),
        "my-masked-lm": MaskedLM(backbone(pooler=False), preprocessor("[MASK]")),
        "my-reranker": Reranker(backbone(), preprocessor=preprocessor()),
        "my-classifier": TextClassifier(
            backbone(), 2, preprocessor(), labels=["negative", "positive"]
        ),
        "my-tagger": TokenClassifier(backbone(), 3, preprocessor(), labels=["O", "B-PET", "I-PET"]),
    }
    nli = ["contradiction", "neutral", "entailment"]
    tasks["my-nli"] = TextClassifier(backbone(), 3, preprocessor(), labels=nli)
    tasks["my-answerer"] = QuestionAnswerer(backbone(pooler=False), preprocessor())
    of_bytes = BytePairTokenizer(BYTES, [], special_tokens={"eos_token": "<|endoftext|>"})
    decoder = GPT2Backbone(len(BYTES), 1, 2, 16, 24, max_sequence_length=64)
    tasks["my-causal-lm"] = CausalLM(decoder, TextPreprocessor(of_bytes, 64))
    both = T5Backbone(len(BYTES), 1, 1, 2, 16, 24, 8)
    special = {"decoder_start_token_id": 0, "eos_token_id": BYTES["<|endoftext|>"]}
    prompted = TextPreprocessor(of_bytes, 64, prompts={"summarization": "summarize: "})
    tasks["my-seq2seq"] = Seq2SeqLM(both, prompted, generation=special)
    prompts = {"translation_en_to_de": "translate English to German: "}
    tasks["my-translator"] = Translator(
        both, TextPreprocessor(of_bytes, 64, prompts=prompts), generation=special
    )
    hears = Wav2Vec2Backbone(
        1, 2, 16, 24, conv_dims=[8, 8], conv_kernels=[10, 8], conv_strides=[5, 4],
        position_kernel=4, position_groups=2,
    )  # fmt: skip
    tasks["my-audio-classifier"] = AudioClassifier(
        hears, 3, AudioPreprocessor(), ["yes", "no", "stop"]
    )
    letters = CTCTokenizer.from_texts([LETTERS + " "])
    tasks["my-ctc-model"] = CTCSpeechToText(
        hears, CTCPreprocessor(letters), letters.vocabulary_size
    )
    for name, task in tasks.items():
        task.save_to_preset(root / name)
    (root / "tests").mkdir()
    (root / "tests" / "golden").symlink_to(ROOT / "tests" / "golden")
    (root / "texts.txt").write_text("A good film.\nA bad film.\n")
    asked = {"pair": ["Who sat?", "The cat sat on the mat."]}
    (root / "questions.jsonl").write_text(json.dumps(asked) + "\n")
    (root / "reviews.jsonl").write_text(json.dumps({"review": "A good film."}) + "\n")
    return root


@pytest.fixture
def here(checkpoints, tmp_path, monkeypatch):
    """A folder of one's own that holds the checkpoints, as the current one."""
    for path in checkpoints.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def of_kind(page, kind):
    return [block for block in blocks(page) if block.kind == kind]


# Tasks and commands have their own tests, so `make test` leaves their pages to `make test-all`.
PYTHON = [
    pytest.param(p, marks=pytest.mark.slow if p.parent.name == "tasks" else (), id=p.stem)
    for p in PAGES
    if of_kind(p, "python")
]


@pytest.mark.filterwarnings("ignore:.* has no values for")
@pytest.mark.parametrize("page", PYTHON)
def test_python_on_the_pages_runs(page, here):
    # `__name__` is that of a module, which Keras looks up for the classes that a page defines.
    names = {"__name__": "__main__"}
    for block in of_kind(page, "python"):
        execute(block, str(page), names)


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if of_kind(p, "console")], ids=lambda p: p.stem)
def test_commands_on_the_pages_run(page, here):
    for block in of_kind(page, "console"):
        for number, line in enumerate(block.text.splitlines(), block.line + 1):
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


def test_blocks_that_do_not_run_have_a_reason():
    for page in PAGES:
        for block in blocks(page):
            if block.kind.startswith("{code-block}"):
                assert not block.runs, f"{page.name}:{block.line}"
            else:
                kinds = ("python", "console", "text")
                assert block.kind in kinds or block.kind[0] == "{", f"{page.name}:{block.line}"


# --- lists in the texts ------------------------------------------------------------------------


def test_the_readmes_table_has_every_architecture():
    spec = importlib.util.spec_from_file_location("architectures", DOCS / "architectures.py")
    architectures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(architectures)
    readme = (ROOT / "README.md").read_text("utf-8")
    assert architectures.with_table(readme) == readme, "write it anew: make tables"
