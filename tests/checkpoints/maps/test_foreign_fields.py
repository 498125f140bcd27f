"""An unknown field is let through where nobody reads it, refused where it means other numbers."""

import tomllib

import pytest

from inarch.checkpoints.maps.config import ACTIVATIONS, choice, constant, field, must_be
from inarch.checkpoints.maps.config_map import ConfigMap, write_fields
from inarch.checkpoints.maps.foreign_fields import foreign_fields, is_nothing
from inarch.errors import ConfigError
from inarch.models import registry

MAP = ConfigMap(
    (
        field("hidden_size", "hidden_dim", 8),
        field("num_attention_heads", "num_heads", 2),
        choice("hidden_act", "activation", "gelu", values=ACTIVATIONS),
        field("layer_norm_eps", "layer_norm_epsilon", 1e-12),
        must_be("is_decoder", False),
    ),
    model_type="toy",
)
TOY = {"model_type": "toy"}
IDLE = {"author": "us", "kobert_version": 1.0, "fusion_layer": 6, "do_lower_case": True}
ATTRIBUTES = {"switch": "switches", "epsilon": "epsilons", "family": "families"}
OWN_CODE = {"auto_map": {"AutoModel": "modeling_toy.ToyModel"}}


def refused(config, **options):
    with pytest.raises(ConfigError) as error:
        MAP.arguments(config, **options)
    return str(error.value)


def test_fields_that_nobody_reads_are_let_through_and_listed():
    config = TOY | {"hidden_size": 6, "transformers_version": "4.1"} | IDLE
    assert MAP.arguments(config) == MAP.arguments(TOY | {"hidden_size": 6})
    assert MAP.ignored_fields(config) == IDLE


@pytest.mark.parametrize("config", [{}, {"model_type": "other"}, TOY | OWN_CODE])
def test_unknown_code_leaves_no_unknown_field(config):
    message = refused(config | IDLE | {"quirk": None})
    for listed in ("author='us'", "fusion_layer=6", "quirk=None"):
        assert listed in message
    assert ("isn't run" in message) == ("auto_map" in config)
    assert MAP.ignored_fields(config | IDLE) == {}
    assert MAP.arguments(config) == MAP.arguments(TOY)


@pytest.mark.parametrize("empty", [None, {}, {"AutoModel": None}])
def test_an_empty_auto_map_names_no_code(empty):
    assert MAP.ignored_fields(TOY | IDLE | {"auto_map": empty}) == IDLE


def test_strictness_can_be_chosen():
    assert "author" in refused(TOY | IDLE, strict=True)
    assert MAP.arguments(IDLE, strict=False) == MAP.arguments(TOY)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("layer_types", ["full_attention", "sliding_attention"]), ("sliding_window", 4096),
        ("rope_theta", 10000.0), ("rope_scaling", {"type": "linear"}), ("rope_whatever", 2),
        ("use_relative_position", True), ("alibi", True), ("is_causal", True),
        ("layer_norm_epsilon", 1e-5), ("activation_function", "relu"), ("n_head", 4),
        ("vision_config", {"hidden_size": 4}), ("logit_scale", 2.5),
        ("scale_attn_weights", False), ("scale_attn_weights", None),
    ],
)  # fmt: skip
def test_a_field_that_changes_other_architectures_is_refused_by_name(field, value):
    assert f"{field}={value!r}" in refused(TOY | IDLE | {field: value})
    assert "author" not in refused(TOY | IDLE | {field: value})
    assert MAP.ignored_fields(TOY | {field: value}) == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sliding_window", None), ("rope_scaling", None), ("use_relative_position", False),
        ("layer_types", []), ("rope_parameters", {}), ("sinusoidal_pos_embds", False),
        # Declared twice: the model's own activation, epsilon and heads.
        ("activation", "gelu"), ("layer_norm_epsilon", 1e-12), ("n_head", 2),
        # Seen in the tensors, or without a part in inference.
        ("embedding_size", 128), ("n_layers", 6), ("dim", 768), ("seq_classif_dropout", 0.2),
        ("seed", 42), ("masked_loss", True), ("scale_attn_weights", True),
    ],
)  # fmt: skip
def test_a_listed_field_that_changes_nothing_is_let_through(field, value):
    assert MAP.ignored_fields(TOY | {field: value}) == {field: value}
    MAP.arguments(TOY | {field: value})


@pytest.mark.parametrize("config", [TOY, {}, TOY | OWN_CODE])
@pytest.mark.parametrize("field", ["quantization_config", "adapters"])
def test_empty_quantization_and_adapters_are_nothing_and_filled_ones_have_a_way_out(field, config):
    for empty in (None, {}, {"adapters": {}, "config_map": {}, "fusions": {"x": []}}):
        MAP.arguments(config | {field: empty})
    message = refused(config | {field: {"quant_method": "bitsandbytes"}})
    assert message.startswith(f"the config has '{field}'")
    assert "by the library that wrote" in message


def test_ignored_fields_are_taken_as_absent():
    config = {"rope_theta": 1e4, "author": "us", "is_decoder": True}
    assert MAP.arguments(config, ignored={"rope_theta", "author", "is_decoder"}) == MAP.arguments(
        {}
    )
    assert MAP.ignored_fields(config, ignored={"rope_theta"}) == {"rope_theta": 1e4}
    assert "author" in refused(config, ignored=["rope_theta"])


def test_the_beginning_of_a_listed_name_counts_but_not_a_word_or_two():
    listed = foreign_fields()
    assert listed.has("use_relative_position")
    assert not listed.has("use")
    assert not listed.has("use_relative")
    assert not listed.has("ropes")


@pytest.mark.parametrize("value", [1, "x", True, [0, 1], {"a": {"b": [None, 2]}}])
def test_something_is_not_nothing(value):
    assert not is_nothing(value)


def test_a_constant_of_the_code_may_be_repeated_and_not_changed():
    source = registry.by_model_type("distilbert")[1]
    config = {"model_type": "distilbert", "layer_norm_eps": 1e-12}
    assert source.arguments(config, ()) == source.arguments({"model_type": "distilbert"}, ())
    with pytest.raises(ConfigError, match="layer_norm_eps"):
        source.arguments(config | {"layer_norm_eps": 1e-5}, ())


@pytest.mark.parametrize(
    ("field", "value", "other"),
    [("layer_norm_epsilon", 1e-12, 1e-5), ("hidden_act", "gelu_new", "gelu")],
)
def test_a_constant_counts_as_mapped(field, value, other):
    entries = (constant("epsilon", 1e-12), constant("activation", "gelu_approximate"))
    known = ConfigMap(entries, model_type="toy")
    assert known.arguments({"model_type": "toy", field: value}) == {
        "epsilon": 1e-12, "activation": "gelu_approximate"
    }  # fmt: skip
    with pytest.raises(ConfigError, match=field):
        known.arguments({"model_type": "toy", field: other})


def test_an_argument_that_their_code_has_as_another_constant_is_not_written():
    entries = (constant("epsilon", 1e-12),)
    write_fields(entries, {"epsilon": 1e-12}, {})
    with pytest.raises(ConfigError, match=r"epsilon is 1e-05, .*it is 1e-12 in their code"):
        write_fields(entries, {"epsilon": 1e-5}, {})


@pytest.mark.reference
def test_the_list_is_what_the_installed_transformers_gives():
    """All of another version's fields may differ; most must not."""
    from inarch.verify import foreign_fields as generator

    fresh = tomllib.loads(generator.installed())
    for kind in ("switch", "epsilon", "family"):
        listed, found = getattr(foreign_fields(), ATTRIBUTES[kind]), {*fresh[kind]}
        assert len(listed & found) >= 0.9 * len(listed | found), kind
