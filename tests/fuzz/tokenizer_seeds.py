"""Files of tokenizers, sound ones and hostile ones."""

from __future__ import annotations

import base64
import json
import struct

from .common import Seeds, dumped

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "##a", "the"]
FAST_BPE = {"tokenizer_class": "PhobertTokenizer"}
ADDED = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}


def varint(value: int) -> bytes:
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + varint(value >> 7)


def part(number: int, value) -> bytes:
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def pieces(charsmap: bytes = b"", kind: int = 1) -> bytes:
    """A SentencePiece model."""
    rows = [("<pad>", 3), ("<unk>", 2), ("[CLS]", 3), ("[SEP]", 3), ("\u2581", 1), ("a", 1)]
    made = b"".join(part(1, part(1, t) + part(2, -1.0) + part(3, k)) for t, k in rows)
    table = part(2, charsmap) if charsmap else b""
    return made + part(2, part(3, kind)) + part(3, part(1, "identity") + table)


def tokenizers() -> Seeds:
    from inarch.text.word_piece_json import word_piece_json

    spec = word_piece_json(WORDS, {})
    config = {"tokenizer_class": "BertTokenizer", "model_max_length": 512}
    whole = {"tokenizer.json": dumped(spec), "tokenizer_config.json": dumped(config)}
    seeds: Seeds = {
        "tokenizer": ("tokenizer", whole),
        "vocab.txt": ("tokenizer", {"vocab.txt": "\n".join(WORDS).encode()}),
        "spiece.model": ("tokenizer", {"spiece.model": pieces()}),
    }
    state = {"spec": None, "config": config, "files": {"tokenizer.json": json.dumps(spec)}}
    for name, changed in {
        "sound": {}, "no files": {"files": {}}, "list": {"files": [1]}, "text": {"spec": 5},
        "bytes": {"files": {"x": {"base64": 5}}}, "config": {"config": [1]},
        "outside": {"files": {"../x": "y"}}, "empty": {"spec": ""},
    }.items():  # fmt: skip
        seeds[f"state {name}"] = ("state", {"state.json": dumped(state | changed)})
    charsmap = base64.b64encode(b"\xf0\xff\xff\xff\x00").decode()
    precompiled = {"type": "Precompiled", "precompiled_charsmap": charsmap}
    double = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
    grow = {"type": "Sequence", "normalizers": [double] * 40}
    token = {"id": 5, "content": "", "special": True, **ADDED}
    for name, changed in {
        "normalizer": {"normalizer": "x"}, "list": {"normalizer": [1]}, "number": {"decoder": 5},
        "charsmap": {"normalizer": precompiled}, "grows": {"normalizer": grow},
        "charsmap below": {"normalizer": {"type": "Sequence", "normalizers": [precompiled]}},
        "no length": {"added_tokens": [token]}, "added": {"added_tokens": {"a": 1}},
        "id": {"added_tokens": [token | {"content": "x", "id": 2**40}]},
        "negative": {"added_tokens": [token | {"content": "x", "id": -1}]},
        "twice": {"added_tokens": [token | {"content": "x", "id": i} for i in (20, 30)]},
        "surrogate": {"added_tokens": [token | {"content": "\ud800", "id": 9}]},
        "vocabulary": {"model": spec["model"] | {"vocab": {"a": "b"}}},
        "unigram": {"model": {"type": "Unigram", "unk_id": 9, "vocab": [["a", "b"], [[], 1]]}},
        "model": {"model": [1]}, "post": {"post_processor": {"type": "TemplateProcessing"}},
        "version": {"version": "9"}, "deep": {"normalizer": json.loads("[" * 90 + "]" * 90)},
    }.items():  # fmt: skip
        seeds[f"tokenizer {name}"] = (
            "tokenizer", {**whole, "tokenizer.json": dumped(spec | changed)}
        )  # fmt: skip
    for name, changed in {
        "limit": {"model_max_length": "512"}, "role": {"cls_token": 5}, "side": {"padding_side": 5},
        "class": {"tokenizer_class": ["x"]}, "added": {"added_tokens_decoder": [1]},
        "key": {"added_tokens_decoder": {"x": {"content": "y"}}},
        "token": {"added_tokens_decoder": {"9": 5}}, "extra": {"extra_special_tokens": 5},
        "extras": {"additional_special_tokens": [5]}, "lower": {"do_lower_case": "yes"},
        "digits": {"added_tokens_decoder": {"\u0665" * 3000: {"content": "y"}}},
        "surrogate": {"mask_token": "\ud800"}, "unknown": {"unk_token": {"content": ["x"]}},
        "truncation": {"truncation_side": [1]}, "list": {"added_tokens_decoder": ["y"]},
        "number": {"additional_special_tokens": 5}, "sound": {},
    }.items():  # fmt: skip
        for file in ("tokenizer.json", "vocab.txt"):
            files = dict(whole) if file == "tokenizer.json" else dict(seeds["vocab.txt"][1])
            files["tokenizer_config.json"] = dumped(config | changed)
            seeds[f"config of {file}, {name}"] = ("tokenizer", files)
        files = {"vocab.txt": b"a 5\n", "bpe.codes": b"a b 1\n"}
        files["tokenizer_config.json"] = dumped(config | FAST_BPE | changed)
        seeds[f"config of bpe.codes, {name}"] = ("tokenizer", files)
    for name, file, data in (
        ("map", "special_tokens_map.json", dumped({"cls_token": [1]})),
        ("added ids", "added_tokens.json", dumped({"x": "y"})),
        ("added big", "added_tokens.json", dumped({"x": 10**30, "": 7})),
        ("encoding", "special_tokens_map.json", b"\xff"),
        ("list", "tokenizer_config.json", b"[1]"),
    ):
        seeds[f"tokenizer {name}"] = ("tokenizer", {**whole, file: data})
    table = struct.pack("<I", 0xFFFFFFF0) + b"\0"
    for name, data in (
        ("charsmap", pieces(table)),
        ("no charsmap", pieces(b"\0")),
        ("bpe", pieces(kind=2)),
    ):
        for file in ("spiece.model", "spm.model", "sentencepiece.bpe.model"):
            seeds[f"{file} {name}"] = ("tokenizer", {file: data})
    long = part(1, part(1, "x" * 50_000) + part(2, -1.0) + part(3, 1))
    seeds["spiece.model long piece"] = ("tokenizer", {"spiece.model": long + pieces(kind=2)})
    ids = {"<s>": 0, "</s>": 1, "<unk>": 2, "<pad>": 3, "<mask>": 4, "a": 5, "b": 6, "ab": 7}
    pairs = {"vocab.json": dumped(ids), "merges.txt": b"#version: 0.2\na b\n"}
    seeds["byte pairs"] = ("tokenizer", pairs)
    for name, file, data in (
        ("ids", "vocab.json", dumped(ids | {"c": 10**30})),
        ("far id", "vocab.json", dumped(ids | {"c": 2**31})),
        ("long merge", "merges.txt", b"a" * 5000 + b" b c\n"),
    ):
        seeds[f"byte pairs {name}"] = ("tokenizer", {**pairs, file: data})
    ranks = b"".join(base64.b64encode(bytes([i])) + f" {i}\n".encode() for i in range(256))
    seeds["tiktoken"] = ("tokenizer", {"gpt2.tiktoken": ranks})
    long = ranks + base64.b64encode(bytes(20_000)) + b" 256\n"
    seeds["tiktoken no ASCII"] = ("tokenizer", {"gpt2.tiktoken": ranks + "é= 256\n".encode()})
    seeds["tiktoken long token"] = ("tokenizer", {"gpt2.tiktoken": long})
    far = ranks + base64.b64encode(b"xy") + b" " + b"9" * 5000
    seeds["tiktoken far rank"] = ("tokenizer", {"gpt2.tiktoken": far})
    return seeds
