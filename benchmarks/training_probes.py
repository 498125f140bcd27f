"""Probes of training: `python training_probes.py FUNCTION ARGUMENTS`.

Both sides are in one process, in turns, so that the machine is the same for both.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

from embedding_probes import WORDS
from inference_probes import mix
from probe import median_seconds, report

VOCABULARY, LAYERS, HEADS, WIDTH = 30522, 6, 12, 384
ROWS, LENGTH, STEPS = 16, 128, 4
LONGEST = 512


def step(rounds: str) -> dict[str, float]:
    """Return seconds of a training step on tensors, of `fit` and of plain torch with AdamW."""
    import numpy as np
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    from inarch import TextClassifier
    from inarch.models.bert.backbone import BertBackbone

    random = np.random.default_rng(0)
    ids = random.integers(1000, VOCABULARY, (ROWS * STEPS, LENGTH)).astype("int32")
    targets = random.integers(0, 2, ROWS * STEPS)
    names = ("token_ids", "segment_ids", "padding_mask")
    inputs = dict(zip(names, (ids, np.zeros_like(ids), np.ones_like(ids)), strict=True))
    task = TextClassifier(BertBackbone(VOCABULARY, LAYERS, HEADS, WIDTH, 4 * WIDTH), 2)
    config = BertConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, intermediate_size=4 * WIDTH, num_labels=2,
    )  # fmt: skip
    plain = BertForSequenceClassification(config).train()
    optimizer = torch.optim.AdamW(plain.parameters(), lr=5e-5)
    given = [torch.from_numpy(inputs[name]).long() for name in names]
    labels = torch.from_numpy(targets).long()

    def train_plain() -> None:
        for start in range(0, ROWS * STEPS, ROWS):
            rows = slice(start, start + ROWS)
            token_ids, segment_ids, mask = (x[rows] for x in given)
            found = plain(token_ids, mask, segment_ids, labels=labels[rows])
            optimizer.zero_grad()
            found.loss.backward()
            optimizer.step()

    def train() -> None:
        task.fit(inputs, targets, batch_size=ROWS, verbose=0)

    return _per(STEPS, median_seconds({"ours": train, "theirs": train_plain}, int(rounds)))


def epoch(folder: str, count: str, rounds: str, first: str = "1") -> dict[str, float]:
    """Return seconds of an epoch of raw texts, of `fit` and of transformers' Trainer."""
    from inarch import TextClassifier

    texts, labels = labelled_texts(int(count))
    task = TextClassifier.from_preset(folder, num_classes=2)
    task.preprocessor.sequence_length = LONGEST

    def train() -> None:
        task.fit(texts, labels, batch_size=ROWS, verbose=0)

    with tempfile.TemporaryDirectory() as scratch:
        trainer = _trainer(folder, scratch, texts, labels)
        return median_seconds({"ours": train, "theirs": trainer}, int(rounds), int(first))


def raw(folder: str, count: str, rounds: str) -> dict[str, float]:
    """Return seconds of `fit` on raw texts of one length, and on the same as tensors."""
    from inarch import TextClassifier

    texts = [" ".join([word] * (LENGTH - 2)) for word in WORDS.split()[: int(count)]]
    labels = [i % 2 for i in range(len(texts))]
    task = TextClassifier.from_preset(folder, num_classes=2)
    arrays = task.preprocessor(texts)
    inputs = {name: arrays[name] for name in task.input}

    def train(x: Any) -> Callable[[], Any]:
        return lambda: task.fit(x, labels, batch_size=ROWS, verbose=0)

    return median_seconds({"ours": train(texts), "theirs": train(inputs)}, int(rounds))


def labelled_texts(count: int) -> tuple[list[str], list[int]]:
    """Return texts of mixed lengths with their classes."""
    import numpy as np

    return mix(count), np.random.default_rng(0).integers(0, 2, count).tolist()


def _trainer(folder: str, scratch: str, texts: list[str], labels: list[int]) -> Callable[[], Any]:
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        Trainer,
        TrainingArguments,
    )

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    arguments = TrainingArguments(
        scratch, per_device_train_batch_size=ROWS, num_train_epochs=1, learning_rate=5e-5,
        use_cpu=True, save_strategy="no", logging_strategy="no", report_to=[], disable_tqdm=True,
    )  # fmt: skip

    def train() -> None:
        encoded = tokenizer(texts, truncation=True, max_length=LONGEST)
        rows = [
            {**{name: column[i] for name, column in encoded.items()}, "labels": label}
            for i, label in enumerate(labels)
        ]
        Trainer(model, arguments, train_dataset=rows, processing_class=tokenizer).train()

    return train


def _per(count: int, found: dict[str, float]) -> dict[str, float]:
    return {name: seconds / count for name, seconds in found.items()}


if __name__ == "__main__":
    report(globals())
