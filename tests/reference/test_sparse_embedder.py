"""`SparseEmbedder` against sentence-transformers' SparseEncoder."""

import json

import numpy as np
import pytest

from inarch.answers.sparse_vectors import to_dense
from inarch.losses.splade import SpladeLoss
from inarch.models.bert.backbone import BertBackbone
from inarch.tasks import SparseEmbedder, TextPreprocessor
from inarch.text import WordPieceTokenizer

from .conftest import noise_ratio, perturb, torch, transformers
from .test_tasks import TEXTS, VOCABULARY

library = pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")
sparse = pytest.importorskip("sentence_transformers.sparse_encoder", reason="needs version 5")
pytestmark = [pytest.mark.reference, pytest.mark.turns(3)]

NASTY = [*TEXTS, "", "🙂 é中文", "word " * 40]


def masked_lm(folder):
    """A perturbed masked LM with its tokenizer, saved by transformers."""
    config = transformers.BertConfig(
        vocab_size=len(VOCABULARY), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=24, attn_implementation="eager",
    )  # fmt: skip
    model = transformers.BertForMaskedLM(config).eval()
    perturb(model, 0)
    model.tie_weights()
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    transformers.BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=24).save_pretrained(
        folder
    )
    return folder


def dense(vectors):
    return to_dense(vectors, len(VOCABULARY))


@pytest.mark.parametrize("strategy", ["max", "sum"])
@pytest.mark.parametrize("activation", ["relu", "log1p_relu"])
def test_vectors_are_the_sparse_encoders_within_its_own_noise(strategy, activation, tmp_path):
    modules = library.sparse_encoder.modules
    transformer = library.base.modules.Transformer(
        str(masked_lm(tmp_path)), transformer_task="fill-mask"
    )
    model = library.SparseEncoder(
        modules=[transformer, modules.SpladePooling(strategy, activation)], device="cpu",
        prompts={"query": "the film "},
    )  # fmt: skip
    model.save(str(tmp_path / "theirs"))
    task = SparseEmbedder.from_preset(tmp_path / "theirs")
    single = model.encode(NASTY).to_dense().numpy()
    queries = model.encode_query(NASTY, max_active_dims=4).to_dense().numpy()
    decoded = model.decode(model.encode(NASTY[0]), top_k=5)
    scores = model.similarity(model.encode(NASTY), model.encode(NASTY)).numpy()
    double = model.double().encode(NASTY).to_dense().numpy()
    vectors = task.embed(NASTY)
    assert noise_ratio(dense(vectors), single, double) <= 4
    ours = dense(task.embed(NASTY, prompt_name="query", max_active_dims=4))
    np.testing.assert_allclose(ours, queries, atol=1e-5)
    terms, weights = zip(*task.decode(vectors[0], top_k=5), strict=True)
    assert list(terms) == [term for term, _ in decoded]
    np.testing.assert_allclose(weights, [weight for _, weight in decoded], rtol=1e-5)
    np.testing.assert_allclose(task.similarity(vectors, vectors), scores, rtol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pooling_strategy": "sum", "activation_function": "log1p_relu"},
        {"max_active_dims": 4},
        {"similarity_fn_name": "cosine"},
    ],
)
def test_sentence_transformers_loads_what_is_saved_here(options, tmp_path):
    text = TextPreprocessor(WordPieceTokenizer(VOCABULARY), 24, prompts={"query": "the film "})
    backbone = BertBackbone(len(VOCABULARY), 2, 2, 16, 24, max_sequence_length=24, pooler=False)
    task = SparseEmbedder(backbone, text, **options)
    task.save_to_preset(tmp_path / "ours")
    model = library.SparseEncoder(str(tmp_path / "ours"), device="cpu")
    vectors = model.encode(TEXTS)
    np.testing.assert_allclose(task.predict(TEXTS), vectors.to_dense().numpy(), atol=3e-6)
    assert model.max_seq_length == 24
    assert model.prompts["query"] == "the film "
    np.testing.assert_allclose(
        task.similarity(task.embed(TEXTS), task.embed(TEXTS)),
        model.similarity(vectors, vectors).to_dense().numpy(),
        atol=1e-5,
    )
    model.save(str(tmp_path / "theirs"))  # and the other way round
    again = SparseEmbedder.from_preset(tmp_path / "theirs")
    np.testing.assert_allclose(again.predict(TEXTS), task.predict(TEXTS), atol=3e-6)


def test_a_masked_lm_gives_the_vectors_that_the_library_makes_of_it(tmp_path):
    model = library.SparseEncoder(str(masked_lm(tmp_path)), device="cpu")
    task = SparseEmbedder.from_preset(tmp_path)
    np.testing.assert_allclose(dense(task.embed(NASTY)), model.encode(NASTY).to_dense(), atol=1e-5)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == ["BertForMaskedLM"]


@pytest.mark.parametrize("weights", [(3e-2, 5e-2), (0.5, 0.0)])
def test_the_loss_has_their_value(weights):
    losses = library.sparse_encoder.losses
    vectors = np.random.default_rng(0).normal(size=(8, 9)).astype(np.float32).clip(0)
    base = losses.SparseMultipleNegativesRankingLoss(model=None)
    queries, documents = torch.tensor(vectors).split(4)
    theirs = base.compute_loss_from_embeddings([queries, documents], None)
    flops = losses.FlopsLoss(model=None)
    for weight, side in zip(weights, (documents, queries), strict=True):
        theirs += weight * flops.compute_loss_from_embeddings(side)
    assert float(SpladeLoss(*weights)(np.zeros((4, 1)), vectors)) == pytest.approx(
        float(theirs), 1e-5
    )
