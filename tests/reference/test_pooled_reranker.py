"""Rerankers with modules after a pooling against sentence-transformers' CrossEncoder."""

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.base.modules import Dense, Transformer
from sentence_transformers.sentence_transformer.modules import LayerNorm, Pooling

from inarch.tasks import PooledReranker, Reranker

from .test_reranker import compare
from .test_scores import make

pytestmark = [pytest.mark.reference, pytest.mark.turns(2)]


def cross_encoder(folder, pooling, scores, *between):
    torch.manual_seed(0)
    transformer = Transformer(str(folder))
    width = transformer.get_embedding_dimension()
    pool = Pooling(width, pooling)
    head = Dense(
        between[-1].out_features if between else width, scores,
        activation_function=torch.nn.Identity(), module_output_name="scores",
    )  # fmt: skip
    norm = [LayerNorm(between[-1].out_features)] if between else []
    return CrossEncoder(modules=[transformer, pool, *between, *norm, head], device="cpu")


@pytest.mark.parametrize("pooling", ["cls", "mean", "max"])
@pytest.mark.parametrize("hidden", [0, 6])
def test_a_folder_of_theirs_gives_their_rankings_and_goes_back(pooling, hidden, tmp_path):
    plain = make(tmp_path / "plain", {"num_labels": 1})
    width = Transformer(str(plain)).get_embedding_dimension()
    between = [Dense(width, hidden, activation_function=torch.nn.GELU())] if hidden else []
    model = cross_encoder(plain, pooling, 1, *between)
    model.save_pretrained(str(tmp_path / "theirs"))
    task = Reranker.from_preset(tmp_path / "theirs")
    assert isinstance(task, PooledReranker)
    compare(task, model)
    task.preprocessor.sequence_length = 9
    task.activation_fn = "identity"
    task.save_to_preset(tmp_path / "ours")
    compare(task, CrossEncoder(str(tmp_path / "ours"), device="cpu"))
    with pytest.warns(UserWarning, match="freshly initialized"):
        fresh = Reranker.from_preset(tmp_path / "theirs", num_classes=1)
    fresh.save_to_preset(tmp_path / "fresh")
    compare(fresh, CrossEncoder(str(tmp_path / "fresh"), device="cpu"))


def test_several_scores_and_modules_made_here(tmp_path):
    plain = make(tmp_path / "plain", {"num_labels": 1})
    model = cross_encoder(plain, "mean", 3)
    model.save_pretrained(str(tmp_path / "theirs"))
    task = Reranker.from_preset(tmp_path / "theirs")
    pairs = [("cat dog", "rain sun"), ("cat", "")]
    np.testing.assert_allclose(task.predict(pairs), model.predict(pairs), rtol=2e-4, atol=1e-6)
    modules = [{"type": "Dense", "out_features": 5}, {"type": "LayerNorm"},
               {"type": "Dense", "out_features": 1, "activation_function": "identity"}]  # fmt: skip
    made = PooledReranker(task.backbone, modules, task.preprocessor, pooling="mean")
    made.save_to_preset(tmp_path / "made")
    compare(made, CrossEncoder(str(tmp_path / "made"), device="cpu"))
