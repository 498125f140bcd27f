"""Rerankers against sentence-transformers' CrossEncoder, in both directions."""

import json

import keras
import numpy as np
import pytest
from sentence_transformers import CrossEncoder

from inarch.losses.ranking import LambdaLoss
from inarch.models.registry import architectures
from inarch.tasks import Reranker

from .conftest import transformers
from .test_scores import make

pytestmark = [pytest.mark.reference, pytest.mark.turns(3)]

QUERY = "cat dog"
DOCUMENTS = ["rain sun", "bird", "", "cat cat dog", "sun " * 40, "☃ ünknown", "dog"]
PAIRS = [(QUERY, document) for document in DOCUMENTS]
PROMPTS = {"prompts": {"query": "sun rain ", "none": ""}, "default_prompt_name": "query"}


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=1e-6)


def compare(task, model):
    close(task.predict(PAIRS), model.predict(PAIRS))
    close(task.predict(PAIRS[0]), model.predict(PAIRS[0]))
    ours = task.rank(QUERY, DOCUMENTS, top_k=5)
    theirs = model.rank(QUERY, DOCUMENTS, top_k=5, return_documents=True)
    assert [(a["index"], a["text"]) for a in ours] == [(a["corpus_id"], a["text"]) for a in theirs]
    close([a["score"] for a in ours], [a["score"] for a in theirs])


def cross_encoder(folder, **options):
    return CrossEncoder(str(folder), device="cpu", **options)


@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("prompts", [{}, PROMPTS])
@pytest.mark.parametrize("length", [None, 9])
def test_a_folder_of_theirs_gives_their_rankings(saved, prompts, length, tmp_path):
    folder = make(tmp_path / "plain", {"num_labels": 1})
    if length and not saved:
        return  # nothing of theirs has it then
    model = cross_encoder(folder, **(prompts if saved else {}), max_length=length)
    if saved:
        model.save_pretrained(str(tmp_path / "saved"))
        folder = tmp_path / "saved"
    task = Reranker.from_preset(folder)
    assert task.preprocessor.sequence_length == (length or 32)
    compare(task, model)


@pytest.mark.parametrize("classes", [1, 3])
def test_all_classes_have_their_scores(classes, tmp_path):
    folder = make(tmp_path, {"num_labels": classes})
    close(Reranker.from_preset(folder).predict(PAIRS), cross_encoder(folder).predict(PAIRS))


def test_a_reranker_that_was_trained_here_gives_them_the_same(tmp_path):
    task = Reranker.from_preset(make(tmp_path / "plain", {"num_labels": 1}))
    task.compile(keras.optimizers.Adam(1e-2), LambdaLoss())
    task.fit([(QUERY, DOCUMENTS[:3])], [[1, 0, 2]], epochs=2, verbose=0)
    task.preprocessor.prompts = {"query": "rain "}
    task.preprocessor.default_prompt_name = "query"
    task.preprocessor.sequence_length = 11
    task.activation_fn = "tanh"
    task.save_to_preset(tmp_path / "ours")
    model = cross_encoder(tmp_path / "ours")
    assert (model.max_seq_length, model.default_prompt_name) == (11, "query")
    compare(task, model)
    model.save_pretrained(str(tmp_path / "theirs"))
    compare(Reranker.from_preset(tmp_path / "theirs"), model)
    # And back into ours once more, with what was changed since.
    again = Reranker.from_preset(tmp_path / "theirs")
    again.preprocessor.default_prompt_name = None
    again.activation_fn = None
    again.save_to_preset(tmp_path / "again")
    compare(again, cross_encoder(tmp_path / "again"))


def test_a_head_of_bare_weights_is_one_class_for_both(tmp_path):
    folder = make(tmp_path, {}, cls="BertModel")
    with pytest.warns(UserWarning, match="has no values for"):
        task = Reranker.from_preset(folder)
    assert task.num_classes == cross_encoder(folder).num_labels == 1


@pytest.mark.parametrize("name", ["roberta", "distil_bert"])
def test_other_architectures_have_their_scores(name, tmp_path):
    backbone = architectures()[name].backbone
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 24}
    keras.utils.set_random_seed(0)
    from ..tasks.conftest import VOCABULARY

    tokens = len(VOCABULARY)
    task = Reranker(backbone(vocabulary_size=tokens, max_sequence_length=20, **sizes))
    for variable in task.trainable_variables:
        variable.assign(variable + 0.3 * keras.random.normal(variable.shape, seed=1))
    task.save_to_preset(tmp_path)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert json.loads((tmp_path / "config.json").read_text())["id2label"] == {"0": "LABEL_0"}
    import torch

    ids = np.random.default_rng(0).integers(5, tokens, (3, 12))
    mask = np.ones_like(ids)
    arrays = {"token_ids": ids, "padding_mask": mask, "segment_ids": np.zeros_like(ids)}
    with torch.no_grad():
        logits = model(torch.tensor(ids), attention_mask=torch.tensor(mask)).logits[:, 0]
    found = task.predict({name: arrays[name] for name in task.input}, verbose=0)
    close(found, torch.sigmoid(logits).numpy())
