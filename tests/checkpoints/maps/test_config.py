"""A config field is computed, known to do nothing, or refused by name; and it is written back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inarch.checkpoints.maps.config import (
    ACTIVATIONS,
    choice,
    fallback,
    field,
    ignored,
    must_be,
    must_match,
    probability,
    sizes,
    subset,
    table_rows,
    token_id,
    with_defaults,
)
from inarch.checkpoints.maps.config_map import (
    KNOWN,
    ConfigMap,
    tied,
    write_fields,
)
from inarch.checkpoints.maps.source import Head, Source
from inarch.errors import ConfigError

ENTRIES = (
    field("vocab_size", "vocabulary_size"),
    field("layers", "num_layers", 12),
    probability("rate", "dropout", 0.1),
    field("eps", "epsilon", 1e-12),
    field("sinusoidal", "sinusoidal", False),
    probability("head_rate", "head_dropout", None),
    field("side", "side", "left"),
    choice("act", "activation", "gelu", values=ACTIVATIONS),
    must_be("is_decoder", False),
    must_be("chunk", 0, 1),
    must_be("pruned", {}),
    ignored("pooler_type", "pooler_size", reason="never read"),
)
MAP = ConfigMap(ENTRIES, elsewhere=(field("cls_rate", "dropout", 0.2),))
FULL = {
    "vocab_size": 7, "layers": 3, "rate": 0.5, "eps": 1e-5, "sinusoidal": True, "head_rate": 0.25,
    "side": "right", "act": "relu",
}  # fmt: skip


def test_every_kind_of_field_is_read():
    assert MAP.arguments(FULL) == {
        "vocabulary_size": 7, "num_layers": 3, "dropout": 0.5, "epsilon": 1e-5,
        "sinusoidal": True, "head_dropout": 0.25, "side": "right", "activation": "relu",
    }  # fmt: skip


def test_an_absent_field_has_the_references_default_and_a_required_one_is_named():
    found = MAP.arguments({"vocab_size": 7})
    assert (found["num_layers"], found["dropout"], found["head_dropout"]) == (12, 0.1, None)
    assert (found["sinusoidal"], found["activation"]) == (False, "gelu")
    with pytest.raises(ConfigError, match="'vocab_size'"):
        MAP.arguments({})


def test_all_unknown_fields_are_named_at_once_with_their_values():
    with pytest.raises(ConfigError) as error:
        MAP.arguments(FULL | {"rope_theta": 1e4, "window": [1, 2], "soft_cap": None})
    for listed in ("rope_theta=10000.0", "window=[1, 2]", "soft_cap=None"):
        assert listed in str(error.value)


def test_fields_that_do_nothing_are_let_through():
    idle = dict.fromkeys((*KNOWN, "pooler_type", "pooler_size", "cls_rate"), "x")
    assert MAP.arguments(FULL | idle) == MAP.arguments(FULL)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("vocab_size", "7"), ("vocab_size", None), ("vocab_size", 7.0), ("vocab_size", True),
        ("vocab_size", [7]), ("layers", None), ("layers", "3"), ("layers", 3.5), ("layers", False),
        ("rate", None), ("rate", "0.1"), ("rate", True), ("rate", float("nan")),
        ("eps", float("inf")), ("eps", {}), ("sinusoidal", 1), ("sinusoidal", None),
        ("sinusoidal", "false"), ("head_rate", "0.1"), ("head_rate", True),
        ("head_rate", float("nan")), ("side", None), ("side", 3), ("act", None), ("act", "mish"),
        ("act", ["gelu"]), ("act", {}), ("act", 0), ("is_decoder", True), ("is_decoder", 0),
        ("is_decoder", None), ("chunk", 2), ("chunk", False), ("chunk", None),
        ("pruned", {"0": [1]}), ("pruned", None),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_kind_is_refused_by_name(field, value):
    with pytest.raises(ConfigError) as error:
        MAP.arguments(FULL | {field: value})
    assert repr(field) in str(error.value)
    assert repr(value) in str(error.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [("rate", 0), ("head_rate", None), ("head_rate", 0), ("chunk", 1), ("pruned", {})],
)
def test_a_value_that_json_spells_differently_is_let_through(field, value):
    MAP.arguments(FULL | {field: value})


@pytest.mark.parametrize("field", ["rate", "head_rate"])
@pytest.mark.parametrize("value", [1.5, 2, -0.1, -1])
def test_a_rate_beyond_its_bounds_is_refused_with_them(field, value):
    message = f"'{field}' has the unusable value {value}; it must be from 0 to 1$"
    with pytest.raises(ConfigError, match=message):
        MAP.arguments(FULL | {field: value})
    for bound in (0, 1, 1.0):
        MAP.arguments(FULL | {field: bound})


def test_what_can_be_computed_instead_is_listed():
    with pytest.raises(ConfigError, match="'gelu_new', .*'relu'"):
        MAP.arguments(FULL | {"act": "mish"})
    with pytest.raises(ConfigError, match="only 0 or 1"):
        MAP.arguments(FULL | {"chunk": 5})


@pytest.mark.parametrize("theirs", ACTIVATIONS)
def test_a_choice_goes_both_ways_and_an_unchanged_spelling_stays(theirs):
    config = FULL | {"act": theirs}
    arguments = MAP.arguments(config)
    written = dict(config)
    write_fields(ENTRIES, arguments, written)
    assert written == config
    fresh = {}
    write_fields(ENTRIES, arguments, fresh, complete=True)
    assert MAP.arguments(fresh) == arguments


def test_a_changed_choice_is_written_in_its_usual_spelling():
    config = FULL | {"act": "gelu_python"}
    write_fields(ENTRIES, {"activation": "gelu_approximate"}, config)
    assert config["act"] == "gelu_new"
    with pytest.raises(ConfigError, match="activation='mish'"):
        write_fields(ENTRIES, {"activation": "mish"}, config)


def test_an_untouched_config_gets_no_new_fields():
    config = {"vocab_size": 7, "rate": 0, "act": "gelu_python"}
    written = dict(config)
    write_fields(ENTRIES, MAP.arguments(config), written)
    assert list(written.items()) == list(config.items())


def test_an_absent_field_is_written_where_it_departs_from_the_default():
    config = {"vocab_size": 7}
    write_fields(ENTRIES, MAP.arguments(config) | {"num_layers": 2}, config)
    assert config == {"vocab_size": 7, "layers": 2}


VALUES = {
    "vocabulary_size": st.integers(1, 99),
    "num_layers": st.integers(1, 99),
    "dropout": st.floats(0, 1),
    "epsilon": st.floats(0, 1),
    "sinusoidal": st.booleans(),
    "head_dropout": st.none() | st.floats(0, 1),
    "side": st.text(max_size=3),
    "activation": st.sampled_from(sorted(set(ACTIVATIONS.values()))),
}


@given(st.fixed_dictionaries(VALUES), st.booleans())
def test_what_is_written_is_read_back(arguments, complete):
    config = {}
    write_fields(ENTRIES, arguments, config, complete)
    assert MAP.arguments(config) == arguments
    if complete:
        assert config.keys() == FULL.keys()


PAD = token_id("pad", "padding_id", 1)
ROWS = ConfigMap((PAD, table_rows("rows", "longest", 514, after=PAD)))


def test_rows_that_are_no_positions_are_not_counted():
    assert ROWS.arguments({}) == {"padding_id": 1, "longest": 512}
    assert ROWS.arguments({"pad": 0, "rows": 10}) == {"padding_id": 0, "longest": 9}
    with pytest.raises(ConfigError, match="leaves no row"):
        ROWS.arguments({"pad": 5, "rows": 6})
    with pytest.raises(ConfigError, match="'pad' has the unusable value -1"):
        ROWS.arguments({"pad": -1})


@given(st.integers(0, 9), st.integers(1, 99), st.booleans())
def test_counted_rows_are_written_back(padding, longest, complete):
    arguments = {"padding_id": padding, "longest": longest}
    config = {}
    write_fields(ROWS.entries, arguments, config, complete)
    assert ROWS.arguments(config) == arguments


RELATED = ConfigMap(
    (
        field("width", "width", 8),
        fallback("narrow", "narrow", other="width"),
        subset("terms", "terms", names=("c2p", "p2c")),
        field("buckets", "buckets", -1),
        must_match("head", lambda config: config.get("width", 8) // 2),
    )
)


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (None, "none"),
        ([], "none"),
        ("", "none"),
        ("None", "none"),
        ("P2C | c2p", "c2p|p2c"),
        (["p2c"], "p2c"),
    ],
)
def test_a_subset_is_read_in_any_spelling_and_left_as_it_was(given, read):
    config = {"terms": given}
    assert RELATED.arguments(config)["terms"] == read
    write_fields(RELATED.entries, {"terms": read}, config)
    assert config == {"terms": given}


@pytest.mark.parametrize("given", ["c2p|p2p", ["C2P"], 3, {"c2p": 1}])
def test_a_subset_with_another_name_is_refused(given):
    with pytest.raises(ConfigError, match="'terms' is"):
        RELATED.arguments({"terms": given})


def test_a_field_falls_back_on_another_and_is_written_as_it():
    assert RELATED.arguments({"width": 6})["narrow"] is None
    assert RELATED.arguments({"width": 6, "narrow": 6})["narrow"] is None
    assert RELATED.arguments({"width": 6, "narrow": 4})["narrow"] == 4
    config = {}
    write_fields(RELATED.entries, {"width": 6, "narrow": None}, config, complete=True)
    assert config == {"width": 6, "narrow": 6}


def test_a_default_below_zero_may_be_declared():
    assert RELATED.arguments({"buckets": -1})["buckets"] == -1
    with pytest.raises(ConfigError, match="'buckets' has the unusable value -2"):
        RELATED.arguments({"buckets": -2})


def test_an_implied_field_must_agree():
    assert "head" not in RELATED.arguments({"width": 6, "head": 3})
    with pytest.raises(ConfigError, match="'head' is 4; only 3"):
        RELATED.arguments({"width": 6, "head": 4})


@pytest.mark.parametrize("width", [[6], "6", 0, None])
def test_an_unusable_field_is_blamed_before_what_it_implies(width):
    with pytest.raises(ConfigError, match="'width' has the unusable value"):
        RELATED.arguments({"width": width, "head": 3})


def test_a_relative_has_the_same_fields_with_other_defaults():
    relative = ConfigMap(tuple(with_defaults(RELATED.entries, width=10)))
    assert relative.arguments({})["width"] == 10
    assert RELATED.arguments({})["width"] == 8
    with pytest.raises(ConfigError, match="'head' is 4; only 5"):
        relative.arguments({"head": 4})


def test_what_falls_back_on_another_field_has_the_default_of_a_relative_too():
    width = field("width", "width", 8)
    half = fallback("half", "half", other=lambda config: width.read(config) // 2)
    (entry,) = (e for e in with_defaults([width, half], width=10) if e.theirs == "half")
    for config, value in [({"half": 5}, None), ({"half": 4}, 4), ({"width": 8, "half": 4}, None)]:
        assert entry.read(config) == value


@pytest.mark.parametrize("value", [0, 1, "no", None])
def test_embeddings_are_tied_or_not_and_nothing_else(value):
    assert tied({}) is True
    assert tied({"tie_word_embeddings": False}) is False
    with pytest.raises(ConfigError, match="'tie_word_embeddings' is .* true or false"):
        tied({"tie_word_embeddings": value})


ALIASED = ConfigMap(
    (field("dim", "width", 8, aliases=("hidden_size", "d")), field("eps", "eps", 0.1))
)


@pytest.mark.parametrize(
    ("config", "width"),
    [
        ({"dim": 4}, 4), ({"hidden_size": 3}, 3), ({"dim": 4, "hidden_size": 3}, 3),
        ({"hidden_size": 3, "dim": 4}, 3), ({"d": 5, "hidden_size": 3}, 3), ({}, 8),
    ],
)  # fmt: skip
def test_an_alias_counts_before_the_fields_own_name_and_all_are_written(config, width):
    assert ALIASED.arguments(config) == {"width": width, "eps": 0.1}
    written = dict(config)
    write_fields(ALIASED.entries, {"width": width}, written)
    assert written == config
    write_fields(ALIASED.entries, {"width": 9}, written)
    assert written == dict.fromkeys(config or ["dim"], 9)


def test_an_unusable_alias_is_blamed_by_its_name():
    with pytest.raises(ConfigError, match="'hidden_size' has the unusable value 'x'"):
        ALIASED.arguments({"dim": 4, "hidden_size": "x"})


SOME = ConfigMap((field("inner", "inner_dim", None), token_id("pad", "padding_id", None)))


def test_a_number_of_things_that_may_be_absent_is_whole():
    assert SOME.arguments({}) == {"inner_dim": None, "padding_id": None}
    assert SOME.arguments({"inner": 6, "pad": 0}) == {"inner_dim": 6, "padding_id": 0}
    for config in ({"inner": 0.5}, {"inner": 0}, {"pad": 0.0}, {"pad": -1}, {"inner": True}):
        with pytest.raises(ConfigError, match="has the unusable value"):
            SOME.arguments(config)


def test_a_field_may_take_after_a_function_of_others_and_be_null():
    heads = field("heads", "num_heads", 4)
    entry = fallback("shared", "num_shared", 2, other=heads.read)
    values = {None: None, 1: 1, 4: None, 2: 2}
    for value, ours in values.items():
        assert entry.read({"shared": value}) == ours
    assert entry.read({}) == 2
    assert entry.read({"heads": 2}) is None
    config = {"heads": 3}
    entry.write(None, config)
    assert config == {"heads": 3, "shared": 3}
    window = field("window", "window", 8, nullable=True)
    assert [window.read(each) for each in ({}, {"window": None}, {"window": 3})] == [8, None, 3]
    with pytest.raises(ConfigError, match="'window' has the unusable value 0"):
        window.read({"window": 0})
    with pytest.raises(ConfigError, match="unusable value None"):
        field("window", "window", 8).read({"window": None})


# --- lists of sizes ----------------------------------------------------------------------------

DIMS = sizes("conv_dim", "conv_dims", (4, 5))
STEM = ConfigMap((DIMS, sizes("conv_stride", "conv_strides", (2, 1), like=DIMS)), model_type="toy")


def test_a_list_of_sizes_is_a_tuple_of_ours_and_a_list_again():
    config = {"model_type": "toy", "conv_dim": [4, 5, 6], "conv_stride": [3, 2, 1]}
    arguments = STEM.arguments(config)
    assert arguments == {"conv_dims": (4, 5, 6), "conv_strides": (3, 2, 1)}
    assert STEM.arguments({"model_type": "toy"}) == {"conv_dims": (4, 5), "conv_strides": (2, 1)}
    write_fields([DIMS], {"conv_dims": (7, 8)}, config)
    assert config["conv_dim"] == [7, 8]


@pytest.mark.parametrize("value", [[], [4, 0], [4, 5.0], [4, True], "45", 4, None, {"a": 4}])
def test_a_list_of_other_than_sizes_is_refused_by_name(value):
    with pytest.raises(ConfigError, match="'conv_dim' is .*whole numbers"):
        STEM.arguments({"model_type": "toy", "conv_dim": value})


def test_lists_of_different_lengths_are_both_named():
    with pytest.raises(ConfigError, match="'conv_stride' has 2 values, and 'conv_dim' has 3"):
        STEM.arguments({"model_type": "toy", "conv_dim": [4, 5, 6]})


def test_a_field_of_a_head_that_is_not_computed_is_refused_for_that_head_alone():
    head = Head(("ToyForSums",), config=[field("width", "width", 2), must_be("summary", "last")])
    plain = Head(("ToyForTokens",))
    heads = {"sums": head, "tokens": plain}
    options = {"prefix": "", "config": [], "weights": [], "heads": heads}
    source = Source(model_type="toy", architecture="ToyModel", **options)
    config = {"model_type": "toy", "summary": "mean"}
    with pytest.raises(ConfigError, match="'summary' is 'mean'"):
        source.head_arguments("sums", config)
    assert source.head_arguments("sums", config | {"summary": "last"}) == {"width": 2}
    assert source.head_arguments("tokens", config) == {}
    assert source.arguments(config, ()) == {}
