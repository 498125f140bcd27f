"""What one fresh process measures: `python probes.py FUNCTION ARGUMENTS` prints its figures."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SENTENCE = "A shoot is grafted onto a new root while it still lives on its old one."
MIB = 2**20


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """The result of `work` and the seconds that it took."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


# --- importing ---------------------------------------------------------------------------------


def import_keras() -> dict[str, float]:
    def work() -> None:
        import keras  # noqa: F401

    return {"seconds": timed(work)[1]}


def import_inarch() -> dict[str, float]:
    def work() -> None:
        import inarch  # noqa: F401

    return {"seconds": timed(work)[1]}


def import_every_room() -> dict[str, float]:
    def work() -> None:
        from inarch.models.registry import architectures

        architectures()

    return {"seconds": timed(work)[1]}


# --- loading -----------------------------------------------------------------------------------


def make(folder: str) -> dict[str, float]:
    """Write a BERT of the base size with random weights."""
    from inarch import BertBackbone

    model = BertBackbone(30522, 12, 12, 768, 3072)
    return {"seconds": timed(lambda: model.save_to_preset(folder))[1]}


def read_file(folder: str) -> dict[str, float]:
    """The floor: the file as arrays of JAX, by safetensors' own function, and nothing else."""
    from safetensors.flax import load_file

    return _loading(lambda: load_file(f"{folder}/model.safetensors"))


def load_inarch(folder: str) -> dict[str, float]:
    from inarch import Backbone

    return _loading(lambda: [v.value for v in Backbone.from_preset(folder).variables])


def load_keras_hub(folder: str) -> dict[str, float]:
    import keras_hub

    model: Any = keras_hub.models.BertBackbone
    return _loading(lambda: [v.value for v in model.from_preset(folder).variables])


def _loading(work: Callable[[], Any]) -> dict[str, float]:
    """Seconds, and peak MiB above what importing and the awake backend need."""
    import jax
    import keras  # noqa: F401  so that every baseline holds the same imports

    jax.block_until_ready(jax.numpy.zeros(1))
    before = memory("VmRSS")
    _, seconds = timed(lambda: jax.block_until_ready(work()))
    return {"seconds": seconds, "peak": memory("VmHWM") - before}


def memory(field: str) -> float:
    """A figure of this process in MiB; not a number where the system doesn't tell.

    `VmHWM` is the peak since the program began; `ru_maxrss` would count the parent's too.
    Mapped pages of a file count, as long as they are in memory.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(lines[field].split()[0]) * 1024 / MIB


def save_inarch(folder: str, destination: str) -> dict[str, float]:
    from inarch import Backbone

    model = Backbone.from_preset(folder)
    return {"seconds": timed(lambda: model.save_to_preset(destination))[1]}


# --- the first sentence vector -----------------------------------------------------------------


def first_vector_inarch(folder: str) -> dict[str, float]:
    from inarch import TextEmbedder

    TextEmbedder.from_preset(folder).embed([SENTENCE])
    return {}


def first_vector_transformers(folder: str) -> dict[str, float]:
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    inputs = tokenizer([SENTENCE], return_tensors="pt")
    with torch.inference_mode():
        tokens = model(**inputs).last_hidden_state
    mask = inputs["attention_mask"][..., None]
    vector = (tokens * mask).sum(1) / mask.sum(1)
    torch.nn.functional.normalize(vector).numpy()
    return {}


# --- proving -----------------------------------------------------------------------------------


def prove(folder: str) -> dict[str, float]:
    from inarch import Checkpoint

    def work() -> None:
        with Checkpoint(folder) as checkpoint:
            checkpoint.prove()

    return {"seconds": timed(work)[1]}


# --- many sentences ----------------------------------------------------------------------------


WORDS = """
the of and to a in that is was he for it with as his on be at by had not are but from or
have an they which one you were her all she there would their we him been has when who will
more no if out so said what up its about into than them can only other new some could time
these two may then do first any now such like our over man even most made after also did
many before must through back years where much way well down should because each just people
those state house world school government between water number system public general
national important graft root branch orchard season harvest weather market history language
reading writing
"""


def texts(count: int) -> list[str]:
    """Sentences of lengths as in real text: lognormal, half of them below 18 words."""
    import numpy as np

    random = np.random.default_rng(0)
    words = WORDS.split()
    lengths = random.lognormal(np.log(18), 0.8, count).clip(3, 180).astype(int)
    return [" ".join(random.choice(words, n)) for n in lengths]


def embed_inarch(folder: str, count: str, output: str) -> dict[str, float]:
    from inarch import TextEmbedder

    return _embedding(TextEmbedder.from_preset(folder).embed, int(count), output)


def embed_sentence_transformers(folder: str, count: str, output: str) -> dict[str, float]:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(folder, device="cpu")
    return _embedding(model.encode, int(count), output)


def _embedding(embed: Callable[[list[str]], Any], count: int, output: str) -> dict[str, float]:
    """Sentences per second of the first time (with all compilations) and of the third."""
    import numpy as np

    sentences = texts(count)
    vectors, first = timed(lambda: embed(sentences))
    embed(sentences)
    _, again = timed(lambda: embed(sentences))
    np.save(output, vectors)
    return {"first": count / first, "again": count / again}


# --- FNet --------------------------------------------------------------------------------------


def mix(batch: str, length: str) -> dict[str, float]:
    """Seconds of FNet's mixing at a width of 768, and of matrices of sines, in turns."""
    import numpy as np
    from keras import ops

    from inarch.layers.fnet import fourier_mixing

    width = 768
    half = width // 2 + 1
    (along, along_sine), (across, across_sine) = (_waves(n) for n in (int(length), width))
    waves = np.concatenate([across[:, :half], across_sine[:, :half]], axis=1)

    def matrices(x: Any) -> Any:
        # The frequencies beyond the half are those of the half, with another sign.
        y = ops.matmul(x, waves)
        even, odd = ops.matmul(along, y[..., :half]), ops.matmul(along_sine, y[..., half:])
        rest = ops.flip((even + odd)[..., 1 : width - half + 1], axis=-1)
        return ops.concatenate([even - odd, rest], axis=-1)

    x = np.random.default_rng(0).normal(size=(int(batch), int(length), width)).astype("float32")
    x = ops.convert_to_tensor(x)
    return _in_turns({"fft": _program(fourier_mixing, x), "matrices": _program(matrices, x)})


def _waves(n: int) -> tuple[Any, Any]:
    import numpy as np

    turns = 2 * np.pi * (np.outer(np.arange(n), np.arange(n)) % n) / n
    return np.cos(turns).astype("float32"), np.sin(turns).astype("float32")


def _program(function: Callable[[Any], Any], x: Any) -> Callable[[], Any]:
    """The function of `x`, compiled where the backend compiles, and waited for."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        program = jax.jit(function)
        return lambda: jax.block_until_ready(program(x))
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        program = tf.function(function)
        return lambda: program(x).numpy()
    import torch

    def run() -> Any:
        with torch.inference_mode():
            return function(x)

    return run


def _in_turns(programs: dict[str, Callable[[], Any]], rounds: int = 9) -> dict[str, float]:
    """The median seconds of each program; its first two runs aren't counted."""
    found: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds + 2):
        for name, program in programs.items():
            found[name].append(timed(program)[1])
    return {name: statistics.median(seconds[2:]) for name, seconds in found.items()}


def forward_fnet(batch: str, length: str) -> dict[str, float]:
    """Seconds of FNet base by inarch on JAX and by transformers, in turns on as many threads."""
    import jax
    import numpy as np
    import torch
    from transformers import FNetConfig, FNetModel

    from inarch import FNetBackbone
    from inarch.runtime.forward import compiled

    forward = compiled(FNetBackbone(32000, 12, 768, 3072))
    ones = np.ones((int(batch), int(length)), "int32")
    inputs = {"token_ids": ones, "segment_ids": 0 * ones, "padding_mask": ones}
    model = FNetModel(FNetConfig()).eval()
    ids = torch.from_numpy(ones.astype("int64"))

    def theirs() -> Any:
        with torch.inference_mode():
            return model(ids)

    return _in_turns({"ours": lambda: jax.block_until_ready(forward(inputs)), "theirs": theirs})


# --- sound -------------------------------------------------------------------------------------


def log_mel(seconds: str, threads: str) -> dict[str, float]:
    """Seconds of the log-mel spectrogram in NumPy and by openai-whisper on torch, in turns."""
    import os

    # Read when NumPy's library of matrix products is loaded.
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = threads
    import numpy as np
    import torch
    from whisper.audio import log_mel_spectrogram as original

    from inarch.audio import log_mel_spectrogram

    torch.set_num_threads(int(threads))
    audio = np.random.default_rng(0).normal(0, 0.1, int(seconds) * 16_000).astype("float32")
    sound = torch.from_numpy(audio)
    return _in_turns(
        {"ours": lambda: log_mel_spectrogram(audio), "theirs": lambda: original(sound)}
    )


# --- DeBERTaV3 ---------------------------------------------------------------------------------


def make_deberta(folder: str) -> dict[str, float]:
    """Write a DeBERTaV3 of the base size, but for its vocabulary, with random weights."""
    from inarch import DebertaV3Backbone

    model = DebertaV3Backbone(1000, 12, 12, 768, 3072)
    return {"seconds": timed(lambda: model.save_to_preset(folder))[1]}


def deberta_inarch(folder: str, batch: str, length: str) -> dict[str, float]:
    """A compiled forward pass."""
    import jax
    import numpy as np

    from inarch import Backbone

    def work() -> Callable[[], Any]:
        model: Any = Backbone.from_preset(folder)
        trained = [v.value for v in model.trainable_variables]
        others = [v.value for v in model.non_trainable_variables]
        inputs = {
            "token_ids": np.full((int(batch), int(length)), 7, "int32"),
            "padding_mask": np.ones((int(batch), int(length)), "int32"),
        }

        @jax.jit
        def forward(trained: Any, inputs: Any) -> Any:
            return model.stateless_call(trained, others, inputs)[0]["sequence_output"]

        return lambda: jax.block_until_ready(forward(trained, inputs))

    return _forward(work)


def deberta_transformers(folder: str, batch: str, length: str) -> dict[str, float]:
    """The same by transformers on torch, on as many threads as JAX takes: one for each core."""
    import os

    import torch
    from transformers import AutoModel

    torch.set_num_threads(len(os.sched_getaffinity(0)))

    def work() -> Callable[[], Any]:
        model = AutoModel.from_pretrained(folder).eval()
        tokens = torch.full((int(batch), int(length)), 7)
        mask = torch.ones_like(tokens)

        def forward() -> Any:
            with torch.inference_mode():
                return model(tokens, attention_mask=mask)

        return forward

    return _forward(work)


def _forward(work: Callable[[], Callable[[], Any]]) -> dict[str, float]:
    """Seconds of the median pass after the first, and the peak MiB above the imports.

    Each compiler or allocator has one pass first. The peak is that of the passes, weights
    included, where the system can forget an earlier one.
    """
    import statistics

    before = memory("VmRSS")
    forward = work()
    forward()
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")
    seconds = [timed(forward)[1] for _ in range(5)]
    return {"seconds": statistics.median(seconds), "peak": memory("VmHWM") - before}


if __name__ == "__main__":
    figures = globals()[sys.argv[1]](*sys.argv[2:])
    # The clock is the same for all processes of a system.
    print(json.dumps(figures | {"reported": time.monotonic()}), flush=True)
