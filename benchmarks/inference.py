"""Text tasks against their peers: throughput on texts of mixed lengths, latency and memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from process import Probe, medians
from table import Row, Setting, absent, installed

FILE = "inference_probes.py"
BACKENDS = {"jax": "JAX", "torch": "torch"}
PEERS = "all-MiniLM-L6-v2, torch, transformers or sentence-transformers"


def inference(setting: Setting) -> Iterator[Row]:
    """Rows of time over a peer's, both in one process and in turns."""
    if setting.minilm is None or not installed("torch", "transformers", "sentence_transformers"):
        yield absent("text tasks over their peers", PEERS)
        return
    minilm, made = str(setting.minilm), setting.scratch / "encoders"
    Probe(FILE, "make", (str(made), minilm, "6")).run()
    encoder = str(made / "encoder")
    for folder, name, count in ((minilm, "all-MiniLM-L6-v2", 400), (encoder, "6 x 768", 150)):
        yield from _compared(
            "embed", (folder, str(count)), f"{count} texts of mixed lengths to vectors, {name}",
            {"theirs": "sentence-transformers", "small": "sentence-transformers, batch of 8",
             "limit": "its matrix products alone at the machine's speed"},
        )  # fmt: skip
    yield from _cheaper(minilm)
    yield from _compared(
        "classify", (str(made / "classifier"), "100"),
        "100 texts of mixed lengths classified, 6 x 768",
        {"theirs": "transformers' pipeline, batch of 32", "small": "the pipeline one by one"},
    )  # fmt: skip
    yield from _compared(
        "rerank", (str(made / "reranker"), "100"), "100 documents ranked for a query, 6 x 768",
        {"theirs": "CrossEncoder"},
    )  # fmt: skip
    for folder, name in ((minilm, "all-MiniLM-L6-v2"), (encoder, "6 x 768")):
        what = f"the vector of one text of 16 tokens, {name}"
        yield from _one_text(folder, what, setting.repeats)
    yield from _calls(minilm)
    yield from _limits(encoder)
    yield from _memory(minilm)
    yield from _gpu(str(setting.scratch / "base"), minilm)


def _compared(
    function: str, arguments: Sequence[str], what: str, peers: dict[str, str]
) -> Iterator[Row]:
    for backend, shown in BACKENDS.items():
        found = Probe(FILE, function, tuple(arguments), backend).run()
        for key, peer in peers.items():
            ours, theirs = found["ours"], found[key]
            yield Row(
                f"{what}: time over {peer}, on {shown}",
                f"{ours:.3g} s over {theirs:.3g} s" + _difference(found),
                ours / theirs,
            )


def _one_text(folder: str, what: str, repeats: int) -> Iterator[Row]:
    """Rows of one text, each engine in processes of its own: idle threads keep a core for a while.

    The processes are interleaved.
    """
    sides = {f"on {shown}": Probe(FILE, "one_text", (folder,), name)
             for name, shown in BACKENDS.items()}  # fmt: skip
    if installed("openvino"):
        sides["in OpenVINO"] = Probe(FILE, "one_text", (folder, "openvino"), "jax")
    else:
        yield absent(f"{what}, in OpenVINO", "openvino")
    theirs, *ours = medians([Probe(FILE, "one_text_by_hand", (folder,)), *sides.values()], repeats)
    for side, found in zip(sides, ours, strict=True):
        one, other = found["seconds"] * 1e3, theirs["seconds"] * 1e3
        figures = f"{one:.3g} ms over {other:.3g} ms"
        yield Row(f"{what}: time over transformers, {side}", figures, one / other)


def _calls(folder: str) -> Iterator[Row]:
    """Rows of each task's method on one short text, over its backbone alone."""
    for layers, name in ((0, "all-MiniLM-L6-v2"), (12, "12 x 768")):
        for backend, shown in BACKENDS.items():
            found = Probe("latency_probes.py", "one_call", (folder, str(layers)), backend).run()
            for method in [key.removesuffix("_ours") for key in found if key.endswith("_ours")]:
                ours, bare = (found[f"{method}_{side}"] * 1e3 for side in ("ours", "bare"))
                yield Row(
                    f"{method} of one short text: time over the bare compiled {name}, on {shown}",
                    f"{ours:.3g} ms over {bare:.3g} ms", ours / bare, 1.15,
                )  # fmt: skip


def _cheaper(folder: str) -> Iterator[Row]:
    what = "400 texts of mixed lengths to vectors, all-MiniLM-L6-v2, on torch: time over float32"
    if not installed("openvino"):
        yield absent(f"{what}, in int8 and in OpenVINO", "openvino")
        return
    found = Probe(FILE, "cheaper", (folder, "400"), "torch").run()
    for name, note in (
        ("int8", f"; largest cosine error {found['error']:.1e}"),
        ("openvino", ""),
    ):
        figures = f"{found[name]:.3g} s over {found['theirs']:.3g} s{note}"
        yield Row(f"{what}, in {name}", figures, found[name] / found["theirs"])


def _difference(found: dict[str, float]) -> str:
    return f"; largest difference {found['difference']:.1e}" if "difference" in found else ""


def _limits(folder: str) -> Iterator[Row]:
    for backend, shown in BACKENDS.items():
        share = Probe(FILE, "share_of_limit", (folder,), backend).run()["share"]
        what = f"share of the speed of matrix products, 6 x 768 at 32 x 128 tokens, on {shown}"
        yield Row(what, "", share, unit="")


def _memory(folder: str) -> Iterator[Row]:
    few, many = (
        Probe(FILE, "stream", (folder, str(count)), "torch").run()["peak"]
        for count in (2_000, 20_000)
    )
    yield Row.over(
        "peak memory of a stream of 20,000 texts over one of 2,000", many, few, 1.05, "MiB"
    )


def _gpu(folder: str, minilm: str) -> Iterator[Row]:
    what = "12 x 768 on a GPU, in bfloat16"
    import torch

    if not torch.cuda.is_available():
        yield absent(what, "a GPU")
        return
    Probe(FILE, "make", (folder, minilm, "12")).run()
    for backend, shown in BACKENDS.items():
        found = Probe(FILE, "gpu", (f"{folder}/encoder", "4000"), backend).run()
        yield Row(f"{what}: share of the speed of matrix products, 64 x 512, on {shown}", "",
            found["share"], unit="")  # fmt: skip
        for size in (32, 256):
            yield Row.over(
                f"{what}: 4,000 texts of mixed lengths to vectors over sentence-transformers, "
                f"batch of {size}, on {shown}", found[f"ours_{size}"], found[f"theirs_{size}"],
            )  # fmt: skip
