"""Fields within fields, older names and values per layer are read, held to, and written back."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inarch.checkpoints.maps.config import (
    constant,
    every_nth,
    field,
    ignored,
    must_be,
    per_layer,
    table_rows,
    with_defaults,
)
from inarch.checkpoints.maps.config_map import ConfigMap, write_fields
from inarch.errors import ConfigError

LAYERS = field("num_hidden_layers", "num_layers", 4)
KINDS = {"full_attention": "global", "sliding_attention": "local"}
ENTRIES = (
    LAYERS,
    field(
        "rope_parameters.full_attention.rope_theta",
        "rotary_base",
        160000.0,
        legacy=("global_rope_theta",),
    ),
    field(
        "rope_parameters.sliding_attention.rope_theta",
        "local_rotary_base",
        10000.0,
        legacy=("local_rope_theta", "oldest_theta"),
    ),
    must_be("rope_parameters.full_attention.rope_type", "default"),
    must_be("rope_parameters.sliding_attention.rope_type", "default"),
    per_layer(
        "layer_types",
        "layer_types",
        layers=LAYERS,
        values=KINDS,
        older=every_nth("global_attn_every_n_layers", "full_attention", "sliding_attention", 3),
    ),
    field("text_config.width", "width", 8, aliases=("width_alias",)),
    ignored("text_config.seed", reason="initial values"),
)
MAP = ConfigMap(ENTRIES, model_type="toy")
NEW = {
    "model_type": "toy",
    "num_hidden_layers": 2,
    "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 5e4},
        "sliding_attention": {"rope_theta": 7e3},
    },
    "layer_types": ["sliding_attention", "full_attention"],
    "text_config": {"model_type": "toy_text", "width": 16, "seed": 3, "transformers_version": "5"},
}
OLD = {
    "model_type": "toy",
    "num_hidden_layers": 5,
    "global_rope_theta": 5e4,
    "oldest_theta": 7e3,
    "global_attn_every_n_layers": 2,
}


def test_fields_within_fields_are_read():
    assert MAP.arguments(NEW) == {
        "num_layers": 2, "rotary_base": 5e4, "local_rotary_base": 7e3,
        "layer_types": ("local", "global"), "width": 16,
    }  # fmt: skip


def test_older_spellings_are_read_where_the_newer_are_absent():
    found = MAP.arguments(OLD)
    assert (found["rotary_base"], found["local_rotary_base"]) == (5e4, 7e3)
    assert found["layer_types"] == ("global", "local", "global", "local", "global")
    both = OLD | {"rope_parameters": {"full_attention": {"rope_theta": 3.0}}, "local_rope_theta": 2}
    found = MAP.arguments(both)
    assert (found["rotary_base"], found["local_rotary_base"]) == (3.0, 2)


@pytest.mark.parametrize("empty", [{}, {"rope_parameters": None}, {"rope_parameters": {}}])
def test_what_is_absent_within_or_without_has_its_default(empty):
    found = MAP.arguments({"model_type": "toy"} | empty)
    assert (found["rotary_base"], found["width"]) == (160000.0, 8)
    assert found["layer_types"] == ("global", "local", "local", "global")


@pytest.mark.parametrize("config", [NEW, OLD, {"model_type": "toy"}])
def test_what_is_unchanged_is_left_as_it_was(config):
    written = copy.deepcopy(config)
    write_fields(ENTRIES, MAP.arguments(config), written)
    assert written == config


@given(
    st.sampled_from([NEW, OLD, {"model_type": "toy"}]),
    st.fixed_dictionaries(
        {"rotary_base": st.floats(1, 1e6), "width": st.integers(1, 99)},
    ),
    st.lists(st.sampled_from(["global", "local"]), min_size=1, max_size=6),
    st.booleans(),
)
def test_what_is_written_is_read_back(config, arguments, kinds, complete):
    before = copy.deepcopy(config)
    arguments = arguments | {"num_layers": len(kinds), "layer_types": kinds}
    written = dict(config)
    write_fields(ENTRIES, arguments, written, complete)
    assert MAP.arguments(written) == MAP.arguments(config) | arguments | {
        "layer_types": tuple(kinds)
    }
    assert config == before  # objects within are copied, not changed in place


def test_a_pattern_of_layers_is_written_in_the_older_spelling_while_it_can_be():
    config = dict(OLD)
    write_fields(ENTRIES, MAP.arguments(OLD) | {"layer_types": ["global"] * 5}, config)
    assert config == OLD | {"global_attn_every_n_layers": 1}
    write_fields(ENTRIES, MAP.arguments(OLD) | {"layer_types": ["local"] * 5}, config)
    assert "global_attn_every_n_layers" not in config
    assert config["layer_types"] == ["sliding_attention"] * 5


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("rope_parameters", 5, r"'rope_parameters' is 5; it must be an object that has"),
        ("rope_parameters", [], r"'rope_parameters' is \[\]; it must be an object"),
        (
            "rope_parameters",
            {"full_attention": "default"},
            r"'rope_parameters.full_attention' is 'default'; it must be an object",
        ),
        (
            "rope_parameters",
            {"full_attention": {"rope_type": "yarn"}},
            r"'rope_parameters.full_attention.rope_type' is 'yarn'; only 'default' is computed",
        ),
        (
            "rope_parameters",
            {"full_attention": {"rope_theta": -1}},
            r"'rope_parameters.full_attention.rope_theta' has the unusable value -1",
        ),
        ("layer_types", "full_attention", r"must be a list, with a value for each of the 4 layers"),
        ("layer_types", ["full_attention"], r"has 1 values, and 'num_hidden_layers' is 4; give"),
        ("layer_types", ["full_attention", 3] * 2, r"'layer_types\[1\]' is 3; computed here"),
        ("global_attn_every_n_layers", 0, r"is 0; it must be a whole number, at least 1"),
        ("global_attn_every_n_layers", "3", r"is '3'; it must be a whole number, at least 1"),
    ],
)
def test_a_wrong_value_within_or_per_layer_is_named_with_the_way_out(field, value, message):
    with pytest.raises(ConfigError, match=message):
        MAP.arguments({"model_type": "toy", field: value})


def test_an_unknown_field_within_a_field_that_is_read_is_refused_by_its_whole_name():
    config = {"model_type": "toy", "rope_parameters": {"rope_theta": 1e4, "factor": None}}
    with pytest.raises(ConfigError, match=r"rope_parameters\.rope_theta=10000\.0") as error:
        MAP.arguments(config)
    assert "factor" not in str(error.value)
    assert MAP.arguments(config, ignored=["rope_parameters.rope_theta"])["rotary_base"] == 160000.0
    assert MAP.ignored_fields(config, ignored=["rope_parameters.rope_theta"]) == {
        "rope_parameters.rope_theta": 1e4,
        "rope_parameters.factor": None,
    }


def test_a_config_within_a_config_is_held_to_the_rules_of_a_config():
    inner = NEW["text_config"] | {"quirk": 3}
    assert MAP.arguments(NEW | {"text_config": inner})["width"] == 16
    with pytest.raises(ConfigError, match=r"text_config\.alibi=True"):
        MAP.arguments(NEW | {"text_config": inner | {"alibi": True}})
    with pytest.raises(ConfigError, match=r"text_config\.quirk=3"):
        MAP.arguments(NEW | {"text_config": inner}, strict=True)


def test_values_per_layer_without_another_spelling_may_have_a_default_or_must_be_there():
    sizes = per_layer("sizes", "sizes", 7, layers=LAYERS)
    assert sizes.read({}) == (7, 7, 7, 7)
    assert sizes.read({"sizes": [1, 2, 3, 4]}) == (1, 2, 3, 4)
    with pytest.raises(ConfigError, match=r"'sizes\[1\]' has the unusable value 0"):
        sizes.read({"sizes": [1, 0, 3, 4]})
    with pytest.raises(ConfigError, match="the config has no 'sizes'"):
        per_layer("sizes", "sizes", layers=LAYERS).read({})


def test_no_list_is_made_up_for_a_billion_layers():
    message = "'num_hidden_layers' is 1,000,000,000; .*at most 10,000 layers.*; correct the number"
    for older in (None, every_nth("every", "global", "local", 3)):
        kinds = per_layer("layer_types", "layer_types", "global", layers=LAYERS, older=older)
        with pytest.raises(ConfigError, match=message):
            kinds.read({"num_hidden_layers": 10**9})


@given(st.integers(1, 9), st.integers(1, 12))
def test_the_layer_that_differs_may_be_the_last_of_each_n(step, layers):
    older = every_nth("every", "full_attention", "sliding_attention", 4, is_last=True)
    entry = per_layer("layer_types", "kinds", layers=LAYERS, values=KINDS, older=older)
    config = {"num_hidden_layers": layers, "every": step}
    kinds = entry.read(config)
    assert [i for i, kind in enumerate(kinds) if kind == "global"] == [
        i for i in range(layers) if (i + 1) % step == 0
    ]
    again = dict(config)
    entry.write(kinds, again)
    assert entry.read(again) == kinds
    assert "layer_types" not in again


def test_the_number_of_the_layers_that_differ_may_be_no_field():
    older = every_nth(None, "full_attention", "sliding_attention", 2, is_last=True)
    entry = per_layer("layer_types", "kinds", layers=LAYERS, values=KINDS, older=older)
    config = {"num_hidden_layers": 3, "every": 3}
    assert entry.read(config) == ("local", "global", "local")
    assert set(entry.known_names) == {"layer_types"}
    entry.write(("local", "local", "global"), config)
    assert config["layer_types"] == ["sliding_attention", "sliding_attention", "full_attention"]


def test_what_is_no_list_is_not_written_as_values_per_layer():
    with pytest.raises(ConfigError, match="layer_types is None; give a list of a value per layer"):
        write_fields(ENTRIES, {"layer_types": None}, dict(NEW))


def test_rows_may_come_after_a_row_that_is_a_constant():
    rows = table_rows("max_position_embeddings", "length", 514, after=constant("padding_id", 1))
    assert rows.read({}) == 512
    config = {}
    rows.write(30, config)
    assert config == {"max_position_embeddings": 32}
    with pytest.raises(ConfigError, match="padding_id=1 leaves no row to be used"):
        rows.read({"max_position_embeddings": 2})


def test_a_default_of_no_field_is_refused():
    with pytest.raises(ConfigError, match="no entry maps vocab, width"):
        with_defaults([ENTRIES], width=3, vocab=7, num_hidden_layers=1)


def test_one_value_may_stand_for_those_of_all_layers():
    entry = per_layer("sizes", "sizes", 7, layers=LAYERS, may_be_one=True)
    assert entry.read({"sizes": 3}) == entry.read({"sizes": [3] * 4}) == (3,) * 4
    for config, value, expected in [
        ({"sizes": 3}, (5,) * 4, 5),
        ({"sizes": 3}, (5, 5, 5, 6), [5, 5, 5, 6]),
        ({"sizes": [3] * 4}, (5,) * 4, [5] * 4),
        ({}, (5,) * 4, 5),
    ]:
        entry.write(value, config)
        assert config["sizes"] == expected
        assert entry.read(config) == value
    with pytest.raises(ConfigError, match="'sizes' has the unusable value 'a'"):
        entry.read({"sizes": "a"})
    with pytest.raises(ConfigError, match="at most 10,000 layers"):
        entry.read({"sizes": 3, "num_hidden_layers": 10**9})
