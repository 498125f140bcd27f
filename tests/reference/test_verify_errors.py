"""Verification without a reference that can run: one line with the reason, no comparison."""

import dataclasses
import json
import logging
from copy import copy

import numpy as np
import pytest
from typer.testing import CliRunner

from inarch.checkpoints.formats.files import SafetensorsFile, write_safetensors
from inarch.checkpoints.formats.weights import DTYPES
from inarch.cli.app import app
from inarch.errors import ReferenceModelError
from inarch.models import registry
from inarch.verify import transformers_reference
from inarch.workflows import verification
from inarch.workflows.verification import golden_of, verify_checkpoint

from .conftest import torch, transformers

pytestmark = [pytest.mark.reference, pytest.mark.turns(3)]

ALLOCATOR = "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"


@pytest.fixture
def folder(write):
    return write("BertForMaskedLM").folder


def refused(folder):
    """Return the message of the command's one line, which is that of Python's error."""
    with pytest.raises(ReferenceModelError) as caught:
        verify_checkpoint(folder)
    result = CliRunner().invoke(app, ["verify", str(folder)])
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line == f"inarch: {caught.value}"
    return line


def raising(error):
    def call(*_, **__):
        raise error

    return call


class Without:
    """transformers without some of its names."""

    def __init__(self, *names):
        self.names = names

    def __getattr__(self, name):
        if name in self.names:
            raise AttributeError(name)
        return getattr(transformers, name)


# --- transformers doesn't know it --------------------------------------------------------------


def test_a_class_that_transformers_lacks_is_named(folder, monkeypatch):
    lacking = Without("BertForMaskedLM")
    monkeypatch.setattr(transformers_reference, "libraries", lambda: (torch, lacking))
    line = refused(folder)
    assert f"transformers {transformers.__version__} has no class BertForMaskedLM" in line
    with pytest.raises(ReferenceModelError, match="no class BertForMaskedLM"):
        golden_of(registry.architectures()["bert"])


def test_an_architecture_that_transformers_does_not_have_is_named(write, monkeypatch):
    message = "model type `bert` is not recognized.\n\nYou can update Transformers"
    load = raising(ValueError(message))
    monkeypatch.setattr(transformers.AutoModel, "from_pretrained", load)
    line = refused(write("BertModel").folder)
    assert "model type `bert` is not recognized" in line
    known = registry.architectures()["bert"]
    source, other = dataclasses.replace(known.sources[0], model_type="nonesuch"), copy(known)
    monkeypatch.setitem(vars(other), "sources", (source,))
    with pytest.raises(ReferenceModelError, match="doesn't know model_type 'nonesuch'"):
        golden_of(other)


class Odd(Exception):
    """Error of a library that is of no narrower built-in class."""


@pytest.mark.parametrize("error", [Odd("odd\nfile"), KeyError("odd"), TypeError("odd"), Odd()])
def test_whatever_loading_raises_is_one_line(error, folder, monkeypatch):
    monkeypatch.setattr(transformers.BertForMaskedLM, "from_pretrained", raising(error))
    line = refused(folder)
    assert str(folder) in line
    assert "odd" in line or "Odd" in line


def test_a_config_that_transformers_refuses_is_named(folder):
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config["initializer_range"] = "wide"  # nothing that inarch reads
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    assert "initializer_range" in refused(folder)


# --- there is nothing to compare with ----------------------------------------------------------


def spoil(folder, name, value):
    """Put a value into a tensor of the file."""
    path = folder / "model.safetensors"
    file = SafetensorsFile(path)
    arrays = {n: np.array(file.read(n)) for n in file.shard.tensors}
    assert arrays[name].dtype == DTYPES["F32"]
    arrays[name].flat[1] = value
    write_safetensors(path, file.shard, arrays.__getitem__)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("bert.encoder.layer.1.intermediate.dense.bias", "layer_1/feed_forward/up"),
        ("bert.encoder.layer.0.attention.output.LayerNorm.weight", "layer_0/attention_norm"),
        ("cls.predictions.transform.dense.bias", "masked_lm_head/transform"),
    ],
)
def test_weights_that_are_no_numbers_are_the_reference_at_their_layer(value, name, layer, folder):
    spoil(folder, name, value)
    line = refused(folder)
    assert "the reference itself gives values that aren't numbers" in line
    assert f"{layer} (" in line
    assert name.rpartition(".")[0] in line


# --- it can't run ------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["loading", "running"])
@pytest.mark.parametrize(
    "error",
    [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError(ALLOCATOR)],
    ids=lambda error: type(error).__name__,
)
def test_no_memory_for_the_reference_is_reported_with_the_way_out(
    error, stage, folder, monkeypatch
):
    cls = transformers.BertForMaskedLM
    name = "from_pretrained" if stage == "loading" else "forward"
    monkeypatch.setattr(cls, name, raising(error))
    line = refused(folder)
    assert "the reference ran out of memory" in line
    assert str(folder) in line
    assert "golden" in line


def test_a_report_is_not_lost_for_want_of_memory_for_its_coverage(folder, monkeypatch):
    monkeypatch.setattr(verification, "table_coverage", raising(RuntimeError(ALLOCATOR)))
    with pytest.warns(UserWarning, match="coverage of the inputs isn't measured"):
        report = verification.verify_checkpoint(folder)
    assert report.measures
    assert report.coverage == ()
    monkeypatch.setattr(verification, "table_coverage", raising(RuntimeError("another fault")))
    with pytest.raises(RuntimeError, match="another fault"):
        verification.verify_checkpoint(folder)


def test_whatever_stops_the_reference_is_one_line(folder, monkeypatch):
    error = RuntimeError("sizes don't match\nand much more")
    monkeypatch.setattr(transformers.BertForMaskedLM, "forward", raising(error))
    line = refused(folder)
    assert line.endswith(f"the reference can't run {folder}: sizes don't match")


def test_what_fails_on_our_side_is_not_the_reference(folder, monkeypatch):
    monkeypatch.setattr(transformers_reference.trace, "run", raising(RuntimeError("ours")))
    with pytest.raises(RuntimeError, match="^ours$"):
        verify_checkpoint(folder)


def test_transformers_logging_is_left_as_it_was(folder, monkeypatch):
    logger = logging.getLogger("transformers")
    transformers.logging.set_verbosity_error()
    before = logger.level
    monkeypatch.setattr(transformers.BertForMaskedLM, "from_pretrained", raising(OSError("odd")))
    refused(folder)
    assert logger.level == before
