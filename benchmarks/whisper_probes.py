"""Probes of Whisper on one window: `python whisper_probes.py FUNCTION ARGUMENTS`.

All implementations have the same random weights.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from one_core import prepare_backend, timed, use_one_core, wait_for
from probe import memory, report

SIZES = {"base": (6, 512, 8), "tiny": (4, 384, 6)}  # layers, width, heads
VOCABULARY, POSITIONS, END = 51865, 448, 50257
PROMPT, TOKENS = [50258, 50259, 50359, 50363], 64


def noise_features() -> Any:
    """Return features `[1, mels, frames]`, the same noise for all."""
    import numpy as np

    return np.random.default_rng(0).normal(size=(1, 80, 3000)).astype("float32")


def measure_generation(
    load: Callable[[], tuple[Callable[[], Any], Callable[[], Any]]],
) -> dict[str, float]:
    """Return seconds of the encoder and of all, and the peak MiB above the imports.

    Args:
        load: gives a function that encodes, and one that returns the generated tokens.
    """
    before = memory("VmRSS")
    encode, generate = load()
    encode()
    tokens = list(generate())
    assert len(tokens) == TOKENS, tokens
    peak = memory("VmHWM") - before
    encoder = statistics.median(timed(encode)[1] for _ in range(3))
    seconds = statistics.median(timed(generate)[1] for _ in range(3))
    mark = sum(place * int(token) for place, token in enumerate(tokens, start=1))
    return {"seconds": seconds, "encoder": encoder, "peak": peak, "tokens": mark}


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
    torch.save({"dims": vars(dims), "model_state_dict": state}, home / "openai.pt")
    Backbone.from_preset(home / "openai.pt").save_to_preset(home / "saved")
    if importlib.util.find_spec("ctranslate2"):
        convert_to_ctranslate2(home / "saved", home / "ctranslate2")
    return {}


def convert_to_ctranslate2(source: Path, destination: Path) -> None:
    """Convert with CTranslate2's own converter and a vocabulary of no meaning."""
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


def generate_inarch(folder: str) -> dict[str, float]:
    import keras
    import numpy as np

    from inarch import Backbone
    from inarch.generation import Generator, SuppressTokens
    from inarch.generation.compiled import compile_function
    from inarch.runtime.forward import compiled

    prepare_backend()

    def load() -> tuple[Callable[[], Any], Callable[[], Any]]:
        model: Any = Backbone.from_preset(f"{folder}/saved")
        decoder = model.decoder_stack()
        make_cache = compile_function(decoder, decoder.make_cross_attention_cache)
        generator = Generator(decoder, END)
        features = np.ascontiguousarray(noise_features().swapaxes(1, 2))
        encoder = compiled(
            keras.Model(
                {"encoder_features": model.input["encoder_features"]},
                model.output["encoder_sequence_output"],
            )
        )

        def encode() -> Any:
            return wait_for(encoder({"encoder_features": features}))

        def generate() -> Any:
            found = generator.generate(
                [PROMPT],
                cross_attention_cache=make_cache(encode()),
                logits_processors=[SuppressTokens((END,))],
                max_new_tokens=TOKENS,
            )
            return found.token_ids[0]

        return encode, generate

    return measure_generation(load)


def generate_transformers(folder: str) -> dict[str, float]:
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
        features, prompt = torch.from_numpy(noise_features()), torch.tensor([PROMPT])

        @torch.inference_mode()
        def encode() -> Any:
            return model.model.encoder(features)

        @torch.inference_mode()
        def generate() -> Any:
            # Whisper's own `generate` does more than is compared here.
            found = GenerationMixin.generate(
                model, features, decoder_input_ids=prompt, max_new_tokens=TOKENS,
                min_new_tokens=TOKENS, do_sample=False, num_beams=1,
            )  # fmt: skip
            return found[0, len(PROMPT) :]

        return encode, generate

    return measure_generation(load)


def generate_openai(folder: str) -> dict[str, float]:
    import numpy as np
    import torch
    import whisper
    from whisper.decoding import DecodingOptions, DecodingTask

    torch.set_num_threads(1)

    class NoEnd:
        def apply(self, logits: Any, tokens: Any) -> None:
            logits[:, END] = -np.inf

    def load() -> tuple[Callable[[], Any], Callable[[], Any]]:
        model = whisper.load_model(f"{folder}/openai.pt", device="cpu").eval()
        features = torch.from_numpy(noise_features())
        options = DecodingOptions(
            language="en", sample_len=TOKENS, without_timestamps=True, fp16=False,
            suppress_tokens="", suppress_blank=False,
        )  # fmt: skip

        @torch.inference_mode()
        def encode() -> Any:
            return model.encoder(features)

        def generate() -> Any:
            task = DecodingTask(model, options)
            task.logit_filters = [NoEnd()]
            return task.run(features)[0].tokens

        return encode, generate

    return measure_generation(load)


def generate_ctranslate2(folder: str) -> dict[str, float]:
    import ctranslate2
    import numpy as np

    def load() -> tuple[Callable[[], Any], Callable[[], Any]]:
        model = ctranslate2.models.Whisper(
            f"{folder}/ctranslate2", device="cpu", compute_type="float32",
            inter_threads=1, intra_threads=1,
        )  # fmt: skip
        features = ctranslate2.StorageView.from_array(noise_features())

        def encode() -> Any:
            return np.array(model.encode(features))

        def generate() -> Any:
            (found,) = model.generate(
                features, [PROMPT], beam_size=1, max_length=2 * TOKENS, suppress_blank=False,
                suppress_tokens=[END],
            )  # fmt: skip
            return found.sequences_ids[0]

        return encode, generate

    return measure_generation(load)


if __name__ == "__main__":
    use_one_core()
    report(globals())
