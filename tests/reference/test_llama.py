"""Llama and its relatives against transformers: tokens of `generate`, tokenizers, vectors."""

import io
import json

import numpy as np
import pytest

from inarch.tasks import CausalLM, TextEmbedder
from inarch.text import BytePairTokenizer, Tokenizer
from inarch.verify.corpus import CORPUS

from .conftest import torch, transformers
from .test_causal_lm import END_ID, LETTERS, TEXTS, VOCABULARY, generated, randomize, tokenizer

pytestmark = [pytest.mark.reference, pytest.mark.turns(3)]

LLAMA3 = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8, "rope_theta": 20.0}  # fmt: skip
GENERATING = [
    ("Llama", {"rope_parameters": LLAMA3}),
    ("Mistral", {"sliding_window": 3}),
    ("Qwen2", {"tie_word_embeddings": True}),
    ("Qwen3", {}),
    ("SmolLM3", {"no_rope_layers": [0], "tie_word_embeddings": True}),
]


@pytest.mark.parametrize(("family", "changes"), GENERATING)
def test_greedy_texts_are_those_of_transformers(family, changes, write, tmp_path):
    """From caches that hold grouped heads, rotated, of prompts of several lengths at once."""
    ids = {f"{name}_token_id": END_ID for name in ("bos", "eos", "pad")}
    sizes = {"vocab_size": len(VOCABULARY), "max_position_embeddings": 64, "num_hidden_layers": 1}
    folder = write(f"{family}ForCausalLM", **sizes, **ids, **changes).folder
    tokenizer().save(folder)
    task = CausalLM.from_preset(folder)
    assert task.tie_word_embeddings == changes.get("tie_word_embeddings", False)
    seen = set()
    for seed in range(5):
        randomize(task, seed)
        task.save_to_preset(tmp_path / "out")
        model = getattr(transformers, f"{family}ForCausalLM").from_pretrained(tmp_path / "out")
        found = task.generate(TEXTS, max_new_tokens=16)
        assert found == [generated(model.eval(), text)[0] for text in TEXTS], seed
        seen.update(found)
    assert len(seen) > 10  # texts that all repeat one letter would show little


# --- tokenizers --------------------------------------------------------------------------------

WORDS = ["The film was good!", "a very bad film", "schöne Größe", "映画 🙂", "1234 + 56", "  two  "]
TOKENS = [*WORDS, "", " ", "\n\n a", *CORPUS]


def write_json(path, value):
    path.write_text(json.dumps(value))


def same_ids(folder):
    theirs, ours = transformers.AutoTokenizer.from_pretrained(folder), Tokenizer.from_folder(folder)
    for text in TOKENS:
        ids = theirs(text)["input_ids"]
        assert ours.encode(text, allow_special="all").ids == ids, text
        pair = theirs(text, "a b")["input_ids"]
        assert ours.encode(text, "a b", allow_special="all").ids == pair, text
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)
    return theirs


@pytest.mark.parametrize(
    "config",
    [
        {"tokenizer_class": "LlamaTokenizer"},
        {"tokenizer_class": "LlamaTokenizerFast", "legacy": True, "add_bos_token": True},
        {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": True,
            "add_prefix_space": False},
    ],
)  # fmt: skip
def test_a_tokenizer_model_has_the_ids_of_transformers(config, tmp_path):
    sentencepiece = pytest.importorskip("sentencepiece")
    made, folder = io.BytesIO(), tmp_path / "one"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(WORDS * 20), model_writer=made, vocab_size=300, model_type="bpe",
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
        minloglevel=2,
    )  # fmt: skip
    folder.mkdir()
    (folder / "tokenizer.model").write_bytes(made.getvalue())
    write_json(folder / "config.json", {"model_type": "llama"})
    write_json(folder / "tokenizer_config.json", config)
    same_ids(folder).save_pretrained(tmp_path / "two")
    write_json(tmp_path / "two" / "config.json", {"model_type": "llama"})
    same_ids(tmp_path / "two")


@pytest.mark.parametrize("model_type", ["qwen2", "qwen3"])
def test_qwens_byte_pairs_have_the_ids_of_transformers(model_type, tmp_path):
    trained = Tokenizer.train(WORDS * 3, "bpe", 330)
    spec = json.loads(trained.files["tokenizer.json"])["model"]
    write_json(tmp_path / "vocab.json", spec["vocab"])
    lines = (" ".join(m) if isinstance(m, list) else m for m in spec["merges"])
    (tmp_path / "merges.txt").write_text("\n".join(lines))
    plain = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    added = {str(len(spec["vocab"]) + i): {"content": token, "special": True, **plain}
             for i, token in enumerate(("<|endoftext|>", "<|im_end|>"))}  # fmt: skip
    write_json(tmp_path / "config.json", {"model_type": model_type})
    named = {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>"}
    write_json(tmp_path / "tokenizer_config.json", named | {"added_tokens_decoder": added})
    same_ids(tmp_path)


# --- vectors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["left", "right"])
def test_vectors_of_last_tokens_are_those_of_sentence_transformers(side, write, tmp_path):
    """As Qwen3-Embedding has them: an end token, its vector, and a prompt with an instruction."""
    library = pytest.importorskip("sentence_transformers")
    written = write("Qwen3Model", vocab_size=len(VOCABULARY), pad_token_id=END_ID)
    special = {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    BytePairTokenizer(VOCABULARY, [], special_tokens=special).save(written.folder)
    path = written.folder / "tokenizer_config.json"
    write_json(path, json.loads(path.read_text()) | {"padding_side": side})
    modules = library.sentence_transformer.modules
    saved = library.SentenceTransformer(
        modules=[
            modules.Transformer(str(written.folder)),
            modules.Pooling(24, pooling_mode="lasttoken"),
            modules.Normalize(),
        ],
        prompts={"query": "Instruct", "document": ""},
        device="cpu",
    )
    saved.save_pretrained(str(tmp_path / "saved"))
    theirs = library.SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    ours = TextEmbedder.from_preset(tmp_path / "saved")
    texts = ["".join(LETTERS[:n]) for n in (1, 7, 3, 12)]
    with torch.no_grad():
        for prompt in ("query", "document"):
            wanted = theirs.encode(texts, prompt_name=prompt)
            np.testing.assert_allclose(ours.embed(texts, prompt_name=prompt), wanted, atol=2e-5)
