"""The scaling of rotary positions is read from either holder, and written where it was."""

import copy

import pytest

from inarch.checkpoints.maps.config import field
from inarch.checkpoints.maps.config_map import ConfigMap, write_fields
from inarch.checkpoints.maps.rotary import rotary_scaling
from inarch.errors import ConfigError, InputError


def check(scaling):
    if scaling and not scaling.get("factor", 1) > 0:
        raise InputError("factor isn't positive")


LONG_FIELDS = ("factor", "long_factor", "original_max_position_embeddings")
LENGTH = field("max_position_embeddings", "max_sequence_length", 2048)
ENTRIES = (
    LENGTH,
    field("rope_parameters.rope_theta", "rope_theta", 1e4,
        legacy=("rope_scaling.rope_theta", "rope_theta")),
    rotary_scaling(
        "rope_scaling",
        types={
            "linear": ("factor",),
            "late": ("factor", "original_max_position_embeddings"),
            "grown": ("factor", "max_position_embeddings"),
            "long": LONG_FIELDS,
        },
        check=check,
        length=LENGTH,
    ),
)  # fmt: skip
MAP = ConfigMap(ENTRIES, model_type="toy")
LINEAR = {"rope_type": "linear", "factor": 2.0}
LATE = {"rope_type": "late", "factor": 2.0, "original_max_position_embeddings": 512}


GROWN = {"rope_type": "grown", "factor": 2.0, "max_position_embeddings": 2048}
LONG = {"rope_type": "long", "long_factor": [2.0], "original_max_position_embeddings": 512}


def read(**config):
    arguments = MAP.arguments({"model_type": "toy", **config})
    return arguments["rope_theta"], arguments["rope_scaling"]


@pytest.mark.parametrize(
    ("config", "base", "scaling"),
    [
        ({}, 1e4, None),
        ({"rope_scaling": None, "rope_theta": 5.0}, 5.0, None),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 7.0}}, 7.0, None),
        ({"rope_parameters": {"rope_theta": 7.0, "factor": 3.0}, "rope_theta": 5.0}, 7.0, None),
        ({"rope_parameters": LINEAR, "rope_theta": 5.0}, 5.0, LINEAR),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_theta": 5.0}, 5.0, LINEAR),
        ({"rope_scaling": {**LINEAR, "rope_theta": 6.0}, "rope_theta": 5.0}, 6.0, LINEAR),
        ({"rope_parameters": LINEAR, "rope_scaling": LINEAR}, 1e4, LINEAR),
        ({"rope_parameters": LATE}, 1e4, LATE),
        ({"rope_parameters": {"rope_type": "late", "factor": 2.0},
            "max_position_embeddings": 512}, 1e4, LATE),
        ({"rope_scaling": {"type": "grown", "factor": 2.0}}, 1e4, GROWN),
        ({"rope_parameters": {"type": "grown", "factor": 2.0, "max_position_embeddings": 7},
            "max_position_embeddings": 512}, 1e4, GROWN | {"max_position_embeddings": 512}),
        ({"rope_scaling": LONG}, 1e4, LONG | {"factor": 4.0}),
        ({"rope_scaling": LONG | {"factor": 3.0}}, 1e4, LONG | {"factor": 3.0}),
    ],
)  # fmt: skip
def test_the_type_and_the_base_are_found_in_either_holder(config, base, scaling):
    assert read(**config) == (base, scaling)
    written = {"model_type": "toy", **copy.deepcopy(config)}
    arguments = MAP.arguments(written)
    before = copy.deepcopy(written)
    write_fields(ENTRIES, arguments, written)
    assert written == before


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"rope_theta": 5.0},
        {"rope_theta": 5.0, "rope_scaling": LINEAR},
        {"rope_parameters": {"rope_theta": 7.0, "rope_type": "default"}},
        {"rope_parameters": {"rope_theta": 7.0, **LATE}},
        {"rope_parameters": LINEAR, "rope_scaling": LINEAR, "rope_theta": 5.0},
        dict.fromkeys(("rope_parameters", "rope_scaling"), {"rope_theta": 7.0, **LATE}),
    ],
)
@pytest.mark.parametrize(
    "changed", [None, LINEAR, LATE, {**LINEAR, "factor": 3.0}, GROWN, LONG | {"factor": 4.0}]
)
def test_another_scaling_is_written_so_that_it_is_read_again(config, changed):
    config = {"model_type": "toy", **copy.deepcopy(config)}
    arguments = MAP.arguments(config) | {"rope_scaling": changed}
    write_fields(ENTRIES, arguments, config)
    assert MAP.arguments(config) == arguments
    holders = [config.get(name) for name in ("rope_scaling", "rope_parameters")]
    assert changed is None or None in holders or holders[0] == holders[1]
    whole = {"model_type": "toy"}
    write_fields(ENTRIES, arguments, whole, complete=True)
    assert MAP.arguments(whole) == arguments


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"rope_scaling": {"type": "mrope"}}, "'rope_scaling.rope_type' is 'mrope'; computed here"),
        ({"rope_parameters": {"rope_type": 3}}, "'rope_parameters.rope_type' is 3"),
        ({"rope_parameters": [1]}, "it must be an object"),
        ({"rope_parameters": {**LINEAR, "factor": -1}}, "'rope_parameters': factor isn't"),
        (
            {"rope_parameters": {**LINEAR, "partial_rotary_factor": 0.5}},
            "partial_rotary_factor=0.5",
        ),
        ({"rope_parameters": LINEAR, "rope_scaling": LATE}, "remove one of them"),
    ],
)
def test_what_is_not_computed_is_refused_by_name(config, message):
    with pytest.raises(ConfigError, match=message):
        read(**config)


def test_a_scaling_of_another_length_than_the_models_isnt_written():
    config = {"model_type": "toy"}
    arguments = MAP.arguments(config) | {"rope_scaling": GROWN | {"max_position_embeddings": 7}}
    with pytest.raises(ConfigError, match="max_position_embeddings=7, and the model 2048"):
        write_fields(ENTRIES, arguments, config)


NEXT = (
    LENGTH,
    rotary_scaling("rope_scaling", types={"long": LONG_FIELDS}, check=check, length=LENGTH,
        spellings={"su": "long"},
        original=field("original_max_position_embeddings", "rope_scaling", 256)),
)  # fmt: skip


@pytest.mark.parametrize("given", [{}, {"original_max_position_embeddings": 512}])
def test_the_length_of_training_next_to_a_scaling_of_a_former_name_is_read(given):
    toy = ConfigMap(NEXT, model_type="toy")
    config = {"model_type": "toy", "rope_scaling": LONG | {"rope_type": "su"}, **given}
    length = given.get("original_max_position_embeddings", 256)  # whatever the scaling has
    found = {**LONG, "original_max_position_embeddings": length, "factor": 2048 / length}
    arguments = toy.arguments(config)
    assert arguments["rope_scaling"] == found
    before = copy.deepcopy(config)
    write_fields(NEXT, arguments, config)
    assert config == before
    changed = arguments | {"rope_scaling": found | {"original_max_position_embeddings": 128}}
    write_fields(NEXT, changed, config)
    assert config["original_max_position_embeddings"] == 128
    assert toy.arguments(config) == changed


AUTHORS = (
    LENGTH,
    rotary_scaling("rope_scaling", types={"late": ("factor",)}, check=check, length=LENGTH,
        holder="rope_scaling", type_name="type"),
)  # fmt: skip


@pytest.mark.parametrize("spelled", ["type", "rope_type"])
def test_the_name_of_the_type_is_read_in_either_spelling_and_written_in_the_formats(spelled):
    toy = ConfigMap(AUTHORS, model_type="toy")
    config = {"model_type": "toy", "rope_scaling": {spelled: "late", "factor": 2.0}}
    arguments = toy.arguments(config)
    assert arguments["rope_scaling"] == {"rope_type": "late", "factor": 2.0}
    before = copy.deepcopy(config)
    write_fields(AUTHORS, arguments, config)
    assert config == before
    changed = arguments | {"rope_scaling": {"rope_type": "late", "factor": 3.0}}
    write_fields(AUTHORS, changed, config)
    assert config["rope_scaling"] == {"type": "late", "factor": 3.0}
    new = {"model_type": "toy"}
    write_fields(AUTHORS, changed, new, complete=True)
    assert new["rope_scaling"] == {"type": "late", "factor": 3.0}
    assert toy.arguments(new) == changed
