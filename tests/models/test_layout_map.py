"""Layouts over devices: of each weight of each architecture, derived from the axes of layers."""

import re

import keras
import numpy as np
import pytest

from inarch import Backbone
from inarch.errors import InputError, InputTypeError
from inarch.layers.axes import logical_axes
from inarch.models.layout_map import layout_map
from inarch.models.variables import build_without_values
from inarch.tasks import MaskedLM, TextClassifier
from tests.conformance.models import ARCHITECTURES, TASKS, heads, letters, shared

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="Keras distributes weights on JAX alone"
)

# Where each weight is cut in two: the vocabulary of the tiny models is odd, so by its width.
BY_COLUMNS = re.compile(
    r".*attention/((position|global)_)?(query|key|value)/(kernel|bias)"
    r"|.*feed_forward/(up|gate)/(kernel|bias)"
    r"|.*feed_forward/experts/(up|gate)|(.*/)?token_embedding/embeddings|(\w+_)?relative_bias/embeddings"
)
BY_ROWS = re.compile(
    r".*attention/output/kernel|.*feed_forward/down/kernel|.*feed_forward/experts/down"
)
REPLICATED = re.compile(
    r".*norm/(gamma|beta)|.*(attention/output|feed_forward/down)/bias"
    r"|(.*/)?\w*(position|segment|relative)_embedding/embeddings"
    r"|(pooler|embeddings_projection|encoder_conv_\d|.*convolution)/(kernel|bias)"
    r"|.*feed_forward/router/kernel|rotary/frequencies|stem/conv_\d/(kernel|bias)|projection/(kernel|bias)"
    r"|position_embedding/(kernel|scale|bias)"
    r"|.*attention/(content_bias|position_bias|segment_bias|segment_keys)"
)

# Of heads: what has a number for each token, and what hasn't.
OF_TOKENS = re.compile(r"masked_lm_head/output_(kernel|bias)|logits_bias/bias")
OF_HEADS = re.compile(
    r"(logits|projector|pre_classifier|pooled_(dense|norm)|masked_lm_head/transform(_norm)?)"
    r"/(kernel|bias|gamma|beta)"
)


def mesh(*shape, names=("batch", "model")):
    return keras.distribution.DeviceMesh(shape, names, np.full(np.prod(shape), "cpu:0"))


def built(name, **changes):
    architecture = ARCHITECTURES[name]
    arguments = {**architecture.tiny, **changes}
    return build_without_values(lambda: architecture.backbone(**arguments))[0]


def even_heads(name):
    """Return twice the heads and widths of the tiny model, which two devices divide."""
    tiny, doubled = ARCHITECTURES[name].tiny, ("heads", "hidden_dim", "intermediate_dim")
    return {key: 2 * n for key, n in tiny.items() if key.endswith(doubled)}


def check(model):
    layouts = layout_map(model, mesh(1, 2))
    assert None not in logical_axes(model).values()
    for weight in model.weights:
        laws = [law for law in (BY_COLUMNS, BY_ROWS, REPLICATED) if law.fullmatch(weight.path)]
        assert len(laws) == 1, weight.path
        expected = [None] * len(weight.shape)
        if laws != [REPLICATED]:
            expected[-1 if laws == [BY_COLUMNS] else -2] = "model"
        assert list(layouts[weight.path].axes) == expected, weight.path
    assert set(layouts) == {weight.path for weight in model.weights}


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_weight_is_cut_or_listed_as_replicated(name):
    check(built(name, **even_heads(name)))


def test_so_are_the_weights_that_options_bring():
    changes = {"share_keys": False, "conv_kernel_size": 3}
    check(built("deberta_v3", **even_heads("deberta_v3"), **changes))


@pytest.mark.parametrize(("name", "head", "tie"), list(heads()))
def test_so_are_the_weights_of_heads(name, head, tie):
    architecture = ARCHITECTURES[name]
    source = architecture.sources[0]
    parts = {part: part in source.heads[head].requires for part in source.optional_layers}
    own = {"num_classes": 3} if head.endswith("_classifier") else {}
    own |= {} if tie else {"tie_word_embeddings": False}
    task, _ = build_without_values(
        lambda: TASKS[head](built(name, **even_heads(name), **parts), **own)
    )
    below = {weight.path for weight in task.backbone.weights}
    by_width, by_token = (layout_map(task, mesh(1, parts)) for parts in (2, 29))
    assert set(by_width) == {weight.path for weight in task.weights}
    assert None not in logical_axes(task).values()
    for weight in task.weights:
        axes = [layouts[weight.path].axes for layouts in (by_width, by_token)]
        if OF_TOKENS.fullmatch(weight.path):  # of an odd number, which 29 devices divide
            is_bias = len(weight.shape) == 1
            wanted = [(None,), ("model",)] if is_bias else [("model", None), (None, "model")]
            assert axes == wanted, weight.path
        elif weight.path not in below:
            assert OF_HEADS.fullmatch(weight.path), weight.path
            assert {part for layout in axes for part in layout} == {None}, weight.path


def test_attention_is_cut_between_heads_alone():
    def cut(layouts):
        parts = ("query", "key", "value", "output")
        kernels = [f"layer_0/attention/{part}/kernel" for part in parts]
        return [part for part, k in zip(parts, kernels, strict=True) if "model" in layouts[k].axes]

    layouts = layout_map(built("bert", num_heads=3), mesh(1, 2))  # of a width of 12
    assert cut(layouts) == []
    assert layouts["layer_0/attention/query/bias"].axes == (None,)
    assert layouts["layer_0/feed_forward/up/kernel"].axes == (None, "model")
    grouped = built("llama", num_heads=8, num_key_value_heads=2)
    assert cut(layout_map(grouped, mesh(1, 2))) == ["query", "key", "value", "output"]
    assert cut(layout_map(grouped, mesh(1, 4))) == ["query", "output"]


def test_a_table_is_cut_by_tokens_where_the_devices_divide_them():
    layouts = layout_map(shared("bert"), mesh(1, 29))
    assert layouts["embeddings/token_embedding/embeddings"].axes == ("model", None)


def test_what_the_devices_do_not_divide_is_replicated():
    layouts = layout_map(shared("bert"), mesh(1, 7))
    assert {axis for layout in layouts.values() for axis in layout.axes} == {None}


def test_a_preset_has_the_layouts_of_its_model(tmp_path):
    shared("bert").save_to_preset(tmp_path)
    found = Backbone.get_layout_map(tmp_path, mesh(2, 2, names=("rows", "cut")), "cut")
    own = layout_map(shared("bert"), mesh(2, 2, names=("rows", "cut")), "cut")
    assert {n: a.axes for n, a in found.items()} == {n: a.axes for n, a in own.items()}
    assert Backbone.get_layout_map(tmp_path, mesh(1, 2), num_layers=1) != found


def test_a_preset_of_a_task_has_the_layouts_of_its_head_too(tmp_path):
    bert = ARCHITECTURES["bert"]
    task = MaskedLM(shared("bert"), preprocessor=letters(bert), tie_word_embeddings=False)
    task.save_to_preset(tmp_path)
    found = MaskedLM.get_layout_map(tmp_path, mesh(2, 29, names=("rows", "cut")), "cut")
    assert found["masked_lm_head/output_kernel"].axes == (None, "cut")
    own = layout_map(task, mesh(2, 29, names=("rows", "cut")), "cut")
    assert {n: a.axes for n, a in found.items()} == {n: a.axes for n, a in own.items()}
    other = TextClassifier.get_layout_map(tmp_path, mesh(1, 2), num_classes=4)
    assert other["logits/kernel"].axes == (None, None)
    with pytest.raises(InputError, match="'tensor' is no axis"):
        MaskedLM.get_layout_map(tmp_path, mesh(1, 2), "tensor")


def test_another_mesh_axis_or_backend_is_refused(monkeypatch):
    with pytest.raises(InputTypeError, match="device_mesh is 4"):
        layout_map(shared("bert"), 4)
    with pytest.raises(InputError, match="='tensor' is no axis of .* 'batch', 'model'"):
        layout_map(shared("bert"), mesh(1, 2), "tensor")
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(InputError, match="the backend is torch.*KERAS_BACKEND=jax"):
        layout_map(shared("bert"), mesh(1, 2))
