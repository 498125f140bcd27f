"""Tiny checkpoints written by transformers, with weights of order one.

At the usual initial scale of 0.02 attention is nearly uniform and biases are zero, and half of
all mistakes are invisible.
"""

import contextlib
import copy
import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inarch.checkpoints.maps.config_map import write_fields
from inarch.models import registry
from inarch.models.registry import by_model_type
from inarch.verify.hooks import without_float32
from inarch.verify.inputs import reference_inputs
from inarch.verify.transformers_reference import with_eager_experts

torch = pytest.importorskip("torch", reason="needs torch: make test-all")
transformers = pytest.importorskip("transformers", reason="needs transformers: make test-all")

# In place of the sizes of `[tiny]`: more heads, and rows as long as the tests' own.
LARGER = {
    "vocabulary_size": 61, "hidden_dim": 24, "num_heads": 4, "intermediate_dim": 40,
    "max_sequence_length": 32,
}  # fmt: skip


def fields_of(cls: Any) -> dict[str, Any]:
    """The config of a tiny model of one of transformers' classes, by the architecture's folder."""
    architecture, source = by_model_type(cls.config_class.model_type)
    known = {name: size for name, size in LARGER.items() if name in architecture.tiny}
    sizes, config = {**architecture.tiny, **known}, dict(source.published)
    write_fields(source.config, sizes, config, complete=True)
    return config | small_padding(cls, sizes["vocabulary_size"])


def small_padding(cls: Any, words: int) -> dict[str, int]:
    """The padding's id for a vocabulary of `words`, where the default is past its end.

    torch refuses such a row.
    """
    padding = cls.config_class().pad_token_id or 0
    return {"pad_token_id": padding % words} if padding >= words else {}


def perturb(model: Any, seed: int) -> None:
    """Every parameter random: kernels keep the scale of their input, the rest is of order one."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=random)
            if "LayerNorm.weight" in name or name.endswith("norm.weight"):
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
        """Return the reference's output in float64 or float32, as float64."""
        model = self.model.double() if double else self.model.float()
        declared = by_model_type(model.config.model_type)[0].inputs
        taken = inspect.signature(model.forward).parameters
        fed = reference_inputs(inputs, declared).items()
        fed = {name: torch.tensor(array) for name, array in fed if name in taken}
        wide = without_float32(torch) if double else contextlib.nullcontext()
        with torch.no_grad(), wide:
            return getattr(model(**fed), name).double().numpy()


@pytest.fixture
def write(tmp_path):
    """`write(class name, config changes)`: a perturbed tiny model saved by transformers."""

    def writer(kind: str, seed: int = 0, dtype: Any = None, save: dict | None = None, **changes):
        cls = getattr(transformers, kind)
        # Copies: some configs of transformers write into the values that they are given.
        config = cls.config_class(**copy.deepcopy({**fields_of(cls), **changes}))
        config._attn_implementation = "eager"
        model = with_eager_experts(cls(config).eval())
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


def whole_batch(model: Any, inputs: dict[str, np.ndarray], seed: int = 0) -> dict[str, np.ndarray]:
    """A batch with random values of inputs that no preprocessor makes: which tokens are global."""
    backbone = getattr(model, "backbone", model)
    random, mask = np.random.default_rng(seed), inputs["padding_mask"]
    lacking = {n: known for n, known in registry.inputs_of(type(backbone)).items()
               if n in model.input and n not in inputs}  # fmt: skip
    for name, known in lacking.items():
        values = random.integers(0, known.value_count(backbone.arguments), mask.shape)
        inputs = {**inputs, name: (values * mask).astype("int32")}
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
