"""Every architecture computes what the reference computed, by its golden file and without torch."""

import dataclasses
import functools
import json
import re
from pathlib import Path

import numpy as np
import pytest

from inarch.checkpoints.maps.config import field, must_be
from inarch.checkpoints.maps.config_map import write_fields
from inarch.checkpoints.maps.fields import Field
from inarch.models import registry
from inarch.models.backbone import Backbone
from inarch.models.variables import named_variables
from inarch.port.laws import other_defaults
from inarch.verify.compare import verify
from inarch.verify.config_account import unaccounted, unread
from inarch.verify.golden import LIMIT, Golden
from inarch.verify.inputs import covering_inputs
from inarch.verify.trace import layers_of
from inarch.workflows.verification import GOLDEN_HEADS, verify_golden

from .models import shared

FOLDER = Path(__file__).parents[1] / "golden"


def path_of(name):
    return FOLDER / f"{name}.safetensors"


def in_turn(name, architecture):
    """The first format of a folder is tested on every backend, the others of its graph in turns."""
    return name if name == architecture.name else pytest.param(name, marks=pytest.mark.turns(3))


@pytest.fixture(params=[in_turn(*item) for item in sorted(registry.goldens().items())])
def name(request):
    return request.param


@pytest.fixture
def architecture(name):
    return registry.goldens()[name]


@pytest.fixture
def golden(name):
    path = path_of(name)
    assert path.is_file(), f"write it: inarch verify --golden {name}"
    return Golden.read(path)


@functools.cache
def verified(name, measures_coverage=False):
    return verify_golden(path_of(name), measures_coverage=measures_coverage)


def examined(golden, folder, change=lambda model: None):
    golden.unpack(folder)
    model = Backbone.from_preset(folder)
    change(model)
    return verify(model, golden.runs[""])


def test_ours_is_the_reference_function(name, architecture, golden):
    report = verified(name)
    assert report.findings == ()
    assert golden.model_type == architecture.model_types[0]
    assert report.title == f"{architecture.class_name} ({golden.model_type})"
    assert report.worst < report.threshold
    layers = {m.layer for m in report.measures}
    assert "" in layers
    blocks = [x.name for x in shared(architecture.name).layers if re.search(r"layer_\d+$", x.name)]
    assert blocks
    assert {*blocks} <= layers
    for agreement in report.outputs.values():
        assert agreement.top1 == 1
        assert agreement.max_kl < 1e-9


@pytest.mark.turns(3)  # coverage takes as long as all else
def test_its_inputs_reach_every_row_or_there_is_a_reason(name, architecture, golden, tmp_path):
    report = verified(name, measures_coverage=True)
    assert report.requires_coverage
    has_tables = any(declared.rows for declared in architecture.inputs.values())
    assert report.coverage or not has_tables
    assert report.unreached == ()
    for part in report.coverage:
        assert {*part.reasons} == {*part.untouched}  # no reason is out of date
    named = {f"{entry.layer}/embeddings" for entry in architecture.unreached if entry.rows}
    named |= {entry.layer for entry in architecture.unreached if entry.branches}
    assert named <= {part.place for part in report.coverage}
    golden.unpack(tmp_path)
    made = covering_inputs(Backbone.from_preset(tmp_path), golden.runs[""].inputs)
    assert made.keys() == golden.covering.inputs.keys()
    for name, array in made.items():
        np.testing.assert_array_equal(golden.covering.inputs[name], array)


@pytest.mark.turns(3)
def test_the_golden_file_covers_every_variable_and_head(name, architecture, golden, tmp_path):
    heads = {*GOLDEN_HEADS} & architecture.sources[0].heads.keys()
    assert golden.runs.keys() == {"", *heads}
    assert path_of(name).stat().st_size <= LIMIT
    golden.unpack(tmp_path)
    model = Backbone.from_preset(tmp_path)
    outputs = [m.layer for m in verified(name).measures if m.role == "output"]
    bare = {layer for layer in outputs if ": " not in layer}
    holders = {name.rpartition("/")[0] for name in named_variables(model)}
    # What the reference has as a buffer shows in the layers that take it.
    layers = layers_of(model)
    holders = {path for path in holders if getattr(layers[path], "pairs_with_module", True)}
    # So does what it multiplies within one module, which is compared as a whole, or shows in what
    # its output layer is given.
    within = {p: getattr(layer, "parts_within", ()) for p, layer in layers.items()}
    parts = {f"{path}/{part}" for path, names in within.items() for part in names}
    holders = holders - parts | {path for path, names in within.items() if "output" in names}
    # The reference's bare model may leave out an optional layer, which a head of it reads.
    assert holders - bare <= architecture.sources[0].optional_layers.keys()
    assert holders <= {layer.rpartition(": ")[2] for layer in outputs}


def test_its_weights_hide_nothing(golden):
    for name, value in golden.weights.items():
        assert value.dtype == "float32"
        # A kernel keeps the scale of its inputs, of which a head of sound has hundreds.
        inputs = value.shape[-1] if value.ndim > 1 else 1
        assert np.std(value) > min(0.1, 0.9 / inputs**0.5), name


def test_reading_and_writing_give_the_same_file(name, golden, tmp_path):
    golden.write(tmp_path / "again.safetensors")
    written = path_of(name).read_bytes()
    assert (tmp_path / "again.safetensors").read_bytes() == written


def test_our_defaults_are_the_reference(name, architecture, golden):
    # The constructor has the defaults of the first format.
    assert other_defaults(architecture, golden, is_first=name == architecture.name) == []


def test_every_field_that_the_reference_reads_is_accounted_for(architecture, golden):
    for source in architecture.sources:
        assert unaccounted(source, golden.reads) == [], "the config map needs an entry for each"


def test_every_field_of_the_map_is_read_or_has_its_reason(architecture, golden):
    for source in architecture.sources:
        assert unread(source, golden.reads) == [], "take it out of the config map, or say why not"


# --- what it must notice -----------------------------------------------------------------------


@pytest.mark.turns(3)
def test_it_notices_another_default_of_epsilon(architecture, golden, tmp_path, monkeypatch):
    source = architecture.sources[0]
    config = [
        dataclasses.replace(entry, default=entry.default + 2e-5)
        if isinstance(entry, Field) and "epsilon" in entry.ours
        else entry
        for entry in source.config
    ]
    changed = dataclasses.replace(source, config=type(source.config)(config))
    known = registry.architectures()[architecture.name]
    sources = tuple(changed if other is source else other for other in known.sources)
    assert changed in sources
    monkeypatch.setitem(vars(known), "sources", sources)
    in_graph = config == list(source.config)
    report = examined(golden, tmp_path, other_epsilons if in_graph else lambda model: None)
    assert report.findings
    assert not in_graph or "norm" in report.first.measure.layer


def other_epsilons(model):
    for layer in model._flatten_layers():
        if hasattr(layer, "epsilon"):
            layer.epsilon += 2e-5


@pytest.mark.turns(3)
def test_it_notices_a_nearby_activation(architecture, golden, tmp_path):
    fields = [e for e in architecture.sources[0].config if isinstance(e, Field)]
    entry = next((e for e in fields if e.ours == "activation"), None)
    if entry is None:
        pytest.skip(f"{architecture.name} has one activation")
    config = json.loads(golden.config_text)
    near = {"gelu": "gelu_approximate", "gelu_approximate": "gelu"}
    usual = entry.read(config)
    other = near.get(usual, "silu" if usual == "relu" else "relu")
    write_fields([entry], {"activation": other}, config)
    golden = dataclasses.replace(golden, config_text=json.dumps(config))
    report = examined(golden, tmp_path)
    assert re.search(r"layer_0/feed_forward(/|$)", report.first.layer)


@pytest.mark.turns(3)
def test_it_notices_an_attention_without_bias(architecture, golden, tmp_path):
    emptied = set()

    def change(model):
        for name, variable in named_variables(model).items():
            if "attention/" in name and name.endswith("bias"):
                variable.assign(np.zeros(variable.shape))
                path, part = name.rpartition("/")[0].rsplit("/", 1)
                is_whole = part in getattr(layers_of(model).get(path), "parts_within", ())
                emptied.add(path if is_whole else f"{path}/{part}")

    report = examined(golden, tmp_path, change)
    if not emptied:
        pytest.skip(f"{architecture.name} has no bias in its attention")
    assert {f.layer for f in report.findings} == emptied


def test_it_notices_a_field_that_the_map_leaves_out(architecture, golden):
    source = architecture.sources[0]
    heads = {entry.theirs for head in source.heads.values() for entry in head.config}
    for entry in source.config:
        if isinstance(entry, Field) and entry.theirs not in heads and not entry.reason:
            holder = entry.theirs.partition(".")[0]
            gone = [e for e in source.config if any(is_in(n, holder) for n in e.known_names)]
            others = [e for e in source.config if e not in gone]
            lines = unaccounted(dataclasses.replace(source, config=others), golden.reads)
            assert any(f"reads {holder!r}" in line for line in lines)
            names = {name.partition(".")[0] for e in gone for name in e.known_names}
            assert all(any(f"reads {name!r}" in line for name in names) for line in lines)


def is_in(name, holder):
    """Return whether a field is `holder`, or one of those within it."""
    return name.partition(".")[0] == holder


def test_it_notices_a_heads_field_that_the_map_leaves_out(golden):
    for head, fields in golden.reads.modeling.items():
        reads = dataclasses.replace(golden.reads, modeling={head: [*fields, "quirk"]})
        source = registry.by_model_type(json.loads(golden.config_text)["model_type"])[1]
        (line,) = unaccounted(source, reads)
        assert line == f"{f'head {head}' if head else 'the base model'} reads 'quirk'"


def test_it_notices_a_field_that_nobody_reads_and_one_without_its_alias(architecture, golden):
    source = architecture.sources[0]
    more = [
        *source.config,
        field("quirk", "quirk", 1),
        must_be("odd", 1),
        must_be("old", 1, reason="x"),
    ]
    assert unread(dataclasses.replace(source, config=more), golden.reads) == ["quirk", "odd"]
    bare = [
        dataclasses.replace(e, aliases=()) if isinstance(e, Field) else e for e in source.config
    ]
    lines = unaccounted(dataclasses.replace(source, config=bare), golden.reads)
    assert len(lines) == len(golden.reads.aliases)
