"""Laws of the batches of `fit`: each example once, texts alike together, a loss that stays."""

import keras
import numpy as np
import pytest
from keras import ops

from inarch.models.bert.backbone import BertBackbone
from inarch.models.distil_bert.backbone import DistilBertBackbone
from inarch.models.f_net.backbone import FNetBackbone
from inarch.models.gpt2.backbone import GPT2Backbone
from inarch.models.interrupt import SafeInterrupt
from inarch.tasks import (
    CausalLM,
    MaskedLM,
    TextClassifier,
    TextEmbedder,
    TextPreprocessor,
    TokenClassifier,
    training,
)
from inarch.text import WordPieceTokenizer
from inarch.training.training_batches import pack_batches

from .conftest import VOCABULARY, WORDS, batches_seen, learner, make_backbone, weights_of

pytestmark = pytest.mark.turns(3)

random = np.random.default_rng(0)
TEXTS = [" ".join(random.choice(WORDS[:15], n)) for n in random.integers(1, 17, 100)]
SHORT = [" ".join(random.choice(WORDS[:15], n)) for n in random.integers(1, 6, 16)]
LABELS = [i % 2 for i in range(100)]


@pytest.fixture
def preprocessor():
    return TextPreprocessor(WordPieceTokenizer(VOCABULARY), 20)


def numbered(preprocessor, **options):
    """A task of numbers, so that each text can be known by its target, and the targets for it."""
    task = TextClassifier(learner(), 1, preprocessor, problem_type="regression", **options)
    return task, np.arange(100, dtype=np.float32)


def lengths_of(batch):
    return np.count_nonzero(batch[0]["padding_mask"], axis=1)


def test_each_epoch_has_every_text_once_with_its_neighbors_in_length(preprocessor):
    task, targets = numbered(preprocessor)
    (batches,) = batches_seen(task, x=TEXTS, y=targets, batch_size=4).values()
    seen = np.concatenate([y[:, 0] for _, y in batches])
    np.testing.assert_array_equal(np.sort(seen), targets)
    own = [len(e.ids) for e in task.encode(TEXTS)]
    spread = 0
    for batch in batches:
        assert lengths_of(batch).tolist() == [own[int(i)] for i in batch[1][:, 0]]
        spread += np.ptp(lengths_of(batch))
    shuffled = np.split(np.random.default_rng(0).permutation(own), 25)
    assert spread < 0.5 * sum(map(np.ptp, shuffled))


def test_a_seed_gives_the_same_batches_and_an_epoch_others(preprocessor):
    task, targets = numbered(preprocessor)
    orders = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        (batches,) = batches_seen(task, x=TEXTS, y=targets, batch_size=4).values()
        orders.append(np.concatenate([y[:, 0] for _, y in batches]).tolist())
    assert orders[0] == orders[1] != orders[2]


def test_a_batch_of_pairs_to_tell_apart_is_of_any_lengths(preprocessor):
    """Partners of other texts are the negatives, so that a batch of like ones is another task."""
    task = TextEmbedder(learner(), preprocessor)
    spreads = []
    for _ in range(2):
        pairs = [(text, text) for text in TEXTS]
        (batches,) = batches_seen(task, x=pairs, batch_size=10).values()
        spreads.append(np.mean([np.ptp(lengths_of(batch)) for batch in batches]))
    assert min(spreads) > 8


def test_an_evaluation_by_length_is_one_in_order(preprocessor):
    task = TextClassifier(make_backbone(), 2, preprocessor)
    whole = task.evaluate(TEXTS, LABELS, batch_size=100, verbose=0)
    found = task.evaluate(TEXTS, LABELS, batch_size=16, verbose=0)
    np.testing.assert_allclose(found, whole, rtol=1e-5)
    # The first batches are those of the first texts.
    first = task.evaluate(TEXTS[:32], LABELS[:32], batch_size=32, verbose=0)
    np.testing.assert_allclose(
        task.evaluate(TEXTS, LABELS, batch_size=16, steps=2, verbose=0), first, rtol=1e-5
    )


# --- packed rows ------------------------------------------------------------------------------


def gpt2():
    return GPT2Backbone(
        len(VOCABULARY), 1, 2, 16, 24, dropout=0.0, embedding_dropout=0.0, attention_dropout=0.0,
        max_sequence_length=20,
    )  # fmt: skip


def token_tasks(preprocessor):
    masking = TextPreprocessor(preprocessor.tokenizer, 20, allow_special=("[MASK]",))
    tags = TokenClassifier(learner(DistilBertBackbone), 3, preprocessor, ["O", "B-x", "I-x"])
    words = [text.split() for text in SHORT]
    return {
        "MaskedLM": (MaskedLM(learner(), masking), SHORT, None),
        "CausalLM": (CausalLM(gpt2(), preprocessor), SHORT, None),
        "TokenClassifier": (tags, words, [[i % 3 for i in range(len(row))] for row in words]),
    }


@pytest.mark.parametrize("name", ["MaskedLM", "CausalLM", "TokenClassifier"])
def test_packed_rows_train_as_a_row_for_each_text(name, preprocessor):
    task, x, y = token_tasks(preprocessor)[name]
    task.compile(keras.optimizers.SGD(1.0), weighted_metrics=[])
    make = task.collate(*task.training_rows(task.examples(x), y, None))
    before, found = [ops.convert_to_numpy(v) for v in task.weights], []
    for maker in (make, pack_batches(make, 20, exact=False)):
        batch = maker(np.arange(16), np.random.default_rng(0))
        for variable, value in zip(task.weights, before, strict=True):
            variable.assign(value)
        loss = task.train_on_batch(*batch)
        found.append((len(batch[1]), loss, [ops.convert_to_numpy(v) for v in task.weights]))
    (rows, loss, weights), (packed_rows, packed_loss, packed_weights) = found
    assert packed_rows < rows
    np.testing.assert_allclose(packed_loss, loss, rtol=1e-5)
    assert any(np.abs(w - b).max() > 1e-3 for w, b in zip(weights, before, strict=True))
    for one, two in zip(packed_weights, weights, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


def test_fit_packs_where_the_loss_is_one_of_tokens(preprocessor):
    task, x, _ = token_tasks(preprocessor)["CausalLM"]

    def rows(task):
        (batches,) = batches_seen(task, x=x, batch_size=16).values()
        ((inputs, targets, weights),) = batches
        assert targets.shape == weights.shape == inputs["token_ids"].shape
        return len(targets)

    assert rows(task) < 16
    # This one divides by the places of a batch, padding included.
    task.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert rows(task) == 16


def test_a_backbone_that_mixes_its_padding_is_not_packed(preprocessor):
    backbone = FNetBackbone(len(VOCABULARY), 1, 16, 24, max_sequence_length=20)
    masking = TextPreprocessor(preprocessor.tokenizer, 20, allow_special=("[MASK]",))
    task = MaskedLM(backbone, masking)
    (batches,) = batches_seen(task, x=SHORT, batch_size=16).values()
    assert len(batches[0][1]) == 16


# --- Keras's own ways to train in less memory ---------------------------------------------------


def trained(preprocessor, optimizer=None, batch_size=8, epochs=2, **options):
    """Return the losses and the weights of a classifier that is trained on a few texts."""
    keras.utils.set_random_seed(0)
    rates = {"dropout": 0.0, "attention_dropout": 0.0} | options
    backbone = BertBackbone(len(VOCABULARY), 1, 2, 16, 24, max_sequence_length=20, **rates)
    task = TextClassifier(backbone, 2, preprocessor)
    task.compile(optimizer or keras.optimizers.SGD(0.1), metrics=[])
    fitted = task.fit(
        SHORT, LABELS[:16], batch_size=batch_size, epochs=epochs, shuffle=False, verbose=0
    )
    return fitted.history["loss"], [ops.convert_to_numpy(v) for v in task.trainable_weights]


def assert_same(found, expected, atol=1e-5):
    for one, two in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(one, two, atol=atol)


def test_accumulated_gradients_of_small_batches_are_those_of_a_large_one(preprocessor):
    whole = trained(preprocessor, batch_size=16)
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=4)
    assert_same(trained(preprocessor, optimizer, batch_size=4), whole)


def test_blocks_computed_again_for_the_gradient_change_no_number(preprocessor, monkeypatch):
    rates = {"dropout": 0.1, "attention_dropout": 0.1}
    plain = trained(preprocessor, **rates)
    remat, calls = keras.remat, []
    monkeypatch.setattr(keras, "remat", lambda f: calls.append(f) or remat(f))
    with keras.RematScope("list_of_layers", layer_names=["layer_0"]):
        found = trained(preprocessor, **rates)
    assert calls
    np.testing.assert_allclose(found[0], plain[0], rtol=1e-5)
    assert_same(found, plain)


def test_frozen_blocks_computed_again_keep_every_bit_of_their_weights(preprocessor):
    with keras.RematScope("list_of_layers", layer_names=["layer_0"]):
        backbone = make_backbone(dtype="mixed_bfloat16", dropout=0.1)
    backbone.trainable = False
    before = weights_of(backbone)
    task = TextClassifier(backbone, 2, preprocessor)
    task(task.padded(task.encode(TEXTS)), training=True)
    task.fit(TEXTS, LABELS, verbose=0)
    for kept, weight in zip(before, weights_of(backbone), strict=True):
        np.testing.assert_array_equal(weight, kept)


def test_mixed_precision_trains_weights_of_32_bits_to_nearly_the_same(preprocessor):
    whole, mixed = trained(preprocessor), trained(preprocessor, dtype="mixed_bfloat16")
    assert {w.dtype for w in mixed[1]} == {np.dtype("float32")}
    np.testing.assert_allclose(mixed[0], whole[0], rtol=0.05)
    assert mixed[0] != whole[0]
    assert_same(mixed, whole, atol=0.02)


class OwnAdam(keras.optimizers.Adam):
    """A user's, which Keras updates variable by variable."""


@pytest.mark.turns(1)
@pytest.mark.skipif(keras.backend.backend() != "torch", reason="others fuse the updates themselves")
@pytest.mark.parametrize(
    ("kind", "options", "is_fused"),
    [
        ("Adam", {"clipnorm": 0.1, "use_ema": True}, True),
        ("Adam", {"gradient_accumulation_steps": 2}, True),
        ("AdamW", {"weight_decay": 0.1, "beta_2": 0.9, "epsilon": 1e-3}, True),
        ("Adam", {"amsgrad": True}, False),
        ("Adamax", {}, False),
        ("OwnAdam", {}, False),
    ],
)
def test_updates_in_one_pass_are_those_of_keras(kind, options, is_fused, preprocessor, monkeypatch):
    from torch.optim import adam

    once, calls = adam.adam, []
    monkeypatch.setattr(adam, "adam", lambda *a, **k: calls.append(k["fused"]) or once(*a, **k))
    optimizer = getattr(keras.optimizers, kind, OwnAdam)
    fused = trained(preprocessor, optimizer(1e-2, **options))
    assert any(calls) == is_fused
    monkeypatch.setattr(training, "fuse_updates", lambda optimizer: None)
    assert_same(fused, trained(preprocessor, optimizer(1e-2, **options)))


def test_a_prediction_after_training_is_of_the_trained_weights(preprocessor):
    task = TextClassifier(make_backbone(), 2, preprocessor)
    before = task.predict(SHORT)
    task.compile(keras.optimizers.Adam(1e-2))
    task.fit(SHORT, LABELS[:16], verbose=0)
    after = task.predict(SHORT)
    assert np.abs(after - before).max() > 1e-3
    found = [ops.convert_to_numpy(task(task.padded(task.encode([text]))))[0] for text in SHORT]
    np.testing.assert_allclose(after, found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("run", ["train", "test", "predict"])
def test_keras_need_not_wait_for_each_step(run):
    """It does where one of the callbacks has a method for the end of a batch."""
    name = f"on_{run}_batch_end"
    assert getattr(SafeInterrupt, name) is getattr(keras.callbacks.Callback, name)
    assert getattr(SafeInterrupt, f"on_{run}_batch_begin") is not getattr(
        keras.callbacks.Callback, f"on_{run}_batch_begin"
    )
