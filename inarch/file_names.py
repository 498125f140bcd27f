"""The names of a checkpoint's files, in one table for those who fetch, read, replace or list them.

Patterns are those of `fnmatch`; all other names match themselves alone.
"""

from __future__ import annotations

CONFIG = "config.json"
# What this library writes next to config.json.
SETTINGS = "inarch.json"

# Weights in the formats that are read from a folder of Hugging Face's, the first that is there.
WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "tf_model.h5",
)
INDEX_FILES = tuple(name for name in WEIGHT_FILES if name.endswith(".index.json"))
# The same with their shards, in the order of requests to a hub: a line where nothing of those
# before is there. `model.bin` is CTranslate2's.
WEIGHT_PATTERNS = (
    ("model*.safetensors", "model.safetensors.index.json"),
    ("pytorch_model*.bin", "pytorch_model.bin.index.json", "model.bin"),
    ("tf_model.h5",),
)

# The model of a tokenizer of SentencePiece, by the names that it has.
SENTENCE_PIECE_MODELS = (
    "spm.model", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model",
)  # fmt: skip
# A chat template by itself, which goes before that of tokenizer_config.json.
CHAT_TEMPLATE = "chat_template.jinja"
# Everything that a tokenizer may come with.
TOKENIZER_FILES = (
    "tokenizer.json", "vocab.txt", "bpe.codes", "vocab.json", "merges.txt",
    *SENTENCE_PIECE_MODELS, "source.spm", "target.spm", "target_vocab.json",
    "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "normalizer.json", CHAT_TEMPLATE,
)  # fmt: skip

# What sentence-transformers writes around a transformer, and the transformer's own file by the
# names that it has had.
MODULES = "modules.json"
SENTENCE_SETTINGS = "config_sentence_transformers.json"
SENTENCE_TRANSFORMER_FILES = tuple(
    f"sentence_{kind}_config.json"
    for kind in (
        "bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet",
    )
)  # fmt: skip
SENTENCE_FILES = (MODULES, SENTENCE_SETTINGS, *SENTENCE_TRANSFORMER_FILES)
# What colbert-ai writes next to config.json.
COLBERT_SETTINGS = "artifact.metadata"

# How a model generates, and what it is fed.
SIDECAR_FILES = ("generation_config.json", "preprocessor_config.json")

# All but the weights: `*.model` is a SentencePiece model's, `vocabulary.*` CTranslate2's.
OTHER_PATTERNS = (
    CONFIG, SETTINGS, COLBERT_SETTINGS, *TOKENIZER_FILES, "*.model", *SENTENCE_FILES,
    "sentence_*_config.json",
    "*_*/config.json", "[0-9]_*/model.safetensors", "[0-9]_*/pytorch_model.bin", *SIDECAR_FILES,
    "vocabulary.*",
)  # fmt: skip
