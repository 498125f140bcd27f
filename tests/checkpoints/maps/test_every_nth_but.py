"""A list of layers that aren't of a kind, and a step: there and back, as the file spells them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inarch.checkpoints.maps.config import every_nth, field
from inarch.checkpoints.maps.config_map import ConfigMap, write_fields
from inarch.checkpoints.maps.per_layer import EveryNthBut
from inarch.errors import ConfigError

LAYERS = field("layers", "num_layers", 4)
ENTRIES = (
    LAYERS,
    EveryNthBut("dense", "sparse_layers", None, layers=LAYERS,
        step=every_nth("step", True, False, 1, is_last=True)),
)  # fmt: skip
MAP = ConfigMap(ENTRIES, model_type="toy")


@given(
    layers=st.integers(1, 9),
    dense=st.none() | st.lists(st.integers(-2, 12), max_size=4),
    step=st.integers(1, 4),
    wanted=st.none() | st.lists(st.booleans(), min_size=9, max_size=9),
)
def test_each_layer_is_as_the_reference_has_it_and_comes_back(layers, dense, step, wanted):
    config = {"model_type": "toy", "layers": layers, "step": step, "dense": dense}
    arguments = MAP.arguments(config)
    assert arguments["sparse_layers"] == tuple(
        i not in (dense or []) and (i + 1) % step == 0 for i in range(layers)
    )
    before = dict(config)
    write_fields(ENTRIES, arguments, config)
    assert config == before
    changed = None if wanted is None else tuple(wanted[:layers])
    write_fields(ENTRIES, arguments | {"sparse_layers": changed}, config)
    assert MAP.arguments(config)["sparse_layers"] == (changed or (True,) * layers)


def test_without_either_field_all_are_of_the_kind():
    assert MAP.arguments({"model_type": "toy"})["sparse_layers"] == (True,) * 4


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"dense": 3}, "'dense' is 3; it must be a list of the numbers"),
        ({"dense": [True]}, "'dense' is .*True.*; it must be a list of the numbers"),
        ({"step": 0}, "'step' is 0; it must be a whole number"),
        ({"layers": 10**9}, "'layers' is 1,000,000,000; at most 10,000 layers"),
    ],
)
def test_what_is_no_such_list_is_refused_by_name(config, message):
    with pytest.raises(ConfigError, match=message):
        MAP.arguments({"model_type": "toy", **config})


def test_another_number_of_layers_is_refused_when_it_is_written():
    with pytest.raises(ConfigError, match="sparse_layers has 2 values, and there are 4 layers"):
        write_fields(ENTRIES, {"num_layers": 4, "sparse_layers": (True, False)}, {})
