"""Every architecture folder as such: its table, its maps and its size."""

import subprocess
import sys

import pytest

from inarch.checkpoints.maps.fields import Field
from inarch.errors import ConfigError
from inarch.models import registry
from inarch.port import laws

from .models import ARCHITECTURES, shared


@pytest.fixture(params=sorted(ARCHITECTURES))
def architecture(request):
    return ARCHITECTURES[request.param]


def test_no_file_of_the_folder_is_larger_than_it_may_be(architecture):
    assert laws.oversized(laws.folder_of(architecture)) == []


def test_no_mark_of_a_draft_is_left(architecture):
    assert laws.undecided(laws.folder_of(architecture)) == []


def test_every_format_that_the_folder_makes_is_its_own_and_in_its_table(architecture):
    assert laws.foreign_formats(architecture) == []
    assert tuple(source.model_type for source in architecture.sources) == architecture.model_types


def test_the_table_declares_every_input_of_the_model(architecture):
    model = shared(architecture.name)
    assert model.input.keys() <= architecture.inputs.keys()
    for name, declared in architecture.inputs.items():
        known = isinstance(declared.rows, int | None) or declared.rows in model.arguments
        assert known, name
        if declared.axes:
            assert sorted(declared.axes) == list(range(len(model.input[name].shape)))


def test_every_argument_is_in_the_config_map(architecture):
    assert laws.unmapped_arguments(architecture) == []


@pytest.mark.parametrize("value", [1.5, 2, -0.1, float("inf"), float("nan"), "0.1"])
def test_a_rate_of_dropout_beyond_its_bounds_is_refused_by_name(architecture, value):
    """Refuse it in the backbone and in every head, of every format."""
    tables = [s.config for s in architecture.sources]
    tables += [head.config for s in architecture.sources for head in s.heads.values()]
    rates = [e for table in tables for e in table if isinstance(e, Field) and "drop" in e.ours]
    assert rates
    for rate in rates:
        with pytest.raises(ConfigError) as error:
            rate.read({rate.theirs: value})
        message = f"{rate.theirs!r} has the unusable value {value!r}; it must be from 0 to 1"
        assert message in str(error.value)


def test_presets_are_complete(architecture):
    assert laws.faulty_presets(architecture) == []


def test_presets_have_the_names_that_kerasnlp_has():
    assert {
        "roberta_base_en", "roberta_large_en", "xlm_roberta_base_multi", "xlm_roberta_large_multi",
        "f_net_base_en", "f_net_large_en", "deberta_v3_extra_small_en", "deberta_v3_small_en",
        "deberta_v3_base_en", "deberta_v3_large_en", "deberta_v3_base_multi",
    } <= registry.presets().keys()  # fmt: skip


ALONE = """
import importlib, sys
for module in sys.argv[1:]:
    for name in [n for n in sys.modules if n.split(".")[0] == "inarch"]:
        del sys.modules[name]
    importlib.import_module(module)
"""


@pytest.mark.reference
@pytest.mark.turns(3)
@pytest.mark.parametrize("third", range(3))
def test_each_graph_can_be_the_first_thing_that_is_imported(third):
    modules = [a.backbone.__module__ for a in registry.architectures().values()]
    subprocess.run([sys.executable, "-c", ALONE, *modules[third::3]], check=True)
