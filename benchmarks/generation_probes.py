"""Probes of generated texts: `python generation_probes.py FUNCTION ARGUMENTS`.

Ours and the peers have the same random weights and run in one process and in turns, all warm, on
one core.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from one_core import prepare_backend, timed, use_one_core
from probe import median_seconds, report

ROWS, BEAMS, TOKENS = 8, 4, 128
PROMPT = 64
# Tokens of a text that is translated, and of one that is summarized.
SOURCES = {"marian": 64, "bart": 256}
END = {"marian": 0, "bart": 2, "qwen2": 151643}


def make(folder: str, name: str) -> dict[str, float]:
    """Write a model of a published size with random weights, for CTranslate2 too if it is here."""
    import importlib.util

    import torch
    import transformers

    torch.manual_seed(0)
    model = MODELS[name](transformers).eval()
    config = model.generation_config
    config.bad_words_ids = config.forced_bos_token_id = config.forced_eos_token_id = None
    model.save_pretrained(Path(folder) / "saved")
    if name in SOURCES and importlib.util.find_spec("ctranslate2"):
        convert_to_ctranslate2(model, Path(folder) / "ctranslate2")
    return {}


def marian(transformers: Any) -> Any:
    """Return a model of the shape of opus-mt-en-de."""
    words = 58101
    return transformers.MarianMTModel(transformers.MarianConfig(
        vocab_size=words, d_model=512, encoder_layers=6, decoder_layers=6, encoder_ffn_dim=2048,
        encoder_attention_heads=8, decoder_attention_heads=8, decoder_ffn_dim=2048,
        max_position_embeddings=512, activation_function="swish", scale_embedding=True,
        eos_token_id=0, pad_token_id=words - 1, decoder_start_token_id=words - 1,
        static_position_embeddings=True,
    ))  # fmt: skip


def bart(transformers: Any) -> Any:
    """Return a model of the shape of bart-base."""
    return transformers.BartForConditionalGeneration(transformers.BartConfig(
        d_model=768, encoder_layers=6, decoder_layers=6, encoder_attention_heads=12,
        decoder_attention_heads=12, encoder_ffn_dim=3072, decoder_ffn_dim=3072,
    ))  # fmt: skip


def qwen2(transformers: Any) -> Any:
    """Return a model of the shape of Qwen2-0.5B."""
    return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(
        vocab_size=151936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24,
        num_attention_heads=14, num_key_value_heads=2, max_position_embeddings=32768,
        rope_theta=1e6, tie_word_embeddings=True, bos_token_id=END["qwen2"],
        eos_token_id=END["qwen2"],
    ))  # fmt: skip


MODELS: dict[str, Callable[[Any], Any]] = {"marian": marian, "bart": bart, "qwen2": qwen2}


def convert_to_ctranslate2(model: Any, destination: Path) -> None:
    """Convert with CTranslate2's own converter and a vocabulary of no meaning."""
    from ctranslate2.converters import transformers as converters

    config = model.config
    config.normalize_before = False  # a field of published files that later configs lack
    end, start = (f"t{i}" for i in (config.eos_token_id, config.decoder_start_token_id))
    names = SimpleNamespace(
        bos_token=end, eos_token=end, unk_token="t1", convert_ids_to_tokens=lambda index: start
    )
    loader = {
        "marian": converters.MarianMTLoader, "bart": converters.BartLoader
    }[config.model_type]  # fmt: skip

    class Loader(loader):  # type: ignore[misc, valid-type]
        def get_vocabulary(self, model: Any, tokenizer: Any) -> list[str]:
            # Marian's start token is a vector of zeros, and no token there.
            return [f"t{i}" for i in range(config.vocab_size - (config.model_type == "marian"))]

    spec = Loader()(model, names)
    spec.validate()
    spec.optimize(quantization=None)
    destination.mkdir()
    spec.save(str(destination))


def seq2seq(folder: str, name: str, rounds: str) -> dict[str, float]:
    """Time beam search, and count the rows whose tokens are those of the peers."""
    import importlib.util

    prepare_backend()
    sources = random_ids(ROWS, SOURCES[name], END[name])
    programs = {
        "ours": ours_seq2seq(folder, sources, END[name]),
        "transformers": theirs(folder, "AutoModelForSeq2SeqLM", sources, BEAMS),
    }
    if importlib.util.find_spec("ctranslate2"):
        programs["ctranslate2"] = ctranslate2(folder, sources)
    return measured(programs, int(rounds))


def causal(folder: str, rows: str, rounds: str) -> dict[str, float]:
    """Time greedy search after prompts, and count the rows whose tokens are those of the peer."""
    prepare_backend()
    prompts = random_ids(int(rows), PROMPT, END["qwen2"])
    programs = {
        "ours": ours_causal(folder, prompts, END["qwen2"]),
        "transformers": theirs(folder, "AutoModelForCausalLM", prompts, 1),
    }
    return measured(programs, int(rounds))


def measured(
    programs: dict[str, Callable[[], Sequence[Sequence[int]]]], rounds: int
) -> dict[str, float]:
    """Return the seconds of each, and as `same_...` the share of rows with the tokens of ours."""
    ours, *others = (program() for program in programs.values())  # which warms them up
    assert all(len(row) == TOKENS for row in ours), [len(row) for row in ours]
    found = median_seconds(programs, rounds, first=0, clock=timed)
    for name, rows in zip(list(programs)[1:], others, strict=True):
        pairs = zip(ours, rows, strict=True)
        found[f"same_{name}"] = sum(list(a) == list(b) for a, b in pairs) / len(ours)
    return found


def random_ids(rows: int, length: int, end: int) -> list[list[int]]:
    """Return rows of tokens, each with the end token last."""
    import numpy as np

    found = np.random.default_rng(0).integers(10, 50000, (rows, length))
    found[:, -1] = end
    return found.tolist()


def ours_seq2seq(folder: str, sources: list[list[int]], end: int) -> Callable[[], Any]:
    from inarch import Backbone
    from inarch.generation import BeamSearch, Generator, MinLength
    from inarch.generation.source_encoder import SourceEncoder

    model: Any = Backbone.from_preset(f"{folder}/saved")
    decoder = model.decoder_stack()
    start, padding = model.arguments["start_id"], model.arguments["padding_id"]
    encoder = SourceEncoder(
        model.encoder(), decoder, [padding if start is None else start], padding, None
    )
    generator = Generator(decoder, end)

    def generate() -> Any:
        found = generator.generate(
            [encoder.start_ids] * len(sources), strategy=BeamSearch(BEAMS), max_new_tokens=TOKENS,
            logits_processors=[MinLength(TOKENS, end)], **encoder.encode(sources, len(sources[0])),
        )  # fmt: skip
        return found.rows()

    return generate


def ours_causal(folder: str, prompts: list[list[int]], end: int) -> Callable[[], Any]:
    from inarch import Backbone
    from inarch.generation import Generator, MinLength

    model: Any = Backbone.from_preset(f"{folder}/saved")
    generator = Generator(model.decoder_stack(), end)

    def generate() -> Any:
        options = {"logits_processors": [MinLength(TOKENS, end)], "max_new_tokens": TOKENS}
        return generator.generate(prompts, **options).rows()

    return generate


def theirs(folder: str, kind: str, rows: list[list[int]], beams: int) -> Callable[[], Any]:
    import torch
    import transformers

    torch.set_num_threads(1)
    model = getattr(transformers, kind).from_pretrained(f"{folder}/saved", dtype="float32").eval()
    ids = torch.tensor(rows)
    options = {
        "max_new_tokens": TOKENS, "min_new_tokens": TOKENS, "do_sample": False, "num_beams": beams,
        "attention_mask": torch.ones_like(ids),
    }  # fmt: skip

    def generate() -> Any:
        with torch.inference_mode():
            return model.generate(ids, **options)[:, -TOKENS:].tolist()

    return generate


def ctranslate2(folder: str, sources: list[list[int]]) -> Callable[[], Any]:
    import ctranslate2

    translator = ctranslate2.Translator(
        f"{folder}/ctranslate2", device="cpu", compute_type="float32", inter_threads=1,
        intra_threads=1,
    )  # fmt: skip
    words = [[f"t{i}" for i in row] for row in sources]

    def generate() -> Any:
        found = translator.translate_batch(
            words, beam_size=BEAMS, max_decoding_length=TOKENS, min_decoding_length=TOKENS
        )
        return [[int(word[1:]) for word in row.hypotheses[0]] for row in found]

    return generate


if __name__ == "__main__":
    use_one_core()
    report(globals())
