"""Laws of every architecture folder. A new folder is tested by being there."""

import inspect
import json
import re
import shutil

import keras
import numpy as np
import pytest
from keras import ops

from inarch.checkpoints.maps.entries import Rule, Unused, expand, flatten
from inarch.checkpoints.maps.fields import Field
from inarch.checkpoints.maps.per_layer import PerLayer
from inarch.errors import PresetError, WeightMapError
from inarch.models import registry
from inarch.models.backbone import Backbone
from inarch.models.loading import Checkpoint
from inarch.runtime.forward import compiled
from inarch.tasks import MaskedLM, TextClassifier, TextEmbedder

from .models import (
    ARCHITECTURES,
    TASKS,
    TEXT_MODELS,
    expected,
    heads,
    inputs_for,
    letters,
    padding_mask,
    padding_masks,
    randomized,
    sequence,
    shared,
    stored,
    tiny,
    tiny_task,
)


@pytest.fixture(params=sorted(ARCHITECTURES))
def architecture(request):
    return ARCHITECTURES[request.param]


@pytest.fixture(params=sorted(TEXT_MODELS))
def text_model(request):
    """An architecture that encodes text."""
    return ARCHITECTURES[request.param]


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """`folders(name)`: a checkpoint of the shared tiny model, not to be written to."""
    made = {}

    def folder(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name) / "saved"
            shared(name).save_to_preset(made[name])
        return made[name]

    return folder


@pytest.fixture
def saved(architecture, folders):
    return folders(architecture.name)


def dropouts(architecture):
    """The arguments that are rates of dropout."""
    return [n for n in inspect.signature(architecture.backbone).parameters if n.endswith("dropout")]


def last_block(model, number):
    """The block of this number, of the decoder where there are two stacks."""
    return [layer for layer in model.layers if layer.name.endswith(f"layer_{number}")][-1]


def first_dense(layer):
    return next(x for x in layer._flatten_layers() if isinstance(x, keras.layers.Dense))


def paths_of(model):
    """Of all variables but the seeds of dropout, whose names count up in a process."""
    return [v.path for v in model.variables if "seed_generator" not in v.path]


def at_once(model, inputs):
    """The sequence by one program, compiled sooner than its parts for a shape of its own."""
    return sequence(compiled(model)(inputs))


# --- files -------------------------------------------------------------------------------------


def test_saved_weights_are_proven_and_give_the_same_numbers(architecture, saved, tmp_path):
    model = shared(architecture.name)
    again = Backbone.from_preset(saved)
    assert type(again) is architecture.backbone
    assert again.arguments == model.arguments
    np.testing.assert_array_equal(sequence(again(inputs_for(model))), expected(architecture.name))
    again.save_to_preset(tmp_path / "two")
    assert stored(saved) == stored(tmp_path / "two")
    for name in ("config.json", "model.safetensors"):
        assert (saved / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.turns(3)
@pytest.mark.parametrize(("name", "head", "tie"), heads())
def test_every_head_of_the_map_has_its_graph_and_comes_back(name, head, tie, tmp_path):
    own = {} if tie else {"tie_word_embeddings": False}
    task = tiny_task(ARCHITECTURES[name], head, **own)
    task.save_to_preset(tmp_path / "one")
    again = TASKS[head].from_preset(tmp_path / "one", preprocessor=None)
    assert again.fresh_weights == ()
    x = inputs_for(task)
    np.testing.assert_array_equal(sequence(again(x)), sequence(task(x)))
    again.save_to_preset(tmp_path / "two")
    assert stored(tmp_path / "one") == stored(tmp_path / "two")


@pytest.mark.turns(3)
def test_a_backbone_from_a_file_with_a_head_keeps_the_head_for_export(architecture, tmp_path):
    head = next((head for name, head, _ in heads() if name == architecture.name), None)
    if head is None:
        pytest.skip(f"there is no task for a head of {architecture.name}")
    tiny_task(architecture, head).save_to_preset(tmp_path / "one")
    backbone = Backbone.from_preset(tmp_path / "one")
    # A head that is all tied has no tensor of its own.
    own = architecture.sources[0].heads[head]
    assert bool(backbone.passthrough) == any(
        isinstance(e, Rule) for e in expand(own.entries(True), backbone.arguments)
    )
    path = tmp_path / "model.keras"
    backbone.save(path)
    for number, model in enumerate((backbone, keras.saving.load_model(path))):
        model.save_to_preset(tmp_path / f"out{number}")
        assert stored(tmp_path / f"out{number}") == stored(tmp_path / "one")


@pytest.mark.turns(3)
def test_a_task_around_a_loaded_backbone_keeps_the_checkpoints_config(
    text_model, folders, tmp_path
):
    folder = shutil.copytree(folders(text_model.name), tmp_path / "one")
    parts = dict.fromkeys(text_model.sources[0].heads["text_classifier"].requires, True)
    if not all(shared(text_model.name).arguments[name] for name in parts):  # by default none
        tiny(text_model, **parts).save_to_preset(folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pad_token_id": 7}))
    backbone = Backbone.from_preset(folder)
    TextEmbedder(backbone).save_to_preset(tmp_path / "two")
    assert stored(tmp_path / "two") == stored(folder)
    assert (tmp_path / "two/config.json").read_bytes() == path.read_bytes()
    TextClassifier(backbone, 3).save_to_preset(tmp_path / "three")
    assert json.loads((tmp_path / "three/config.json").read_text())["pad_token_id"] == 7
    again = TextClassifier.from_preset(tmp_path / "three", preprocessor=None)
    assert again.num_classes == 3


def test_a_checkpoint_with_a_layer_too_many_or_too_few_is_refused(architecture, saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "saved")
    path = folder / "config.json"
    config = json.loads(path.read_text())
    entries = architecture.sources[0].config
    indices = [each for entry in flatten(architecture.sources[0].weights) for each in entry.indices]
    counted = {count.argument for _, count in indices}
    # A list counts by its values, of which other lists have as many.
    counts = [e for e in entries if isinstance(e, Field) and e.ours in counted]
    counts = [e for e in counts if isinstance(architecture.tiny[e.ours], int)]
    assert counts
    for entry in counts:
        for more, said in ((-1, "unknown in the file"), (1, "missing from the file")):
            changed = architecture.tiny[entry.ours] + more
            if changed < 1:  # a golden file of an encoder-decoder has one layer a stack
                continue
            listed = {e.theirs: [*config[e.theirs], config[e.theirs][-1]][:changed]
                      for e in entries if isinstance(e, PerLayer)}  # fmt: skip
            path.write_text(json.dumps(config | listed | {entry.theirs: changed}))
            with pytest.raises(WeightMapError, match=said):
                Backbone.from_preset(folder)


def test_a_class_of_the_wrong_kind_says_which_to_use(architecture, saved):
    for other in registry.architectures().values():
        if other is not architecture:
            with pytest.raises(PresetError, match=f"{architecture.backbone.__name__}.from_preset"):
                other.backbone.from_preset(saved)


# --- numbers -----------------------------------------------------------------------------------


@pytest.mark.turns(3)
def test_real_tokens_depend_on_padding_only_where_the_class_says_so(architecture):
    model = shared(architecture.name)
    lengths = (7, 3, 5)
    mask = padding_mask(model, inputs_for(model, lengths)).astype(bool)
    alone = at_once(model, inputs_for(model, lengths))[mask]
    padded = sequence(model(inputs_for(model, lengths, pads=4)))[:, : mask.shape[1]][mask]
    if architecture.backbone.padding_affects_output:
        assert np.abs(padded - alone).max() > 0.1
    else:
        np.testing.assert_allclose(padded, alone, rtol=1e-4, atol=1e-5)


def test_the_mask_has_no_part_in_the_numbers_where_padding_is_read(architecture):
    if not architecture.backbone.padding_affects_output:
        pytest.skip(f"{architecture.name} honours its mask")
    model = shared(architecture.name)
    x = inputs_for(model)
    for mask in (np.ones_like(x["padding_mask"]), np.cumsum(x["padding_mask"], axis=1)):
        other = sequence(model(x | {"padding_mask": mask.astype("int32")}))
        np.testing.assert_array_equal(other, expected(architecture.name))


@pytest.mark.turns(3)
@pytest.mark.parametrize("task", [TextEmbedder, TextClassifier, MaskedLM])
def test_a_texts_numbers_do_not_depend_on_the_others_in_the_batch(text_model, task):
    if task.head and task.head not in text_model.sources[0].heads:
        pytest.skip(f"{text_model.name} has no head of {task.__name__}")
    parts = dict.fromkeys(text_model.sources[0].optional_layers, True)
    own = {"num_classes": 3} if task is TextClassifier else {}
    model = randomized(task(tiny(text_model, **parts), preprocessor=letters(text_model), **own))
    # Of few lengths, each of which is compiled.
    texts = ["a b c", "d e f g h i j k", "b b b", "c a e"]
    together = model.predict(texts, batch_size=3)
    for text, row in zip(texts, together, strict=True):
        (alone,) = model.predict([text])
        np.testing.assert_allclose(row[: len(alone)], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.turns(3)
def test_packed_sequences_do_not_see_each_other(architecture):
    cls = architecture.backbone
    if cls.padding_affects_output or not cls.packs_sequences:
        pytest.skip(f"{architecture.name} mixes the whole row, so nothing is packed for it")
    model = shared(architecture.name)
    x = inputs_for(model, lengths=(6, 4, 11))
    packed = {}
    for name, array in x.items():
        packed[name] = array.copy()
        if array.ndim == 2:
            packed[name][0, 6:10] = array[1, :4]
    for mask in padding_masks(packed):
        mask[0] = [1] * 6 + [2] * 4 + [0] * (mask.shape[1] - 10)
    together, apart = sequence(model(packed))[0], sequence(model(x))
    np.testing.assert_allclose(together[:6], apart[0, :6], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(together[6:10], apart[1, :4], rtol=1e-4, atol=1e-5)


def test_a_row_of_padding_is_finite(architecture):
    model = shared(architecture.name)
    x = inputs_for(model)
    for mask in padding_masks(x):
        mask[1] = 0
    assert np.isfinite(sequence(model(x))).all()


# --- Keras habits ------------------------------------------------------------------------------


@pytest.mark.turns(3)
def test_keras_files_weights_and_clones(architecture, tmp_path):
    """They are of the same class, with the same arguments, frozen layers and low-rank updates."""
    model = tiny(architecture)
    last_block(model, 0).trainable = False
    for layer in last_block(model, 1)._flatten_layers():
        if isinstance(layer, keras.layers.Dense):
            layer.enable_lora(2)
    x = inputs_for(model)
    right = sequence(model(x))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(sequence(loaded(x)), right)
    clone = keras.models.clone_model(model)
    for other in (loaded, clone):
        assert type(other) is type(model)
        assert other.arguments == model.arguments
        assert paths_of(other) == paths_of(model)
        assert [v.trainable for v in other.variables] == [v.trainable for v in model.variables]
    model.save_weights(tmp_path / "model.weights.h5")
    clone.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(sequence(clone(x)), right)


def test_a_layer_is_a_feature_and_the_summary_names_it(architecture):
    model = shared(architecture.name)
    feature = keras.Model(model.input, last_block(model, 0).output)
    x = inputs_for(model)
    assert sequence(feature(x)).shape == expected(architecture.name).shape
    lines = []
    model.summary(print_fn=lines.append)
    assert "layer_1" in "\n".join(lines)


@pytest.mark.turns(6)
@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "bfloat16", "float16"])
def test_low_precision_loads_runs_and_is_kept(architecture, dtype, saved, tmp_path):
    low = Backbone.from_preset(saved, dtype=dtype)
    stored_as = "float32" if dtype.startswith("mixed") else dtype
    assert {v.dtype for v in low.weights} == {stored_as}
    x = inputs_for(low)
    real = padding_mask(low, x).astype(bool)
    full, part = expected(architecture.name), at_once(low, x)
    difference = (full - part)[real]
    assert np.sqrt(np.mean(difference**2)) < 0.1 * np.sqrt(np.mean(full[real] ** 2))
    low.save(tmp_path / "low.keras")
    again = keras.saving.load_model(tmp_path / "low.keras")
    assert again.dtype_policy.name == low.dtype_policy.name
    np.testing.assert_array_equal(at_once(again, x), part)
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.turns(3)
def test_frozen_weights_and_low_rank_updates_train_and_export(architecture, tmp_path):
    model = tiny(architecture)
    model.trainable = False
    assert not model.trainable_variables
    model.trainable = True
    layer = first_dense(last_block(model, 0))
    before = ops.convert_to_numpy(layer.kernel)
    layer.enable_lora(2)
    layer.lora_kernel_a.assign(np.ones(layer.lora_kernel_a.shape))
    layer.lora_kernel_b.assign(np.ones(layer.lora_kernel_b.shape))
    assert np.abs(ops.convert_to_numpy(layer.kernel) - before).max() > 0.1
    model.save_to_preset(tmp_path)
    merged = Backbone.from_preset(tmp_path)
    x = inputs_for(model)
    np.testing.assert_allclose(sequence(merged(x)), sequence(model(x)), rtol=1e-4, atol=1e-4)


def test_sizes_and_the_table_of_tokens_are_attributes_that_cant_be_set(architecture):
    model = shared(architecture.name)
    assert model.hidden_dim == expected(architecture.name).shape[-1]
    nodes = [node.operation.name for depth in model._nodes_by_depth.values() for node in depth]
    calls = [name for name in nodes if re.fullmatch(r"(\w+_)?layer_\d+", name)]
    assert model.num_layers == len(calls)  # some layers are called several times
    heads = {getattr(layer, "num_heads", None) for layer in model._flatten_layers()} - {None}
    assert model.num_heads == (heads.pop() if len(heads) == 1 else None)
    if "vocabulary_size" in model.arguments:
        assert model.token_embedding.input_dim == model.arguments["vocabulary_size"]
        assert model.token_embedding in [*model._flatten_layers()]
    for name in ("hidden_dim", "num_layers", "num_heads", "token_embedding"):
        with pytest.raises(AttributeError, match=name):
            setattr(model, name, 3)


@pytest.mark.turns(3)
def test_arguments_override_the_config(architecture, saved):
    rates = dict.fromkeys(dropouts(architecture), 0.4)
    model = Backbone.from_preset(saved, load_weights=False, **rates, name="mine")
    assert rates.items() <= dict(model.arguments).items()
    assert model.name == "mine"
    fresh = Backbone.from_preset(saved, load_weights=False)
    assert fresh.arguments == shared(architecture.name).arguments
    with pytest.raises(ValueError, match="wings"):
        Backbone.from_preset(saved, wings=2)


@pytest.mark.turns(3)
def test_dropout_acts_in_training_alone(architecture):
    model = tiny(architecture, **dict.fromkeys(dropouts(architecture), 0.5))
    x = inputs_for(model)
    np.testing.assert_array_equal(sequence(model(x)), expected(architecture.name))
    assert np.abs(sequence(model(x, training=True)) - expected(architecture.name)).max() > 0.1


def test_an_unnamed_input_is_an_error_that_names_it(architecture):
    model = shared(architecture.name)
    with pytest.raises(ValueError, match="wings"):
        model({**inputs_for(model), "wings": np.zeros((3, 7))})


@pytest.mark.turns(3)
def test_an_interrupted_predict_leaves_the_weights(architecture):
    model = tiny(architecture)
    before = [ops.convert_to_numpy(v) for v in model.weights]

    class Stop(keras.callbacks.Callback):
        def on_predict_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.predict(inputs_for(model), callbacks=[Stop()], verbose=0, batch_size=1)
    for old, variable in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(variable), old)


def test_the_checkpoint_proves_itself(architecture, saved):
    with Checkpoint(saved) as checkpoint:
        header, proof = checkpoint.weights.header, checkpoint.prove()
    config = json.loads((saved / "config.json").read_text())
    assert config["model_type"] == architecture.model_types[0]
    # A new file may have tensors of the reference that nothing here reads.
    assert proof.tensors + len(proof.passthrough) == len(header)
    unread = [e for e in architecture.sources[0].weights if isinstance(e, Unused)]
    assert proof.passthrough.keys() <= {name for entry in unread for name in entry.theirs}
    assert Backbone.from_preset(saved).fresh_weights == ()
    if architecture.name in TEXT_MODELS:
        assert TextEmbedder.from_preset(saved, preprocessor=None).fresh_weights == ()
