"""Files of every format that is read, sound ones and hostile ones, all tiny and made here.

A seed is a reader's name and the files of a folder. What once came through as another library's
error, took memory or time without bound, or ended the process, is a seed for good.
"""

from __future__ import annotations

import struct
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from inarch.verify.golden import Golden

from ..audio.sounds import encoded, tone, wav
from ..author_formats.whispers import ct2_variables, write_ct2
from ..author_formats.writers import arrays, bundle, nested, pack
from . import torch_files as torch
from .common import Files, Seeds, dumped, with_field
from .tokenizer_seeds import tokenizers

GOLDEN = Path(__file__).parents[1] / "golden"
BIG = 10**9


def files_of(folder: Path) -> Files:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def safetensors(header, data=b"") -> bytes:
    text = header if isinstance(header, bytes) else dumped(header)
    return struct.pack("<Q", len(text)) + text + data


def from_golden(name: str) -> Files:
    """A whole checkpoint of an architecture, and its golden file."""
    golden = Golden.read(GOLDEN / f"{name}.safetensors")
    with tempfile.TemporaryDirectory() as folder:
        golden.unpack(Path(folder))
        return files_of(Path(folder))


# --- checkpoints -------------------------------------------------------------------------------


def checkpoints() -> Seeds:
    bert = from_golden("bert")
    config, weights = bert["config.json"], bert["model.safetensors"]
    seeds: Seeds = {
        name: ("checkpoint", from_golden(name)) for name in ("bert", "deberta_v3", "roberta")
    }

    def add(name, **changed):
        spelled = {n.replace("__", "."): data for n, data in changed.items()}
        seeds[name] = ("checkpoint", {**bert, **spelled})

    for field, value in {
        "num_hidden_layers": BIG, "vocab_size": 10**12, "hidden_size": 10**18,
        "num_attention_heads": 10**30, "max_position_embeddings": BIG, "num_labels": BIG,
        "hidden_dropout_prob": 10**39, "layer_norm_eps": 10**38, "hidden_act": ["gelu"],
        "id2label": {str(i): "\ud800" for i in range(9)}, "architectures": {"a": 1},
        "\ud800\x1b[2J": 5, "x" * 3000: "y" * 3000, "label2id": 7, "problem_type": [1],
        "model_type": ["bert"], "tie_word_embeddings": "\ud800" * 999, "pruned_heads": [1],
    }.items():  # fmt: skip
        add(f"config {field[:20]!r}", config__json=with_field(config, **{field: value}))
    add(
        "config 10**400",
        config__json=config.replace(b"{", b'{"num_labels": 1' + b"0" * 400 + b",", 1),
    )
    typeless = config.replace(b'"model_type": "bert",', b"")
    assert typeless != config
    add("config without a type", config__json=with_field(typeless, num_hidden_layers=BIG))
    add("config nested", config__json=b'{"a":' * 100_000)
    add("config nested a little", config__json=b'{"a":' * 500 + b"1" + b"}" * 500)
    add("config of another encoding", config__json=config + b"\xff")
    add("side file of another encoding", generation_config__json=b"\xff\xfe{")
    entry = {"dtype": "U8", "shape": [10**39, 10**39], "data_offsets": [0, 10**39]}
    add("big sizes", model__safetensors=safetensors({"w": entry}))
    digits = b"9" * 4000
    many = b'{"w":{"dtype":"U8","data_offsets":[0,1],"shape":[' + b",".join([digits] * 300) + b"]}}"
    add("sizes of many digits", model__safetensors=safetensors(many, b"\0"))
    axes = {"dtype": "U8", "shape": [1] * 100_000, "data_offsets": [0, 1]}
    add("many axes", model__safetensors=safetensors({"w": axes}, b"\0"))
    surrogate = {"\ud800": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}
    add("name of no encoding", model__safetensors=safetensors(surrogate, b"\0"))
    long = {"n" * 5000: {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}
    add("long name", model__safetensors=safetensors(long, b"\0"))
    odd = {"__metadata__": {"a": [1]}, "w": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}
    add("metadata", model__safetensors=safetensors(odd, b"\0"))
    sharded = {n: data for n, data in bert.items() if n != "model.safetensors"}
    for name, shard in {
        "300 letters": "x" * 300, "above": "../model.safetensors", "NUL": "a\0b", "number": 5,
        "surrogate": "\ud800", "sound": "part.safetensors",
    }.items():  # fmt: skip
        index = dumped({"weight_map": {"w": shard}})
        both = {"model.safetensors.index.json": index, "part.safetensors": weights}
        seeds[f"index {name}"] = ("checkpoint", {**sharded, **both})
    classes = {"architectures": ["BertForSequenceClassification"]}
    for name, changed in {
        "count": {"num_labels": BIG}, "count alone": {"num_labels": BIG, "id2label": None},
        "names": {"id2label": {"a": 1}}, "list": {"id2label": [[1]]},
        "far": {"id2label": {str(BIG): "x"}}, "numbers": {"label2id": {"x": "y"}},
        "surrogate": {"id2label": {"0": "\ud800", "1": "b"}}, "kind": {"problem_type": [5]},
        "digits": {"id2label": {"9" * 5000: "x"}},
    }.items():  # fmt: skip
        add(f"labels {name}", config__json=with_field(config, **classes, **changed))
    seeds["model"] = ("model", bert)
    seeds["model of classes"] = (
        "model", {**bert, "config.json": with_field(config, **classes, num_labels=3)}
    )  # fmt: skip
    return seeds | sentences(bert) | torches(sharded) | author_formats()


def sentences(bert: Files) -> Seeds:
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_P", "type": "sentence_transformers.models.Pooling"},
    ]
    pooling = {"word_embedding_dimension": 8, "pooling_mode_mean_tokens": True}
    whole = {
        **bert,
        "modules.json": dumped(modules),
        "1_P/config.json": dumped(pooling),
        "sentence_bert_config.json": dumped({"max_seq_length": 16, "do_lower_case": False}),
        "config_sentence_transformers.json": dumped({"prompts": {"query": "q: "}}),
    }
    seeds: Seeds = {"sentences": ("checkpoint", whole)}

    def add(name, file, value):
        data = value if isinstance(value, bytes) else dumped(value)
        seeds[f"sentences {name}"] = ("checkpoint", {**whole, file: data})

    for mode in (5, ["mean", 5], {"a": 1}, [["mean"]], "x" * 5000):
        add(f"mode {str(mode)[:20]}", "1_P/config.json", {"pooling_mode": mode})
    for limit in ("7", -1, 2.5, BIG * BIG, [1], True):
        add(f"limit {limit}", "sentence_bert_config.json", {"max_seq_length": limit})
    for prompts in ([1], {"a": 1}, "x", {"a": "\ud800"}):
        add(f"prompts {prompts!r}", "config_sentence_transformers.json", {"prompts": prompts})
    add("default", "config_sentence_transformers.json", {"default_prompt_name": [1]})
    for path in ("../secret", "/etc", "x" * 300, "a\0b", 5, "\ud800"):
        changed = [modules[0], modules[1] | {"path": path}]
        add(f"path {str(path)[:9]!r}", "modules.json", changed)
    add("nested", "modules.json", b"[" * 100_000)
    add("encoding", "modules.json", b"[]\xff")
    add("side file of another encoding", "sentence_bert_config.json", b"\xff")
    return seeds


def torches(sidecar_files: Files) -> Seeds:
    numbers = {"w": np.arange(6, dtype="float32").reshape(2, 3)}
    bits = {"0": numbers["w"].tobytes()}

    def state(value=b"", **changed):
        settings = {"key": "0", "dtype": "float32", "size": 6, "shape": (2, 3)} | changed
        return torch.mapping({"w": torch.tensor(**settings)}) + value

    shared = b"](" + b")q\x00" + b"".join(
        b"h" + bytes([i, ord("h"), i]) + b"\x86q" + bytes([i + 1]) for i in range(60)
    ) + b"e"  # fmt: skip
    made = {
        "sound": torch.saved(numbers),
        "older": torch.saved(numbers, legacy=True),
        "expanded": torch.archive(state(shape=(BIG, BIG), strides=(0, 0)), bits),
        "beyond": torch.archive(state(offset=BIG), bits),
        "shared lists": torch.archive(state(torch.text("x") + shared + b"s"), bits),
        "holds itself": torch.archive(state(torch.text("x") + b"]q\x00h\x00as"), bits),
        "shared key": torch.archive(shared + b"}h\x3cNs", bits),
        "deflated": torch.archive(
            state(size=10**6, shape=(10**6,)), {"0": bytes(4 * 10**6)}, zipfile.ZIP_DEFLATED
        ),
        "of no numbers": torch.archive(state(shape=(0, 1 << 62)), bits),
        "step never taken": torch.archive(state(shape=(1, 3), strides=(1 << 62, 1)), bits),
        "negative truth": torch.archive(
            state(dtype="bool", size=24, shape=(24,), bits={"neg": True}), bits
        ),
        "far memory": torch.archive(b"}r" + struct.pack("<I", 0xFFFFFFF0), bits),
        "big number": torch.archive(torch.mapping({"w": torch.number(10**9000)}), bits),
        "code": torch.archive(torch.named("os", "system") + torch.many(torch.text("x")) + b"R", {}),
        "deep": torch.archive(b"](" * 50_000 + b"e" * 50_000, {}),
        "tar": b"\0" * 257 + b"ustar" + b"\0" * 600,
        "huge, older": torch.stream(
            torch.mapping({"w": torch.tensor("0", "float32", BIG, (BIG,), legacy=True)}),
            {"0": (BIG, b"\0")},
        ),
    }
    layers = with_field(sidecar_files["config.json"], num_hidden_layers=BIG)
    no_tensors = {"config.json": layers, "pytorch_model.bin": made["far memory"]}
    return {"torch no tensors": ("checkpoint", {**sidecar_files, **no_tensors})} | {
        f"torch {name}": ("checkpoint", {**sidecar_files, "pytorch_model.bin": data})
        for name, data in made.items()
    }


# --- formats of the authors --------------------------------------------------------------------


def author_formats() -> Seeds:
    seeds: Seeds = {}
    with tempfile.TemporaryDirectory() as folder:
        seeds["ctranslate2"] = ("checkpoint", files_of(write_ct2(Path(folder), ct2_variables())))
    for field, value in {"suppress_ids": "x", "alignment_heads": [[BIG] * 3]}.items():
        files = dict(seeds["ctranslate2"][1])
        files["config.json"] = with_field(files["config.json"], **{field: value})
        seeds[f"ctranslate2 {field}"] = ("checkpoint", files)
    index, data = bundle(arrays())
    seeds["tensor bundle"] = (
        "checkpoint",
        {
            "bert_config.json": dumped({"vocab_size": 31, "hidden_size": 8}),
            "bert_model.ckpt.index": index,
            "bert_model.ckpt.data-00000-of-00001": data[0],
        },
    )
    flax = pack({"target": nested({"encoder/embedder/word/embedding": np.ones((3, 4), "f4")})})
    nils = b"\xdd" + struct.pack(">I", 3_000_000) + b"\xc0" * 3_000_000
    trees = {
        "sound": flax,
        "nils": b"\x81\xa1a" + nils,
        "nils of a shape": pack({"a": {"__msgpack_chunked_array__": True}})[:-1] + b"\xc0",
        "sizes": b"\xdd\xff\xff\xff\xff",
        "nested": b"\x91" * 10_000,
    }
    for name, tree in trees.items():
        seeds[f"flax {name}"] = ("checkpoint", {"f_net_checkpoint": tree})
    dims = {
        "n_mels": 8, "n_audio_ctx": 12, "n_audio_state": 16, "n_audio_head": 4,
        "n_audio_layer": 2, "n_vocab": 61, "n_text_ctx": 10, "n_text_state": 16,
        "n_text_head": 4, "n_text_layer": 3,
    }  # fmt: skip
    numbers = {"decoder.token_embedding.weight": np.zeros((61, 16), "float32")}
    for name, changed in {
        "sound": {}, "layers": {"n_text_layer": 10**8}, "heads": {"n_text_head": 10**8},
        "wide": {"n_audio_state": BIG, "n_text_state": BIG}, "text": {"n_vocab": "61"},
        "lists": {"n_mels": [[]]},
    }.items():  # fmt: skip
        file = torch.saved(numbers, entries={"dims": dims | changed}, inside="model_state_dict")
        seeds[f"openai {name}"] = ("checkpoint", {"tiny.pt": file})
    lines = "".join(f"{i} {100 - i}\n" for i in range(26)).encode()
    for name, cfg in {
        "sound": {"model": {"arch": "roberta"}},
        "list": {"model": {"arch": [[]]}},
    }.items():
        file = torch.saved(numbers, entries={"cfg": cfg}, inside="model")
        seeds[f"fairseq {name}"] = ("checkpoint", {"model.pt": file, "dict.txt": lines})
    return seeds


# --- sound, golden files, layouts --------------------------------------------------------------


def sounds() -> Seeds:
    short = tone(seconds=0.2)
    slow = bytearray(wav(np.zeros(40_000, "float32")))
    slow[24:28] = struct.pack("<I", 1)
    made = {
        "wav": wav(short),
        "flac": encoded(short, "flac", "flac"),
        "mp3": encoded(short, "mp3", "mp3"),
        "1 Hz": bytes(slow),
        "no rate": bytes(slow[:24] + struct.pack("<I", 0) + slow[28:]),
        "unknown codec": wav(short)[:20] + b"\x77\x77" + wav(short)[22:],
        "playlist": b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n",
        "concat": b"ffconcat version 1.0\nfile /etc/passwd\n",
        "empty": b"",
    }
    return {f"sound {name}": ("sound", {"sound": data}) for name, data in made.items()}


def others() -> Seeds:
    golden = (GOLDEN / "f_net.safetensors").read_bytes()
    layout = {
        "config_text": "{}", "head": None, "sidecar_files": {},
        "shards": [
            {"filename": "model.safetensors", "metadata": None, "tensors": [["w", "F32", [2]]]}
        ],
    }  # fmt: skip
    seeds: Seeds = {
        "golden": ("golden", {"golden.safetensors": golden}),
        "layout": ("layout", {"layout.json": dumped(layout)}),
        "layout list": ("layout", {"layout.json": dumped({"shards": [1]})}),
        "layout empty": ("layout", {"layout.json": b"{}"}),
        "layout sidecar files": (
            "layout",
            {"layout.json": dumped(layout | {"sidecar_files": [1]})},
        ),
    }
    return seeds


def every() -> Seeds:
    return checkpoints() | tokenizers() | sounds() | others()
