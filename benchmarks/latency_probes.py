"""Probes of calls on one short text: `python latency_probes.py one_call FOLDER LAYERS`.

Each method runs in turns with the bare compiled backbone at the same shape, all warm.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from embedding_probes import WORDS
from probe import median_seconds, report

ROUNDS = 40
TEXT = " ".join(WORDS.split()[:14])
PAIR = " ".join(WORDS.split()[:5]), " ".join(WORDS.split()[5:13])


def one_call(folder: str, layers: str) -> dict[str, float]:
    """Time each task's method on one text of 16 tokens, over the backbone alone.

    Args:
        folder: of the encoder.
        layers: of a random encoder of width 768 in place of the folder's; 0 for the folder's.
    """
    found = {}
    for name, (task, examples, call) in _tasks(folder, int(layers)).items():
        bare = _bare(task, examples)
        seconds = median_seconds({"ours": call, "bare": bare}, ROUNDS, first=5)
        found |= {f"{name}_{side}": value for side, value in seconds.items()}
    return found


def _tasks(folder: str, layers: int) -> dict[str, tuple[Any, list[Any], Callable[[], Any]]]:
    """Return each task with what it reads, and a call of its method."""
    from inarch import QuestionAnswerer, Reranker, TextClassifier, TextEmbedder, TokenClassifier
    from inarch.models.bert.backbone import BertBackbone

    embedder = TextEmbedder.from_preset(folder)
    backbone, text = embedder.backbone, {"preprocessor": embedder.preprocessor}
    if layers:
        backbone = BertBackbone(
            vocabulary_size=30522, num_layers=layers, num_heads=12, hidden_dim=768,
            intermediate_dim=3072,
        )  # fmt: skip
        embedder = TextEmbedder(backbone, **text)
    warnings.simplefilter("ignore")  # of heads that are random, as they are meant to be
    classifier = TextClassifier(backbone, num_classes=3, **text)
    tagger = TokenClassifier(backbone, 3, labels=["O", "B-X", "I-X"], **text)
    reranker, answerer = Reranker(backbone, **text), QuestionAnswerer(backbone, **text)
    query, document = PAIR
    return {
        "predict": (classifier, [TEXT], lambda: classifier.predict([TEXT])),
        "embed": (embedder, [TEXT], lambda: embedder.embed(TEXT)),
        "classify": (classifier, [TEXT], lambda: classifier.classify(TEXT)),
        "rank": (reranker, [PAIR], lambda: reranker.rank(query, [document])),
        "tag": (tagger, [TEXT], lambda: tagger.tag(TEXT)),
        "answer": (answerer, [PAIR], lambda: answerer.answer(query, document)),
    }


def _bare(task: Any, examples: list[Any]) -> Callable[[], Any]:
    """Return the backbone's compiled call on the very arrays of the examples, and nothing else."""
    import keras

    from inarch.runtime.forward import as_float32, compiled

    backbone, encodings = task.backbone, task.encode(examples)
    (batch,) = task.batches_of(encodings, 32)
    inputs = task.inputs_of(encodings, batch)
    if keras.backend.backend() != "jax":
        run = compiled(backbone)
        return lambda: as_float32(backbone.sequence_output(run(inputs)))
    import jax
    import numpy as np

    state = [[v.value for v in variables] for variables in
             (backbone.trainable_variables, backbone.non_trainable_variables)]  # fmt: skip
    program = jax.jit(
        lambda state, x: backbone.sequence_output(backbone.stateless_call(*state, x)[0])
    )
    return lambda: np.asarray(program(state, inputs))


if __name__ == "__main__":
    report(globals())
