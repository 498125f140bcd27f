"""Llama and its relatives against transformers: tokens of `generate`, tokenizers, vectors."""

import contextlib
import io
import json

import keras
import numpy as np
import pytest

from inarch import Backbone
from inarch.layers import RotaryEmbedding
from inarch.tasks import CausalLM, TextEmbedder
from inarch.text import BytePairTokenizer, Tokenizer
from inarch.verify.corpus import CORPUS
from inarch.verify.hooks import without_float32

from .conftest import noise_ratio, torch, transformers
from .test_causal_lm import END_ID, LETTERS, TEXTS, VOCABULARY, generated, randomize, tokenizer

pytestmark = [pytest.mark.reference, pytest.mark.turns(3)]

LLAMA3 = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8, "rope_theta": 20.0}  # fmt: skip
GENERATING = [
    ("Llama", {"rope_parameters": LLAMA3}),
    ("Mistral", {"sliding_window": 3}),
    ("Qwen2", {"tie_word_embeddings": True}),
    (
        "Qwen3",
        {
            "use_sliding_window": True,
            "sliding_window": 3,
            "num_hidden_layers": 2,
            "layer_types": ["sliding_attention", "full_attention"],
        },
    ),
    ("SmolLM3", {"no_rope_layers": [0], "tie_word_embeddings": True}),
    ("OPT", {"tie_word_embeddings": True}),
    (
        "Olmo3",
        {
            "num_hidden_layers": 2,
            "sliding_window": 3,
            "layer_types": ["sliding_attention", "full_attention"],
        },
    ),
    ("Bloom", {"tie_word_embeddings": True}),
    ("GPTNeoX", {}),
    ("Phi3", {"sliding_window": 3}),
    ("Mixtral", {"sliding_window": 3}),
    ("Qwen3Moe", {"mlp_only_layers": [0], "num_hidden_layers": 2}),
    ("Gemma2", {"sliding_window": 3, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 40.0,
        "num_hidden_layers": 2, "tie_word_embeddings": False}),
    ("Gemma3", {"num_hidden_layers": 2, "sliding_window": 3, "tie_word_embeddings": False}),
]  # fmt: skip


@pytest.mark.parametrize(("family", "changes"), GENERATING)
def test_greedy_texts_are_those_of_transformers(family, changes, write, tmp_path):
    """From caches that hold grouped heads, rotated, of prompts of several lengths at once."""
    ids = {f"{name}_token_id": END_ID for name in ("bos", "eos", "pad")}
    sizes = {"vocab_size": len(VOCABULARY), "max_position_embeddings": 64, "num_hidden_layers": 1}
    folder = write(f"{family}ForCausalLM", **{**sizes, **ids, **changes}).folder
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


DYNAMIC = {"rope_type": "dynamic", "factor": 8.0, "rope_theta": 20.0}
LONGROPE = {"rope_type": "longrope", "rope_theta": 20.0, "original_max_position_embeddings": 8,
    "short_factor": [1.0, 1.2, 1.5], "long_factor": [1.5, 3.0, 9.0]}  # fmt: skip
BY_LENGTH = [
    ("Llama", {"max_position_embeddings": 14, "rope_parameters": DYNAMIC}),
    ("Qwen2", {"max_position_embeddings": 96, "rope_parameters": LONGROPE}),
    ("Phi3", {"max_position_embeddings": 96, "sliding_window": None, "rope_parameters": LONGROPE,
        "original_max_position_embeddings": 8}),
    ("Gemma3", {
        "tie_word_embeddings": False, "max_position_embeddings": 14, "sliding_window": 3,
        "layer_types": ["full_attention"],
        "rope_parameters": {"full_attention": DYNAMIC,
            "sliding_attention": {"rope_type": "default", "rope_theta": 20.0}},
    }),
]  # fmt: skip


@pytest.mark.parametrize(("family", "changes"), BY_LENGTH)
def test_texts_that_outgrow_the_length_of_training_are_those_of_transformers(
    family, changes, write, tmp_path
):
    """Prompts are shorter and longer; the longest is read in chunks, and one grows across.

    Where one does, transformers reads it anew in Phi-3 alone, so that there all are longer.
    """
    ids = {f"{name}_token_id": END_ID for name in ("bos", "eos", "pad")}
    sizes = {"vocab_size": len(VOCABULARY), "num_hidden_layers": 1, "head_dim": 6}
    folder = write(f"{family}ForCausalLM", **{**sizes, **ids, **changes}).folder
    tokenizer().save(folder)
    task, texts = CausalLM.from_preset(folder), ["causal", "A", "languageModel" * 6]
    texts = ["languageModel" * n for n in (6, 1, 2)] if family == "Phi3" else texts
    seen = set()
    for seed in range(3):
        randomize(task, seed)
        task.save_to_preset(tmp_path / "out")
        found = task.generate(texts, max_new_tokens=16)
        for text, ours in zip(texts, found, strict=True):
            # A model each: transformers goes on with the frequencies of the longest text so far.
            model = getattr(transformers, f"{family}ForCausalLM").from_pretrained(tmp_path / "out")
            assert ours == generated(model.eval(), text)[0], (seed, text)
        seen.update(found)
    assert len(seen) > 5


@pytest.mark.parametrize(("family", "changes"), BY_LENGTH)
def test_vectors_in_padded_and_packed_rows_are_those_of_each_sequence_alone(family, changes, write):
    kind = "Gemma3TextModel" if family == "Gemma3" else f"{family}Model"
    written = write(kind, **{"head_dim": 6, "num_hidden_layers": 1, **changes})
    ours, longest = Backbone.from_preset(written.folder), 20
    assert ours.max_length >= longest
    random = np.random.default_rng(0)
    words = ours.arguments["vocabulary_size"]
    rows = [random.integers(3, words, n) for n in (5, longest, 8, 15, 14, 9)]
    ids = np.stack([np.pad(row, (longest - len(row), 0)) for row in rows])
    padded = run(ours, ids, np.where(ids, 1, 0))
    packed = run(
        ours,
        np.concatenate(rows)[None],
        np.concatenate([np.full(len(row), i + 1) for i, row in enumerate(rows)])[None],
    )[0]
    found = np.split(packed, np.cumsum([len(row) for row in rows])[:-1])
    for row, in_padded, in_packed in zip(rows, padded, found, strict=True):
        # Of a new model each, since it remembers the longest text so far.
        single, double = (alone(written, row, is_double) for is_double in (False, True))
        assert noise_ratio(in_padded[-len(row) :], single, double) <= 4, len(row)
        assert noise_ratio(in_packed, single, double) <= 4, len(row)


def run(model, token_ids, padding_mask):
    return keras.ops.convert_to_numpy(
        model({"token_ids": token_ids, "padding_mask": padding_mask})
    ).astype("float64")


def alone(written, row, is_double):
    model = type(written.model).from_pretrained(written.folder, attn_implementation="eager").eval()
    model = model.double() if is_double else model.float()
    with torch.no_grad(), without_float32(torch) if is_double else contextlib.nullcontext():
        return model(torch.tensor(row)[None]).last_hidden_state[0].double().numpy()


@pytest.mark.parametrize("head_dim", [64, 80])
@pytest.mark.parametrize("scaling", [{"rope_type": "default"}, {k: v for k, v in LLAMA3.items()
    if k != "rope_theta"}, {"rope_type": "yarn", "factor": 4.0,
    "original_max_position_embeddings": 2048}])  # fmt: skip
def test_angles_are_those_of_transformers_at_far_positions(scaling, head_dim):
    """A share of a radian that short texts don't show: frequencies in float64 fail for 80."""
    config = transformers.LlamaConfig(
        head_dim=head_dim,
        max_position_embeddings=8192,
        rope_parameters={"rope_theta": 5e5, **scaling},
    )
    theirs = transformers.models.llama.modeling_llama.LlamaRotaryEmbedding(config).inv_freq
    positions = np.array([0, 1, 4095, 4096, 8191])
    layer = RotaryEmbedding(5e5, scaling=None if len(scaling) == 1 else scaling)
    angles = np.asarray(keras.ops.convert_to_numpy(layer.angles(positions, head_dim)))[0]
    np.testing.assert_allclose(angles, np.outer(positions, theirs.double()), rtol=3e-7)


# --- tokenizers --------------------------------------------------------------------------------

WORDS = ["The film was good!", "a very bad film", "schöne Größe", "映画 🙂", "1234 + 56", "  two  "]
TOKENS = [*WORDS, "", " ", "\n\n a", "a<sep> film <ctl>b", " a film", "<unk>", *CORPUS]


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


SYMBOLS = {"user_defined_symbols": ["<sep>", "lm", "▁▁"], "control_symbols": ["<ctl>"]}


def pieces(folder, model_type="llama", **options):
    """Write the tokenizer.model of a few words, and the config.json next to it."""
    sentencepiece = pytest.importorskip("sentencepiece")
    made = io.BytesIO()
    settings = {"vocab_size": 300, "byte_fallback": True, "remove_extra_whitespaces": False}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(WORDS * 20), model_writer=made, model_type="bpe", minloglevel=2,
        normalization_rule_name="identity", **settings | options,
    )  # fmt: skip
    folder.mkdir()
    (folder / "tokenizer.model").write_bytes(made.getvalue())
    write_json(folder / "config.json", {"model_type": model_type})
    return made.getvalue()


@pytest.mark.parametrize(
    ("config", "options"),
    [
        ({}, {}),
        ({"legacy": True, "add_bos_token": True}, SYMBOLS),
        ({"add_bos_token": True, "add_eos_token": True, "add_prefix_space": False}, SYMBOLS),
        (dict.fromkeys(("legacy", "add_bos_token", "add_prefix_space")), SYMBOLS),
        ({}, {"byte_fallback": False, "vocab_size": 60}),
    ],
)
def test_a_tokenizer_model_has_the_ids_of_transformers(config, options, tmp_path):
    """The last is without bytes, so that characters which it has no piece of are dropped."""
    pieces(tmp_path / "one", **options)
    config = {"tokenizer_class": "LlamaTokenizer"} | config
    write_json(tmp_path / "one" / "tokenizer_config.json", config)
    same_ids(tmp_path / "one").save_pretrained(tmp_path / "two")
    write_json(tmp_path / "two" / "config.json", {"model_type": "llama"})
    same_ids(tmp_path / "two")


def test_pieces_are_merged_in_the_order_of_their_ids_whatever_their_scores_are(tmp_path):
    """As where pieces of another language were added to a model, all with the score 0."""
    model_pb2 = pytest.importorskip("sentencepiece.sentencepiece_model_pb2")
    proto = model_pb2.ModelProto.FromString(pieces(tmp_path / "one"))
    for piece in proto.pieces[-30:]:
        piece.score = 0.0
    (tmp_path / "one" / "tokenizer.model").write_bytes(proto.SerializeToString())
    write_json(tmp_path / "one" / "tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer"})
    same_ids(tmp_path / "one")


OLDER = {
    "normalizer": {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    ]},
    "pre_tokenizer": None,
}  # fmt: skip


@pytest.mark.parametrize("model_type", ["llama", "mistral", "phi3", "qwen3"])
@pytest.mark.parametrize(
    "config",
    [
        {},
        {"legacy": False, "add_bos_token": True},
        {"legacy": True, "add_prefix_space": None},
        {"add_prefix_space": False, "added_tokens_decoder": {"300": {
            "content": "film", "lstrip": False, "rstrip": True, "normalized": False,
            "single_word": False, "special": False}}},
    ],
)  # fmt: skip
def test_an_older_tokenizer_json_has_the_ids_of_transformers(config, model_type, tmp_path):
    """The class sets its own steps, whatever those of the file are; Mistral's and Phi-3's stay."""
    pieces(tmp_path / "one", model_type, **SYMBOLS)
    config = {"tokenizer_class": "LlamaTokenizer"} | config
    write_json(tmp_path / "one" / "tokenizer_config.json", config)
    loaded = transformers.LlamaTokenizer.from_pretrained(tmp_path / "one")
    loaded.save_pretrained(tmp_path / "two")
    spec = json.loads((tmp_path / "two" / "tokenizer.json").read_text())
    spec["model"] |= {"unk_token": "<unk>", "byte_fallback": True}
    write_json(tmp_path / "two" / "tokenizer.json", spec | OLDER)
    write_json(tmp_path / "two" / "tokenizer_config.json", config)
    write_json(tmp_path / "two" / "config.json", {"model_type": model_type})
    same_ids(tmp_path / "two")


@pytest.mark.parametrize("steps", ["own", "others"])
@pytest.mark.parametrize("config", [{}, {"add_bos_token": True, "add_eos_token": True}])
def test_gemmas_byte_pairs_have_the_ids_of_transformers(config, steps, tmp_path):
    """Of a text that isn't split, with spaces at either end, whatever steps the file has."""
    pieces(tmp_path / "llama", **({} if config else {"byte_fallback": False, "vocab_size": 60}))
    spec = transformers.LlamaTokenizer.from_pretrained(tmp_path / "llama").backend_tokenizer
    model = json.loads(spec.to_str())["model"]
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<start_of_turn>"]
    vocabulary = special + [piece for piece in model["vocab"] if piece not in special]
    theirs = transformers.GemmaTokenizer(
        {piece: index for index, piece in enumerate(vocabulary)},
        [tuple(pair) for pair in model["merges"]],
        additional_special_tokens=["<start_of_turn>"],
        **config,
    )
    theirs.save_pretrained(tmp_path / "one")
    write_json(tmp_path / "one" / "config.json", {"model_type": "gemma3_text"})
    if steps == "others":
        path = tmp_path / "one" / "tokenizer.json"
        write_json(path, json.loads(path.read_text()) | OLDER)
    same_ids(tmp_path / "one")


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


def test_vectors_of_embedding_gemma_are_those_of_sentence_transformers(write, tmp_path):
    """Means of tokens that attend in both directions, through two dense layers, with prompts."""
    library = pytest.importorskip("sentence_transformers")
    changes = {"use_bidirectional_attention": True, "sliding_window": 4, "pad_token_id": END_ID}
    written = write("Gemma3TextModel", vocab_size=len(VOCABULARY), **changes)
    special = {"bos_token": "A", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    BytePairTokenizer(VOCABULARY, [], special_tokens=special).save(written.folder)
    modules = library.sentence_transformer.modules
    torch.manual_seed(0)
    options = {"bias": False, "activation_function": torch.nn.Identity()}
    saved = library.SentenceTransformer(
        modules=[
            modules.Transformer(str(written.folder)),
            modules.Pooling(24, pooling_mode="mean"),
            modules.Dense(24, 40, **options),
            modules.Dense(40, 20, **options),
            modules.Normalize(),
        ],
        prompts={"query": "taskQuery", "document": "titleNone", "Clustering": "task"},
        device="cpu",
    )
    saved.save_pretrained(str(tmp_path / "saved"))
    theirs = library.SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    ours = TextEmbedder.from_preset(tmp_path / "saved")
    texts = ["".join(LETTERS[:n]) for n in (1, 7, 3, 12)]
    for prompt in ("query", "document", "Clustering"):
        wanted = theirs.encode(texts, prompt_name=prompt)
        np.testing.assert_allclose(ours.embed(texts, prompt_name=prompt), wanted, atol=2e-5)
    wanted = theirs.encode(texts, prompt_name="query", truncate_dim=8, normalize_embeddings=True)
    found = ours.embed(texts, prompt_name="query", truncate_dim=8, normalize=True)
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    ours.save_to_preset(tmp_path / "back")
    again = library.SentenceTransformer(str(tmp_path / "back"), device="cpu")
    np.testing.assert_array_equal(again.encode(texts), theirs.encode(texts))
