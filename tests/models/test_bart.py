"""BART's graph in its forms: an encoder alone, cached steps, one text for both stacks."""

import json
from pathlib import Path

import numpy as np
import pytest
from keras import ops

from inarch.checkpoints.formats.files import SafetensorsFile, write_safetensors
from inarch.checkpoints.formats.weights import Shard, TensorInfo
from inarch.errors import ConfigError, InputError, WeightMapError
from inarch.models import registry
from inarch.models.backbone import Backbone
from inarch.models.bart.backbone import SINUSOIDS, BartBackbone
from inarch.models.variables import named_variables, set_value
from inarch.tasks import (
    Seq2SeqLM,
    TextClassifier,
    TextEmbedder,
    TextPreprocessor,
    ZeroShotClassifier,
)
from inarch.text import WordPieceTokenizer
from inarch.verify.golden import Golden
from inarch.verify.inputs import make_inputs

pytestmark = pytest.mark.turns(3)

GOLDEN = Path(__file__).parents[1] / "golden"
KINDS = ["bart", "mbart", "pegasus", "marian", "m2m_100"]
WORDS = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", *(f"w{i}" for i in range(4, 29))]


def randomized(model):
    random = np.random.default_rng(0)
    for name, variable in named_variables(model).items():
        value = random.normal(size=tuple(variable.shape))
        set_value(variable, 1 + 0.3 * value if name.endswith("gamma") else value)
    return model


def tiny(kind, **changes):
    architecture = registry.goldens()[kind]
    return randomized(architecture.backbone(**{**architecture.tiny, **changes}))


def preprocessor():
    return TextPreprocessor(WordPieceTokenizer(WORDS, mask_token=None), 14)


@pytest.mark.parametrize("kind", KINDS)
def test_cached_steps_after_the_encoder_alone_give_the_whole_sequence(kind):
    model = tiny(kind)
    x = make_inputs(model, 0, (7, 4, 2), (5, 5, 5))
    encoder, stack = model.encoder(), model.decoder_stack()
    source = {name: x[name] for name in encoder.input}
    mask = source["encoder_padding_mask"] != 0
    context = {
        "cross_attention_cache": stack.make_cross_attention_cache(encoder(source)),
        "cross_attention_mask": ops.convert_to_tensor(mask[:, None]),
    }
    caches, steps = stack.init_cache(3, 5), []
    for place in range(5):
        now = {"cache_index": place, "positions": np.full((1, 1), place, "int32")}
        tokens = x["decoder_token_ids"][:, place : place + 1]
        hidden, caches = stack.step(ops.convert_to_tensor(tokens), caches, context | now)
        steps.append(ops.convert_to_numpy(hidden)[:, 0])
    whole = ops.convert_to_numpy(model(x)["decoder_sequence_output"])
    np.testing.assert_allclose(np.stack(steps, 1), whole, rtol=1e-4, atol=1e-5)


def test_a_source_and_its_target_may_have_different_lengths_and_no_others():
    model = tiny("bart")
    x = make_inputs(model, 0, (7, 4), (5, 3))
    assert model.predict(x, verbose=0)["decoder_sequence_output"].shape == (2, 5, 6)
    with pytest.raises(InputError, match="integer inputs of the decoder must have the same shape"):
        model.predict(x | {"decoder_padding_mask": x["decoder_padding_mask"][:, 1:]}, verbose=0)
    short = {name: array[:1] for name, array in x.items() if name.startswith("decoder_")}
    with pytest.raises(InputError, match="as many rows"):
        model.predict(x | short, verbose=0)


def test_one_text_for_both_stacks_is_the_text_and_itself_after_the_start_token():
    model, single = tiny("bart"), tiny("bart", single_text=True)
    assert [*single.input] == ["token_ids", "padding_mask"]
    x = make_inputs(single, 0, (7, 4))
    ids, mask = x["token_ids"], x["padding_mask"]
    shifted = np.concatenate([np.full((2, 1), 2), ids[:, :-1]], axis=1).astype("int32")
    both = {"encoder_token_ids": ids, "encoder_padding_mask": mask,
            "decoder_token_ids": shifted, "decoder_padding_mask": mask}  # fmt: skip
    for name, expected in model(both).items():
        np.testing.assert_allclose(single(x)[name], expected, rtol=1e-5, atol=1e-6)


def test_texts_are_classified_alike_alone_and_packed_and_the_head_comes_back(tmp_path):
    task = randomized(TextClassifier(tiny("bart", single_text=True), 3, preprocessor()))
    texts = ["w5 w9 w20", "w7", "w11 w12 w13 w24 w15", "w8 w8"]
    together = task.predict(texts)
    for text, row in zip(texts, together, strict=True):
        np.testing.assert_allclose(task.predict([text])[0], row, rtol=1e-4, atol=1e-5)
    task.save_to_preset(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == ["BartForSequenceClassification"]
    again = TextClassifier.from_preset(tmp_path)
    assert again.fresh_weights == ()
    np.testing.assert_allclose(again.predict(texts), together, rtol=1e-5, atol=1e-6)


def test_a_checkpoint_of_entailment_classifies_without_training(tmp_path):
    labels = ["contradiction", "neutral", "entailment"]
    task = TextClassifier(tiny("bart", single_text=True), 3, preprocessor(), labels=labels)
    randomized(task).save_to_preset(tmp_path)
    found = ZeroShotClassifier.from_preset(tmp_path).classify("w5 w9", ["w7", "w8"], "w4 {}")
    assert {each["label"] for each in found} == {"w7", "w8"}
    pairs = task.predict([("w5 w9", f"w4 {each['label']}") for each in found])
    scores = np.exp(pairs[:, 2]) / np.exp(pairs[:, 2]).sum()
    np.testing.assert_allclose([each["score"] for each in found], scores, rtol=1e-4)


@pytest.mark.filterwarnings("error::UserWarning")
def test_the_language_model_of_a_bare_file_has_a_bias_of_zeros(tmp_path):
    tiny("bart").save_to_preset(tmp_path / "one")
    task = Seq2SeqLM.from_preset(tmp_path / "one", preprocessor=None)
    assert task.fresh_weights == ()
    bias = task.get_layer("logits_bias").bias
    assert not ops.convert_to_numpy(bias).any()
    bias.assign(np.arange(29))
    task.save_to_preset(tmp_path / "two")
    again = Seq2SeqLM.from_preset(tmp_path / "two", preprocessor=None)
    found = ops.convert_to_numpy(again.get_layer("logits_bias").bias)
    np.testing.assert_array_equal(found, np.arange(29))


def test_an_embedder_of_one_text_reads_the_decoder(tmp_path):
    tiny("bart").save_to_preset(tmp_path)
    task = TextEmbedder.from_preset(tmp_path, preprocessor=preprocessor(), single_text=True)
    assert task.predict(["w5 w9", "w7"]).shape == (2, 6)
    with pytest.raises(InputError, match="token_ids"):
        TextEmbedder.from_preset(tmp_path, preprocessor=preprocessor())


def test_a_text_without_a_start_token_is_read_after_its_last_one():
    """Each of a packed row after its own, as the stacks read the two texts that it stands for."""
    one, two = (tiny("mbart", single_text=single, start_id=None) for single in (True, False))
    ids, mask = np.array([[5, 6, 2, 9, 7, 2, 8]]), np.array([[1, 1, 1, 1, 2, 2, 2]])
    whole = {"encoder_token_ids": ids, "encoder_padding_mask": mask}
    shifted = np.array([[9, 5, 6, 2, 8, 7, 2]])
    whole |= {"decoder_token_ids": shifted, "decoder_padding_mask": mask}
    expected = two(whole)["decoder_sequence_output"]
    found = one({"token_ids": ids, "padding_mask": mask})["decoder_sequence_output"]
    np.testing.assert_array_equal(*map(ops.convert_to_numpy, (found, expected)))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_stored_table_of_sinusoids_is_checked_in_its_own_precision(dtype, tmp_path):
    Golden.read(GOLDEN / "pegasus.safetensors").unpack(tmp_path)
    path = tmp_path / "model.safetensors"
    file = SafetensorsFile(path)
    arrays = {name: np.array(file.read(name)) for name in file.shard.tensors}
    file.close()
    table = SINUSOIDS.table(14, 6).astype(dtype)
    for stack in ("encoder", "decoder"):
        arrays[f"model.{stack}.embed_positions.weight"] = table.copy()

    def write():
        codes = {"float32": "F32", "float16": "F16"}
        infos = {n: TensorInfo(codes[str(a.dtype)], a.shape) for n, a in arrays.items()}
        write_safetensors(path, Shard(path.name, infos, {"format": "pt"}), arrays.__getitem__)

    write()
    model = Backbone.from_preset(tmp_path)
    model.save_to_preset(tmp_path / "again")
    assert (tmp_path / "again/model.safetensors").read_bytes() == path.read_bytes()
    arrays["model.decoder.embed_positions.weight"][3, 1] += 0.01
    write()
    with pytest.raises(WeightMapError, match="embed_positions.*sinusoids"):
        Backbone.from_preset(tmp_path)


# As published checkpoints have them, with switches that only versions before 4 read.
OLD = {"static_position_embeddings": True, "normalize_embedding": False, "extra_pos_embeddings": 2,
       "add_final_layer_norm": True, "force_bos_token_to_be_generated": False}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "normalize_before"),
    [("bart", False), ("mbart", True), ("pegasus", True), ("marian", False), ("m2m_100", True)],
)
def test_a_switch_of_an_older_config_must_say_what_the_graph_is(kind, normalize_before):
    _, source = registry.by_model_type(kind)
    config = {"model_type": kind, "encoder_layerdrop": 0.05, **OLD}
    found = source.config_map.arguments(config | {"normalize_before": normalize_before})
    assert found["normalize_first"] is normalize_before
    with pytest.raises(ConfigError, match="normalize_before"):
        source.config_map.arguments(config | {"normalize_before": not normalize_before})


def test_positions_that_are_unknown_are_refused_by_name():
    with pytest.raises(InputError, match="positions='rotary'.*learned, sinusoidal"):
        tiny("bart", positions="rotary")


def test_the_embeddings_of_input_and_output_are_one():
    model = BartBackbone(**registry.goldens()["bart"].tiny)
    with pytest.raises(InputError, match="tie_word_embeddings=False"):
        model.seq2seq_lm(model.output, tie_word_embeddings=False)
