"""Generated texts against their peers: translation, summarization, and continuation of prompts."""

from __future__ import annotations

from collections.abc import Iterator

from process import Probe
from table import Row, Setting, absent, installed

FILE = "generation_probes.py"
BACKENDS = {"jax": "JAX", "torch": "torch"}
WHAT = {
    "marian": "translation by beam search, Marian of 6 + 6 layers x 512",
    "bart": "summarization by beam search, BART base",
}


def generation(setting: Setting) -> Iterator[Row]:
    """Rows of processor time over a peer's, on one core, both in one process and in turns."""
    if not installed("torch", "transformers"):
        yield absent("generated texts over their peers", "torch or transformers")
        return
    rounds = str(max(1, setting.repeats // 2))
    for name, what in WHAT.items():
        yield from _beams(setting, name, f"{what}, 8 rows, 4 beams, 128 tokens", rounds)
    folder = str(setting.scratch / "qwen2")
    Probe(FILE, "make", (folder, "qwen2")).run()
    for backend, shown in BACKENDS.items():
        for rows in ("1", "8"):
            found = Probe(FILE, "causal", (folder, rows, rounds), backend).run()
            what = f"greedy search by Qwen2 0.5B, {rows} x 128 tokens, on {shown}"
            yield _row(what, found, "transformers", 1.0)


def _beams(setting: Setting, name: str, what: str, rounds: str) -> Iterator[Row]:
    folder = str(setting.scratch / name)
    Probe(FILE, "make", (folder, name)).run()
    for backend, shown in BACKENDS.items():
        found = Probe(FILE, "seq2seq", (folder, name, rounds), backend).run()
        yield _row(f"{what}, on {shown}", found, "transformers", 1 / 1.2)
        if "ctranslate2" in found:
            # The quicker backend is to be no slower.
            limit = 1.0 if backend == "jax" else None
            yield _row(f"{what}, on {shown}", found, "ctranslate2", limit)
        else:
            yield absent(f"{what}, on {shown}: time over CTranslate2's", "ctranslate2")


def _row(what: str, found: dict[str, float], peer: str, limit: float | None) -> Row:
    ours, theirs = found["ours"], found[peer]
    tokens = "the same tokens" if found[f"same_{peer}"] == 1 else (
        f"{found[f'same_{peer}']:.0%} of the rows have the same tokens"
    )  # fmt: skip
    shown = {"transformers": "transformers'", "ctranslate2": "CTranslate2's in float32"}[peer]
    figures = f"{ours:.2f} s over {theirs:.2f} s; {tokens}"
    return Row(f"{what}: time over {shown}", figures, ours / theirs, limit)
