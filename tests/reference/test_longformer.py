"""Longformer on texts of many windows, of which the reference chooses the global tokens."""

import json

import numpy as np
import pytest
from tokenizers import pre_tokenizers

from inarch.tasks import MaskedLM, QuestionAnswerer, TextClassifier, TokenClassifier

from .conftest import noise_ratio, torch, transformers
from .test_answers import assert_answers_are_the_references

pytestmark = [pytest.mark.reference, pytest.mark.turns(3)]

FIRST = ["<s>", "<pad>", "</s>", "<unk>"]
VOCABULARY = [*FIRST, *sorted(pre_tokenizers.ByteLevel.alphabet()), "<mask>"]
LENGTH = 64
# Of one window, of many, and longer than a row.
TEXTS = ["good", "a film that is not bad at all, and long", "so " * 17, "\u00e9 \u4e2d " * 30]


@pytest.fixture
def checkpoint(write):
    """A checkpoint of a class, with a tokenizer of single bytes."""

    def made(kind, **changes):
        written = write(
            kind, vocab_size=len(VOCABULARY), max_position_embeddings=LENGTH + 2,
            type_vocab_size=1, **changes,
        )  # fmt: skip
        files = {
            "vocab.json": json.dumps({token: i for i, token in enumerate(VOCABULARY)}),
            "merges.txt": "#version: 0.2\n",
            "tokenizer_config.json": json.dumps(
                {"tokenizer_class": "LongformerTokenizer", "model_max_length": LENGTH}
            ),
        }
        for name, text in files.items():
            (written.folder / name).write_text(text, "utf-8")
        return written

    return made


@pytest.mark.parametrize("window", [[4, 8], 2 * LENGTH])
@pytest.mark.parametrize(
    ("kind", "task"),
    [
        ("LongformerForSequenceClassification", TextClassifier),
        ("LongformerForTokenClassification", TokenClassifier),
        ("LongformerForMaskedLM", MaskedLM),
    ],
)
def test_long_texts_have_the_references_numbers_whatever_it_pads(kind, task, window, checkpoint):
    written = checkpoint(kind, attention_window=window, num_labels=3)
    tokenizer = transformers.AutoTokenizer.from_pretrained(written.folder)
    ours = task.from_preset(written.folder)
    assert [e.ids for e in ours.encode(TEXTS)] == tokenizer(TEXTS, truncation=True)["input_ids"]
    fed = tokenizer(TEXTS, truncation=True, padding=True, return_tensors="pt")
    sizes = fed["attention_mask"].sum(-1).tolist()
    assert sizes[-1] == LENGTH
    rows = [slice(None) if task is TextClassifier else slice(size) for size in sizes]

    def theirs(model):
        with torch.no_grad():
            alone = [
                model(input_ids=fed["input_ids"][i : i + 1, :size]).logits[0].double().numpy()
                for i, size in enumerate(sizes)
            ]
            padded = model(**fed).logits.double().numpy()
        for row, one, taken in zip(padded, alone, rows, strict=True):
            np.testing.assert_allclose(row[taken], one, rtol=1e-4, atol=1e-4)
        return np.concatenate([np.ravel(one) for one in alone])

    single, double = theirs(written.model.float()), theirs(written.model.double())
    found = [np.ravel(row[taken]) for row, taken in zip(ours.predict(TEXTS), rows, strict=True)]
    assert noise_ratio(np.concatenate(found).astype("float64"), single, double) <= 4


def test_answers_in_long_contexts_are_those_of_the_references_logits(checkpoint):
    written = checkpoint("LongformerForQuestionAnswering", attention_window=8, num_hidden_layers=1)
    assert_answers_are_the_references(QuestionAnswerer.from_preset(written.folder), written.model)
