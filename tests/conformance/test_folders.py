"""Every architecture folder as such: its table, its maps and its size."""

import inspect
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from inarch.checkpoints.maps.author_formats import AuthorFormat
from inarch.checkpoints.maps.fields import Field, Mapped
from inarch.checkpoints.maps.source import Source
from inarch.errors import ConfigError
from inarch.models import registry

from .models import ARCHITECTURES, shared

MEASURE = Path(__file__).parents[2] / "benchmarks" / "architecture_size.py"


@pytest.fixture(params=sorted(ARCHITECTURES))
def architecture(request):
    return ARCHITECTURES[request.param]


def test_the_folder_is_short():
    """Measure the folder as the benchmarks do, whatever its formatting."""
    measure = runpy.run_path(str(MEASURE))
    folders = [path.parent for path in Path(registry.__file__).parent.glob(f"*/{registry.TABLE}")]
    sizes = {folder.name: measure["architecture_size"](folder) for folder in folders}
    assert sizes.keys() == ARCHITECTURES.keys()
    assert {name: size for name, size in sizes.items() if size > measure["MAX_SIZE"]} == {}


def test_every_format_that_the_folder_makes_is_in_its_table(architecture):
    """Leave no format out of the registry, and have none of another folder's."""
    others = {t for a in ARCHITECTURES.values() if a is not architecture for t in a.model_types}
    made = vars(architecture.module("checkpoint")).values()
    types = {value.model_type for value in made if isinstance(value, Source)}
    assert types - others == set(architecture.model_types)
    assert tuple(source.model_type for source in architecture.sources) == architecture.model_types
    names = [path.stem for path in Path(inspect.getfile(architecture.backbone)).parent.glob("*.py")]
    modules = [vars(architecture.module(name)) for name in names]
    formats = [v for module in modules for v in module.values() if isinstance(v, AuthorFormat)]
    own = [found for found in formats if found.table.model_type in architecture.model_types]
    assert {found.name for found in own} == {found.name for found in architecture.author_formats}


def test_the_table_declares_every_input_of_the_model(architecture):
    model = shared(architecture.name)
    assert model.input.keys() <= architecture.inputs.keys()
    for name, declared in architecture.inputs.items():
        assert declared.rows is None or declared.rows in model.arguments, name
        if declared.axes:
            assert sorted(declared.axes) == list(range(len(model.input[name].shape)))


def test_every_argument_is_in_the_config_map(architecture):
    signature = inspect.signature(architecture.backbone.__init__).parameters
    arguments = signature.keys() - {"self", "kwargs"}
    for source in architecture.sources:
        mapped = {e.ours for e in source.config if isinstance(e, Mapped)} | set(
            source.optional_layers
        )
        assert arguments == mapped


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
    assert architecture.presets, "presets.toml names at least one published checkpoint"
    for preset in architecture.presets.values():
        assert preset.hub.count("/") == 1
        assert preset.parameters > 0
        assert preset.licence
        assert preset.description


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
def test_each_graph_can_be_the_first_thing_that_is_imported():
    modules = [a.backbone.__module__ for a in registry.architectures().values()]
    subprocess.run([sys.executable, "-c", ALONE, *modules], check=True)
