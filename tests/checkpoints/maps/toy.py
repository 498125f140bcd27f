"""A small format with one of everything: fused, stacked, grouped, tied, derived, unused, a head."""

import numpy as np

from inarch.checkpoints.formats.weights import TensorInfo
from inarch.checkpoints.maps.rule import dense, derived, embedding, norm, rule, tied, under, unused
from inarch.checkpoints.maps.source import Head, Source

SOURCE = Source(
    model_type="toy",
    architecture="ToyModel",
    prefix="toy.",
    config=[],
    weights=[
        embedding("words", "embedding"),
        norm("norm", "norm"),
        under("layer.{i}", "layer_{i}",
            rule("qkv", ("q", "k", "v"), "(q + k + v) i -> i q, i k, i v"),
            rule(("up.0", "up.1"), "up", "o i, o i -> * i o"),
            rule("heads", "heads", "(h k) d -> d h k")),
        derived("ids", lambda shape: np.arange(shape[-1]).reshape(shape), reason="range"),
        unused("mask", reason="never read"),
    ],
    optional_layers={"pooler": dense("pooler", "pooler")},
    heads={
        "lm": Head(
            ("ToyForLM",),
            weights=norm("lm.norm", "lm/norm"),
            tied=tied("lm.out", ".words.weight"),
            untied=rule("lm.out", "lm/kernel", "v d -> d v"),
        ),
    },
)  # fmt: skip
ARGUMENTS = {"num_layers": 2, "pooler": True}

OURS = {
    "embedding/embeddings": (11, 4),
    "norm/gamma": (4,),
    "norm/beta": (4,),
    "pooler/kernel": (4, 4),
    "pooler/bias": (4,),
}
THEIRS = {
    "words.weight": (11, 4),
    "norm.weight": (4,),
    "norm.bias": (4,),
    "pooler.weight": (4, 4),
    "pooler.bias": (4,),
    "ids": (1, 9),
    "mask": (3,),
}
for i in range(2):
    OURS |= {f"layer_{i}/{n}": (4, size) for n, size in {"q": 6, "k": 2, "v": 2}.items()}
    OURS |= {f"layer_{i}/up": (2, 4, 5), f"layer_{i}/heads": (4, 2, 3)}
    THEIRS |= {f"layer.{i}.up.{n}": (5, 4) for n in range(2)}
    THEIRS |= {f"layer.{i}.qkv": (10, 4), f"layer.{i}.heads": (6, 4)}


def header(**changes):
    """The toy's header; `name=None` leaves a tensor out, dots spelled `__`."""
    shapes = dict(THEIRS)
    for name, shape in changes.items():
        shapes[name.replace("__", ".")] = shape
    return {
        name: TensorInfo("I64" if name == "ids" else "F32", shape)
        for name, shape in shapes.items()
        if shape is not None
    }


class Memory:
    """Weights that are arrays in memory."""

    def __init__(self, arrays):
        kinds = {"i": "I64", "f": "F32"}
        self.arrays = arrays
        self.header = {n: TensorInfo(kinds[a.dtype.kind], a.shape) for n, a in arrays.items()}

    def read(self, name):
        return self.arrays[name]

    def release(self, name):
        """Release nothing: no file is mapped."""


def arrays(of, seed=0):
    """Random values for a header."""
    random = np.random.default_rng(seed)
    made = {n: random.normal(size=i.shape).astype("float32") for n, i in of.items()}
    return made | {
        n: np.arange(a.size).reshape(a.shape) for n, a in made.items() if n.endswith("ids")
    }
