"""Tiny Whispers for the tests of its author formats, with weights of order one."""

import json
import re

import numpy as np

from .writers import ctranslate2

MELS, FRAMES, WORDS, LENGTH = 8, 24, 61, 10


def inputs(seed=0):
    """Two windows of sound and their tokens, as our backbone takes them."""
    random = np.random.default_rng(seed)
    tokens = random.integers(0, WORDS, (2, 7)).astype("int32")
    return {
        "encoder_features": random.normal(size=(2, FRAMES, MELS)).astype("float32"),
        "decoder_token_ids": tokens,
        "decoder_padding_mask": np.ones_like(tokens),
    }


def perturb(state, seed=0):
    """Every tensor of a torch state dict random, in place: kernels keep their input's scale."""
    import torch

    random = torch.Generator().manual_seed(seed)
    for name, tensor in state.items():
        noise = torch.randn(tensor.shape, generator=random)
        if re.search(r"(ln|ln_post|layer_norm)\.weight$", name):
            noise = 1 + 0.3 * noise
        elif tensor.ndim > 1 and not re.search("embed", name):
            noise = 1.5 * noise / tensor[0].numel() ** 0.5
        else:
            noise = 0.5 * noise
        tensor.copy_(noise)


# --- as CTranslate2 has it -----------------------------------------------------------------------


def ct2_variables(layers=2, seed=0):
    """The variables of a Whisper of width 8, by CTranslate2's names."""
    random = np.random.default_rng(seed)
    made = {}

    def normal(name, *shape):
        made[name] = random.normal(size=shape).astype("float32")

    def linear(name, rows, columns, key=None):
        normal(f"{name}/weight", rows, columns)
        normal(f"{name}/bias", rows)
        if key is not None:
            made[f"{name}/bias"][key] = 0

    def norm(name):
        normal(f"{name}/gamma", 8)
        normal(f"{name}/beta", 8)

    for i, width in ((1, MELS), (2, 8)):
        normal(f"encoder/conv{i}/weight", 8, width, 3)
        normal(f"encoder/conv{i}/bias", 8)
    normal("decoder/embeddings/weight", WORDS, 8)
    for half, positions in (("encoder", FRAMES // 2), ("decoder", LENGTH)):
        normal(f"{half}/position_encodings/encodings", positions, 8)
        norm(f"{half}/layer_norm")
        made[f"{half}/num_heads"] = np.int16(2)
        for i in range(layers):
            layer = f"{half}/layer_{i}"
            linear(f"{layer}/self_attention/linear_0", 24, 8, key=slice(8, 16))
            linear(f"{layer}/self_attention/linear_1", 8, 8)
            norm(f"{layer}/self_attention/layer_norm")
            if half == "decoder":
                linear(f"{layer}/attention/linear_0", 8, 8)
                linear(f"{layer}/attention/linear_1", 16, 8, key=slice(0, 8))
                linear(f"{layer}/attention/linear_2", 8, 8)
                norm(f"{layer}/attention/layer_norm")
            linear(f"{layer}/ffn/linear_0", 12, 8)
            linear(f"{layer}/ffn/linear_1", 8, 12)
            norm(f"{layer}/ffn/layer_norm")
    settings = {"activation": 3, "pre_norm": 1, "scale_embeddings": 0, "alibi": 0}
    return made | {f"decoder/{name}": np.int8(value) for name, value in settings.items()}


def quantized(variables, *names):
    """The variables, with these as 8-bit numbers and a scale for each row, as CTranslate2's."""
    made = dict(variables)
    for name in names:
        rows = variables[name].reshape(len(variables[name]), -1)
        scale = (127 / np.abs(rows).max(axis=1)).astype("float32")
        made[name] = np.rint(rows * scale[:, None]).astype("int8").reshape(variables[name].shape)
        made[f"{name}_scale"] = scale
    return made


def write_ct2(folder, variables, config=None):
    """A folder as its converter leaves it; the output table is another name for the input's."""
    folder.mkdir(exist_ok=True)
    aliases = {"decoder/projection/weight": "decoder/embeddings/weight"}
    aliases = {alias: name for alias, name in aliases.items() if name in variables}
    (folder / "model.bin").write_bytes(ctranslate2(variables, aliases))
    default = {"suppress_ids": [1, 2], "suppress_ids_begin": None, "alignment_heads": [[1, 0]]}
    (folder / "config.json").write_text(json.dumps(default if config is None else config))
    return folder
