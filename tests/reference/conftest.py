"""Tiny checkpoints written by transformers, with weights of order one.

At the usual initial scale of 0.02 attention is nearly uniform and biases are zero, and half of
all mistakes are invisible.
"""

import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: make test-all")
transformers = pytest.importorskip("transformers", reason="needs transformers: make test-all")

BERT = {
    "vocab_size": 61, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 40, "max_position_embeddings": 32,
}  # fmt: skip
# As published checkpoints are; buckets so few that a sequence reaches the logarithmic ones.
DEBERTA = BERT | {
    "relative_attention": True, "position_buckets": 8, "norm_rel_ebd": "layer_norm",
    "share_att_key": True, "pos_att_type": "p2c|c2p", "position_biased_input": False,
    "type_vocab_size": 0,
}  # fmt: skip
DISTILBERT = {
    "vocab_size": 61, "dim": 24, "n_layers": 2, "n_heads": 4, "hidden_dim": 40,
    "max_position_embeddings": 32,
}  # fmt: skip

FNET = {name: value for name, value in BERT.items() if name != "num_attention_heads"}
ELECTRA = BERT | {"embedding_size": 10}
TINY = {"Electra": ELECTRA, "Distil": DISTILBERT, "FNet": FNET, "Deberta": DEBERTA}


def perturb(model: Any, seed: int) -> None:
    """Every parameter random: kernels keep the scale of their input, the rest is of order one."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=random)
            if "LayerNorm.weight" in name or "layer_norm.weight" in name:
                parameter.copy_(1 + 0.3 * noise)
            elif "embeddings" in name and parameter.ndim == 2:
                parameter.copy_(noise)
            elif parameter.ndim == 2:
                parameter.copy_(1.5 * noise / parameter.shape[1] ** 0.5)
            else:
                parameter.copy_(0.5 * noise)


@dataclass
class Written:
    """A checkpoint folder and the model that wrote it."""

    folder: Path
    model: Any

    def outputs(self, inputs: dict[str, np.ndarray], name: str, double: bool) -> np.ndarray:
        """The original's output in float64 or float32, as float64."""
        model = self.model.double() if double else self.model.float()
        fed = {
            "input_ids": inputs["token_ids"],
            "attention_mask": inputs["padding_mask"],
            "token_type_ids": inputs.get("segment_ids"),
        }
        taken = inspect.signature(model.forward).parameters
        fed = {
            k: torch.tensor(v, dtype=torch.long)
            for k, v in fed.items()
            if v is not None and k in taken
        }
        with torch.no_grad():
            return getattr(model(**fed), name).double().numpy()


@pytest.fixture
def write(tmp_path):
    """`write(class name, config changes)`: a perturbed tiny model saved by transformers."""

    def writer(kind: str, seed: int = 0, dtype: Any = None, save: dict | None = None, **changes):
        cls = getattr(transformers, kind)
        tiny = next((sizes for name, sizes in TINY.items() if kind.startswith(name)), BERT)
        config = cls.config_class(**{**tiny, **changes})
        config._attn_implementation = "eager"
        model = cls(config).eval()
        perturb(model, seed)
        model.tie_weights()
        if dtype is not None:
            model = model.to(dtype)
        folder = tmp_path / f"{kind}-{seed}"
        model.save_pretrained(folder, **(save or {}))
        return Written(folder, model)

    return writer


def batch(
    segments: int | None, vocabulary: int = 61, seed: int = 0, padding: int = 0
) -> dict[str, np.ndarray]:
    """Four sequences of different lengths, padded on the right; two segments where there are."""
    random = np.random.default_rng(seed)
    lengths = np.array([13, 9, 1, 6])
    mask = (np.arange(13) < lengths[:, None]).astype("int32")
    inputs = {
        "token_ids": np.where(
            mask, random.integers(padding + 1, vocabulary, mask.shape), padding
        ).astype("int32"),
        "padding_mask": mask,
    }
    if segments is not None:
        inputs["segment_ids"] = random.integers(0, segments, mask.shape).astype("int32") * mask
    return inputs


def noise_ratio(ours: np.ndarray, single: np.ndarray, double: np.ndarray) -> float:
    """Our distance to float64 over the reference's own float32 distance (root mean squares)."""
    own = np.sqrt(np.mean((single - double) ** 2))
    floor = np.finfo(np.float32).eps * np.sqrt(np.mean(double**2)) / 4
    return float(np.sqrt(np.mean((ours - double) ** 2)) / max(own, floor))


def tensors(folder: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Every tensor of a folder's safetensors files, as stored."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        raw = path.read_bytes()
        size = int.from_bytes(raw[:8], "little")
        for name, entry in json.loads(raw[8 : 8 + size]).items():
            if name != "__metadata__":
                begin, end = (8 + size + at for at in entry["data_offsets"])
                found[name] = (entry["dtype"], tuple(entry["shape"]), raw[begin:end])
    return found
