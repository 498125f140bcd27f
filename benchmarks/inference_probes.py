"""Probes of text tasks and their peers: `python inference_probes.py FUNCTION ARGUMENTS`.

All models are warm, and ours and the peers run in one process and in turns; but for one text each
has a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from embedding_probes import WORDS
from probe import median_seconds, memory, report

ROUNDS = 5
# Tokens of a text: lognormal, half of them below 24, one in a hundred above 280.
MEDIAN, SIGMA, LONGEST = 24, 1.06, 500
BATCH, LENGTH, SIDE = 32, 128, 2048
ONE_TEXT = " ".join(WORDS.split()[:14])


def make(folder: str, vocabulary: str, layers: str) -> dict[str, float]:
    """Write encoders of width 768 with random weights: alone, with three classes, and with one."""
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        BertModel,
        BertTokenizerFast,
    )

    sizes = {
        "hidden_size": 768, "num_hidden_layers": int(layers), "num_attention_heads": 12,
        "intermediate_size": 3072, "vocab_size": 30522,
    }  # fmt: skip
    for name, labels in (("encoder", 2), ("classifier", 3), ("reranker", 1)):
        path = Path(folder) / name
        config = BertConfig(**sizes, num_labels=labels)
        kind = BertModel if name == "encoder" else BertForSequenceClassification
        kind(config).save_pretrained(path)
        BertTokenizerFast(f"{vocabulary}/vocab.txt").save_pretrained(path)
    return {}


def mix(count: int) -> list[str]:
    """Return texts whose numbers of tokens are as mixed as those of real ones."""
    return list(islice(_texts(), count))


def _texts() -> Iterator[str]:
    import numpy as np

    random = np.random.default_rng(0)
    words = WORDS.split()
    while True:
        length = random.lognormal(np.log(MEDIAN), SIGMA)
        yield " ".join(random.choice(words, int(np.clip(length, 4, LONGEST)) - 2))


def embed(folder: str, count: str) -> dict[str, float]:
    """Time texts to vectors, against sentence-transformers at its default batch and a small one.

    `limit` is the time that the matrix products of the tokens would take by themselves at the speed
    of a large one, in turn with the rest.
    """
    import numpy as np
    from sentence_transformers import SentenceTransformer

    from inarch import TextEmbedder

    ours, theirs, texts = (
        TextEmbedder.from_preset(folder),
        SentenceTransformer(folder),
        mix(int(count)),
    )
    found = _in_turn(
        ours=lambda: ours.embed(texts),
        theirs=lambda: theirs.encode(texts, batch_size=32),
        small=lambda: theirs.encode(texts, batch_size=8),
        limit=_product(),
    )
    operations = sum(_operations(folder, 1, len(row.ids)) for row in ours.encode(texts))
    found["limit"] *= operations / (2 * SIDE**3)
    return found | {"difference": float(np.abs(ours.embed(texts) - theirs.encode(texts)).max())}


def cheaper(folder: str, count: str) -> dict[str, float]:
    """Time texts to vectors in int8 and in OpenVINO, against float32 in Keras."""
    import numpy as np

    from inarch import TextEmbedder

    texts, ours = mix(int(count)), TextEmbedder.from_preset(folder)
    copy, _ = ours.to_precision("int8", texts[:16], verbose=False)
    found = _in_turn(
        int8=lambda: copy.embed(texts),
        openvino=lambda: ours.embed(texts, runtime="openvino"),
        theirs=lambda: ours.embed(texts),
    )
    cosines = (ours.embed(texts) * copy.embed(texts)).sum(1)
    return found | {"error": float(1 - np.min(cosines))}


def classify(folder: str, count: str) -> dict[str, float]:
    """Time classification, against transformers' pipeline one by one and in batches of 32."""
    from transformers import pipeline

    from inarch import TextClassifier

    ours, theirs = TextClassifier.from_preset(folder), pipeline("text-classification", folder)
    texts = mix(int(count))
    return _in_turn(
        ours=lambda: ours.classify(texts),
        theirs=lambda: theirs(texts, batch_size=32),
        small=lambda: theirs(texts, batch_size=1),
    )


def rerank(folder: str, count: str) -> dict[str, float]:
    """Time the ranking of documents for one query, against sentence-transformers' CrossEncoder."""
    from sentence_transformers import CrossEncoder

    from inarch import Reranker

    ours, theirs = Reranker.from_preset(folder), CrossEncoder(folder)
    query, *documents = mix(int(count) + 1)
    return _in_turn(
        ours=lambda: ours.rank(query, documents),
        theirs=lambda: theirs.rank(query, documents),
    )


def one_text(folder: str, runtime: str = "") -> dict[str, float]:
    """Time the vector of one text of 16 tokens.

    Args:
        folder: of the encoder.
        runtime: what computes it in place of Keras, if anything.
    """
    from inarch import TextEmbedder

    ours = TextEmbedder.from_preset(folder)
    return median_seconds({"seconds": lambda: ours.embed(ONE_TEXT, runtime=runtime or None)}, 100)


def one_text_by_hand(folder: str) -> dict[str, float]:
    """Time the same in transformers: no other engine's threads are in the process, as in ours."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = (kind.from_pretrained(folder) for kind in (AutoModel, AutoTokenizer))

    def by_hand() -> Any:
        inputs = tokenizer([ONE_TEXT], return_tensors="pt")
        with torch.inference_mode():
            return model(**inputs).last_hidden_state.mean(1).numpy()

    return median_seconds({"seconds": by_hand}, 100)


def share_of_limit(folder: str) -> dict[str, float]:
    """Time a forward pass of full rows, and products of matrices at the machine's limit."""
    operations = _operations(folder, BATCH, LENGTH)
    found = _in_turn(ours=_forward(folder, BATCH, LENGTH), limit=_product())
    return {"share": operations / found["ours"] / (2 * SIDE**3 / found["limit"])}


def _product() -> Callable[[], Any]:
    """Return a product of two matrices of `SIDE`, at the machine's limit."""
    import torch

    a, b = torch.randn(2, SIDE, SIDE)
    return lambda: a @ b


def _operations(folder: str, rows: int, length: int) -> float:
    import json

    config = json.loads((Path(folder) / "config.json").read_text("utf-8"))
    width, inner = config["hidden_size"], config["intermediate_size"]
    per_token = 2 * (4 * width**2 + 2 * width * inner) + 4 * length * width
    return config["num_hidden_layers"] * rows * length * per_token


def _forward(folder: str, rows: int, length: int, **options: Any) -> Callable[[], Any]:
    import numpy as np

    from inarch import Backbone
    from inarch.runtime.forward import as_float32, compiled

    backbone: Any = Backbone.from_preset(folder, **options)
    forward = compiled(
        backbone, lambda x: backbone.sequence_output(backbone(x, training=False))[:, 0]
    )
    ids = np.random.default_rng(0).integers(1000, 20000, (rows, length)).astype("int32")
    zeros = np.zeros_like(ids)
    inputs = {"token_ids": ids, "segment_ids": zeros, "padding_mask": zeros + 1}
    return lambda: as_float32(forward(inputs))


def stream(folder: str, count: str) -> dict[str, float]:
    """Measure the peak of memory of a stream of texts."""
    from inarch import TextEmbedder

    embedder = TextEmbedder.from_preset(folder)
    short = (text[:40] for text in islice(_texts(), int(count)))
    seen = sum(1 for _ in embedder.stream(short))
    return {"peak": memory("VmHWM"), "texts": seen}


def gpu(folder: str, count: str) -> dict[str, float]:
    """Time bfloat16 on a GPU: full rows at the limit, and the mix against sentence-transformers."""
    import torch
    from sentence_transformers import SentenceTransformer

    from inarch import TextEmbedder

    side, rows, length = 8192, 64, 512
    a, b = torch.randn(2, side, side, device="cuda", dtype=torch.bfloat16)

    def product() -> None:
        a @ b
        torch.cuda.synchronize()

    full = _in_turn(ours=_forward(folder, rows, length, dtype="bfloat16"), theirs=product)
    share = _operations(folder, rows, length) / full["ours"] / (2 * side**3 / full["theirs"])
    texts, options = mix(int(count)), {"dtype": torch.bfloat16, "attn_implementation": "sdpa"}
    ours = TextEmbedder.from_preset(folder, dtype="bfloat16")
    theirs = SentenceTransformer(folder, device="cuda", model_kwargs=options)
    found = {}
    for size in (32, 256):
        found |= {
            f"{name}_{size}": seconds
            for name, seconds in _in_turn(
                ours=lambda size=size: ours.embed(texts, batch_size=size),
                theirs=lambda size=size: theirs.encode(texts, batch_size=size),
            ).items()
        }
    return found | {"share": share}


def _in_turn(**programs: Callable[[], Any]) -> dict[str, float]:
    return median_seconds(programs, ROUNDS)


if __name__ == "__main__":
    report(globals())
