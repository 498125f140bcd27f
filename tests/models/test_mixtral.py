"""Laws of models with experts, which the suite of all architectures doesn't ask for."""

import numpy as np
import pytest
from keras import ops

from inarch.checkpoints.maps.entries import expand
from inarch.errors import ConfigError, InputError
from inarch.keras_private import all_layers
from inarch.models.mixtral import checkpoint
from inarch.models.mixtral.backbone import MixtralBackbone
from inarch.models.variables import named_variables
from inarch.runtime.forward import compiled
from tests.conformance.models import ARCHITECTURES


def made(**changes):
    arguments = {**ARCHITECTURES["mixtral"].tiny, "sliding_window": None, **changes}
    model = MixtralBackbone(**arguments)
    random = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(random.standard_normal(weight.shape))
    return model


def test_experts_are_not_quantized_and_nothing_is_changed():
    model = made()
    with pytest.raises(InputError, match="layer_0/feed_forward/experts .* dtype='bfloat16'"):
        model.quantize("int8")
    assert all(layer.quantization_mode is None for layer in all_layers(model))


@pytest.mark.parametrize("target", ["up", "down", "router", "experts"])
def test_experts_and_routers_have_no_low_rank_updates(target):
    model = made()
    with pytest.raises(InputError, match=f"targets has '{target}', .* known: key, output, query"):
        model.enable_lora(2, (target,))
    model.enable_lora(2)
    trained = {name for name, v in named_variables(model).items() if v.trainable}
    assert not any("feed_forward" in name for name in trained)


def test_layers_without_experts_are_those_that_the_list_has():
    model = made(sparse_layers=[False, True], moe_intermediate_dim=7, num_key_value_heads=4)
    dense, sparse = (model.get_layer(f"layer_{i}").feed_forward for i in (0, 1))
    assert dense.up.kernel.shape == (16, 20)
    assert sparse.experts.up.shape == (5, 16, 7)
    names = {
        name
        for rule in expand(checkpoint.QWEN3_MOE.weights, model.arguments)
        for name in rule.theirs
    }
    assert "layers.0.mlp.gate_proj.weight" in names
    assert "layers.1.mlp.experts.4.gate_proj.weight" in names
    assert not any("layers.0.mlp.experts" in name for name in names)
    with pytest.raises(InputError, match="sparse_layers"):
        made(sparse_layers=[True])


@pytest.mark.parametrize(
    ("source", "field", "value"),
    [
        (checkpoint.MIXTRAL, "output_router_logits", True),
        (checkpoint.MIXTRAL, "router_jitter_noise", 0.1),
        (checkpoint.QWEN3_MOE, "output_router_logits", True),
    ],
)
def test_what_the_router_does_in_training_alone_is_refused_by_name(source, field, value):
    config = {"model_type": source.model_type, "router_aux_loss_coef": 0.02}
    source.config_map.arguments(config | {field: type(value)(0)})
    with pytest.raises(ConfigError, match=field):
        source.config_map.arguments(config | {field: value})


def test_padding_takes_no_experts_place_from_tokens():
    """Whatever padding is, tokens get the same: none is left out where many choose an expert."""
    call = compiled(made())
    random = np.random.default_rng(1)
    ids = random.integers(1, 29, (3, 9)).astype("int32")
    mask = (np.arange(9) < np.array([[9], [4], [1]])).astype("int32")
    given = {"token_ids": ids, "padding_mask": mask}
    other = given | {"token_ids": np.where(mask, ids, 7).astype("int32")}
    one, two = (ops.convert_to_numpy(call(inputs)) for inputs in (given, other))
    np.testing.assert_allclose(one[mask > 0], two[mask > 0], atol=1e-4 * np.abs(one).max())
