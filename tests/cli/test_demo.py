"""The demo: everything it claims is measured, and it fits on a screen."""

import numpy as np
import pytest
from keras import ops

from inarch.errors import CheckpointError, CheckpointFileError

pytestmark = [pytest.mark.weights, pytest.mark.usefixtures("need_weights"), pytest.mark.turns(2)]


def test_the_demo_is_one_screen_without_colours_in_a_pipe(run):
    result = run("demo")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in result.stdout
    assert "104 of 104 tensors byte-equal" in result.stdout


def test_the_demo_measures_what_it_claims(run_json):
    found = run_json("demo")
    assert 0 < found["largest_error"] < 1e-6
    assert found["proof"]["elements"] == 22_713_216
    assert found["proof"]["tensors"] + len(found["proof"]["derived"]) == 104
    assert found["export"] == {"tensors": 104, "equal": 104, "same_file": True}
    best = [result["best"][0]["sentence"] for result in found["search"]]
    assert best[0] == "A leaf turns sunlight, water and air into sugar."


def test_sentences_of_the_user_are_queried_and_found(run_json):
    mine = ["The volcano spat ash over the island.", "Lava flowed down the mountain."]
    results = run_json("demo", *mine)["search"]
    assert [result["query"] for result in results] == mine
    assert [result["best"][0]["sentence"] for result in results] == mine[::-1]
    (result,) = run_json("demo", *mine, "--query", "an eruption")["search"]
    assert {hit["sentence"] for hit in result["best"][:2]} == set(mine)


def test_the_nearest_sentences_are_reranked_by_their_tokens(run_json):
    from inarch.cli import demo
    from inarch.tasks import TextEmbedder

    (result,) = run_json("demo", "--query", "My computer does not work.")["search"]
    scores = [(hit["score"], hit["token_score"]) for hit in result["best"]]
    assert [by_tokens for _, by_tokens in scores] == sorted((s for _, s in scores), reverse=True)
    model = TextEmbedder.from_preset(demo.find()[0])
    texts = [result["query"], *(hit["sentence"] for hit in result["best"])]
    inputs = model.select_inputs(model.preprocessor(texts))
    states = ops.convert_to_numpy(model.backbone(inputs)["sequence_output"])
    states = states / np.linalg.norm(states, axis=-1, keepdims=True)
    query, *documents = (
        rows[: len(encoding.ids)]
        for rows, encoding in zip(states, model.encode(texts), strict=True)
    )
    expected = [(query @ document.T).max(1).mean() for document in documents]
    np.testing.assert_allclose([by_tokens for _, by_tokens in scores], expected, atol=1e-5)
    # By their vectors the third of them wasn't the third.
    assert result["best"][2]["sentence"] == "Choose a long password and never use it twice."


def test_weights_that_are_not_the_published_ones_are_refused(tmp_path):
    from inarch.cli import demo

    (tmp_path / demo.WEIGHTS).write_bytes(b"something else")
    with pytest.raises(CheckpointFileError, match=demo.DIGEST):
        demo._check_digest(tmp_path)


def test_vectors_off_by_more_than_rounding_are_refused():
    from inarch.cli import demo
    from inarch.tasks import TextEmbedder

    model = TextEmbedder.from_preset(demo.find()[0])
    gamma = model.backbone.get_layer("embeddings_norm").gamma
    gamma.assign(np.array(gamma) * 1.0001)
    with pytest.raises(CheckpointError, match="more than"):
        demo.check_vectors(model)
