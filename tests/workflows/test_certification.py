"""A certificate is computed again from its file alone, and what differs is named."""

import base64
import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import pytest
from typer.testing import CliRunner

from inarch.cli.app import app
from inarch.errors import CheckpointError, CheckpointFileError, InarchError, InputError
from inarch.models import registry
from inarch.models.bert.backbone import BertBackbone
from inarch.verify.certificate import Certificate, digest
from inarch.verify.golden import Golden
from inarch.workflows import certification, rechecking
from inarch.workflows.certification import certify
from inarch.workflows.rechecking import recheck
from inarch.workflows.verification import verify_golden

GOLDENS = Path(__file__).parents[1] / "golden"
PATH = GOLDENS / "distil_bert.safetensors"
TINY = Path(__file__).parents[2] / "docs" / "contribute" / "tiny"
FAULTS = 8
FIVE = ("albert", "deberta_v3", "gpt2", "qwen3", "whisper")


@pytest.fixture(scope="module")
def made():
    """The certificate of a golden file and of a checkpoint."""
    return certify(PATH, TINY, most_faults=FAULTS)


@pytest.fixture(scope="module")
def report():
    return verify_golden(PATH)


@pytest.fixture
def file(made, tmp_path):
    made.write(tmp_path / "certificate.json")
    return tmp_path / "certificate.json"


@pytest.fixture
def again(made, report, monkeypatch):
    """Have what is computed again at hand."""
    monkeypatch.setattr(rechecking, "verify_golden", lambda path: report)
    monkeypatch.setattr(rechecking, "compute", lambda *_: made)


def change(file, *, redigested=True, **values):
    """Put other values into a certificate, and its digest anew, as one who knows of it would."""
    plain = json.loads(file.read_text()) | values
    if redigested:
        del plain["digest"]
        plain["digest"] = digest(plain)
    file.write_text(json.dumps(plain))


def differences(found):
    return {part.name: part.differences for part in found.parts if part.differences}


# --- what it says ------------------------------------------------------------------------------


def test_it_holds_proof_noise_faults_versions_and_digests(made, file, report):
    plain = json.loads(file.read_text())
    assert plain["architecture"] == "distil_bert"
    assert plain["proofs"].keys() == {"", "masked_lm", "text_classifier"}
    assert plain["proofs"]["masked_lm"]["tensors"] == 41
    assert {"embeddings", "layer_0", "layer_1", "outputs"} <= plain["noise"].keys()
    assert all(0 <= row["ratio"] < 8 for row in plain["noise"].values())
    assert 0 < len(plain["faults"]) <= FAULTS < plain["fault_kinds"]
    assert all(ratio == "inf" or ratio > 8 for ratio in plain["faults"].values())
    backend = keras.backend.backend()
    assert plain["versions"]["backend"] == backend
    assert plain["versions"].keys() >= {
        "inarch", "keras", backend, "reference's torch", "reference's transformers"
    }  # fmt: skip
    assert plain["sources"].keys() >= {"backbone.py", "checkpoint.py", "presets.toml"}
    assert plain["sha256"].keys() == {
        "config", "weights", "inputs", "reference values", "measures"
    }  # fmt: skip
    assert plain["checkpoint"]["files"].keys() == {"config.json", "model.safetensors"}
    assert base64.b64decode(plain["golden"]) == PATH.read_bytes()
    assert Certificate.read(file) == made


def test_it_is_computed_again_from_the_file_alone(file, monkeypatch):
    for library in {"torch", "transformers"} - {keras.backend.backend()}:
        monkeypatch.setitem(sys.modules, library, None)
    found = recheck(file, TINY)
    assert differences(found) == {}
    assert found.passed
    assert all(part.was_run for part in found.parts)
    faults = next(part for part in found.parts if part.name == "faults")
    assert f"{len(found.stated.faults)} put in and caught" in faults.summary


def test_what_is_wrong_gets_none(monkeypatch):
    source = registry.architectures()["distil_bert"].sources[0]
    (entry,) = (e for e in source.config if getattr(e, "theirs", "") == "activation")
    monkeypatch.setitem(vars(entry), "default", "relu")
    with pytest.raises(CheckpointError, match="isn't what ours computes: .*ReLU"):
        certify(PATH)


# --- what differs ------------------------------------------------------------------------------


def test_a_file_that_was_changed_is_noticed_by_its_digest(file, again):
    change(file, redigested=False, command="inarch verify something else")
    assert differences(recheck(file, TINY)) == {
        "file": ("the file was changed after it was written",)
    }


@pytest.mark.parametrize(
    ("layer", "name", "value"), [("layer_0", "ratio", 0.4), ("outputs", "isolated", 1.01)]
)
def test_a_ratio_that_was_changed_is_named(layer, name, value, made, file, again):
    noise = {k: dict(row) for k, row in made.noise.items()}
    noise[layer][name] = value
    change(file, noise=noise)
    mine = made.noise[layer][name]
    said = f"{layer}: {name} is {value:g} in the certificate, and {mine:g} here"
    assert differences(recheck(file, TINY)) == {"noise": (said,)}


def test_where_another_machine_rounds_otherwise_ratios_agree_as_far_as_rounding_does(
    made, file, again
):
    noise = {k: {n: x * 1.5 for n, x in row.items()} for k, row in made.noise.items()}
    change(file, noise=noise, sha256={**made.sha256, "measures": "0" * 64})
    assert recheck(file, TINY).passed
    noise["layer_0"]["ratio"] = 7.5
    change(file, noise=noise)
    (line,) = differences(recheck(file, TINY))["noise"]
    assert line.startswith("layer_0: ratio is 7.5")


def test_layers_and_faults_that_are_not_there_are_named(made, file, again):
    noise = dict(made.noise) | {"layer_9": {"ratio": 1.0, "isolated": 1.0}}
    del noise["layer_1"]
    plain = json.loads(file.read_text())["faults"]
    first, *_ = plain
    change(file, noise=noise, faults=plain | {"a fault of mine": 100.0, first: 3.0}, fault_kinds=9)
    found = differences(recheck(file, TINY))
    assert found["noise"] == (
        "layer 'layer_1' is not in the certificate", "layer 'layer_9' is in the certificate alone"
    )  # fmt: skip
    assert "'a fault of mine' can't be put into this model" in found["faults"]
    assert (
        f"'{first}' is 3 in the certificate, which is no fault that was caught" in found["faults"]
    )
    assert f"of 9 kinds, and there are {made.fault_kinds} here" in found["faults"]


@pytest.mark.parametrize("part", ["sha256", "sources", "proofs", "versions", "tensors", "class"])
def test_each_other_part_that_was_changed_is_named(part, made, file, again):
    plain = json.loads(file.read_text())
    changes = {
        "sha256": {**plain["sha256"], "weights": "0" * 64},
        "sources": {**plain["sources"], "backbone.py": "0" * 64},
        "proofs": {**plain["proofs"], "": {**plain["proofs"][""], "elements": 7}},
        "versions": {**plain["versions"], "keras": "9.9"},
        "tensors": 7,
        "class": "BertBackbone",
    }
    change(file, **{part: changes[part]})
    found = recheck(file, TINY)
    names = {
        "sha256": ("digests", "weights"), "sources": ("sources", "backbone.py"),
        "proofs": ("proof", "''"), "tensors": ("subject", "tensors"),
        "class": ("subject", "class_name"),
    }  # fmt: skip
    if part == "versions":  # another version is no fault, and is said
        assert found.passed
        assert any("version 'keras': '9.9' in the certificate" in p.summary for p in found.parts)
        return
    where, what = names[part]
    (line,) = differences(found)[where]
    assert what in line


def test_another_checkpoint_is_not_that_of_the_certificate(file, again, tmp_path):
    copy = shutil.copytree(TINY, tmp_path / "copy")
    path = copy / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    (line,) = differences(recheck(file, copy))["checkpoint"]
    assert "'files'" in line
    keras.utils.set_random_seed(0)
    BertBackbone(9, 1, 1, 2, 3, max_sequence_length=4).save_to_preset(tmp_path / "bert")
    lines = differences(recheck(file, tmp_path / "bert"))["checkpoint"]
    assert lines[0] == "it is of bert, and the certificate of distil_bert"
    last = recheck(file).parts[-1]
    assert (last.was_run, last.summary) == (False, "not named, so not compared")


def test_a_golden_file_that_ours_does_not_compute_is_named_by_layer(made, tmp_path):
    """Notice weights that were changed in the golden file, and all digests with them."""
    golden = Golden.read(PATH)
    name = "distilbert.transformer.layer.1.ffn.lin1.bias"
    weights = {**golden.weights, name: golden.weights[name] + 0.5}
    replace(golden, weights=weights).write(tmp_path / "wrong.safetensors")
    wrong = replace(made, golden=(tmp_path / "wrong.safetensors").read_bytes(), checkpoint={})
    wrong.write(tmp_path / "wrong.json")
    found = differences(recheck(tmp_path / "wrong.json"))
    assert any("weights" in line for line in found["digests"])
    assert found["noise"][0].startswith("verification fails here: ")
    assert "layer_1" in "\n".join(found["noise"])


# --- files that are none -----------------------------------------------------------------------


def test_a_certificate_of_no_checkpoint_is_compared_with_none(made, tmp_path):
    replace(made, checkpoint={}).write(tmp_path / "plain.json")
    with pytest.raises(InputError, match="of no checkpoint"):
        recheck(tmp_path / "plain.json", TINY)


def test_a_checkpoint_of_another_architecture_gets_no_certificate(tmp_path):
    keras.utils.set_random_seed(0)
    BertBackbone(9, 1, 1, 2, 3, max_sequence_length=4).save_to_preset(tmp_path)
    with pytest.raises(InputError, match="is of bert, and the golden file of distil_bert"):
        certify(PATH, tmp_path, most_faults=0)


@pytest.mark.parametrize(
    "values",
    [
        {"format": "inarch certificate 0"},
        {"format": None},
        {"noise": {"layer_0": {"ratio": -1, "isolated": 1}}},
        {"noise": {"layer_0": {"ratio": math.nan, "isolated": 1}}},
        {"noise": {"layer_0": 1}},
        {"noise": []},
        {"faults": {"a": "many"}},
        {"faults": {"a": True}},
        {"golden": "no base64!"},
        {"golden": ""},
        {"golden": base64.b64encode(b"\xff" * 64).decode()},
        {"golden": base64.b64encode(PATH.read_bytes()[:-9]).decode()},
        {"golden": 7},
        {"fault_kinds": "many"},
        {"architecture": "\ud800"},
        {"sources": {"backbone.py": 7}},
        {"checkpoint": "none"},
    ],
)
def test_a_hostile_file_is_one_of_our_errors(values, file):
    change(file, **values)
    with pytest.raises(InarchError) as error:
        recheck(file, TINY)
    assert str(file) in str(error.value)


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"[" * 10_000, b'{"format": ' + b"9" * 99])
def test_a_file_of_no_object_is_one_of_our_errors(data, tmp_path):
    (tmp_path / "x.json").write_bytes(data)
    with pytest.raises(CheckpointFileError, match=r"x\.json"):
        recheck(tmp_path / "x.json")


def test_a_file_that_is_not_there_or_far_too_large_is_named(tmp_path):
    with pytest.raises(CheckpointFileError, match="does not exist"):
        recheck(tmp_path / "none.json")
    (tmp_path / "large.json").write_bytes(b" " * 2_000_000)
    with pytest.raises(CheckpointFileError, match="more than"):
        recheck(tmp_path / "large.json")


def test_a_field_that_is_missing_is_named(file):
    for name in ("noise", "golden", "digest", "checkpoint"):
        plain = json.loads(file.read_text())
        del plain[name]
        path = file.with_name("less.json")
        path.write_text(json.dumps(plain))
        with pytest.raises(CheckpointFileError, match=f"has no '{name}'"):
            recheck(path)


# --- the command -------------------------------------------------------------------------------


def test_the_command_writes_and_computes_again(made, again, monkeypatch, tmp_path):
    def run(*arguments):
        return CliRunner().invoke(app, ["verify", *map(str, arguments)])

    monkeypatch.setattr(certification, "certify", lambda *_, **__: made)
    path = tmp_path / "certificate.json"
    result = run(TINY, "--write-certificate", path, "--folder", GOLDENS)
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"inarch verify {TINY} --certificate {path}" in result.stdout
    result = run(TINY, "--certificate", path)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == f"{path} holds here"
    change(path, sources={})
    result = run("--certificate", path, "--json")
    assert result.exit_code == 1
    assert not json.loads(result.stdout)["passed"]
    result = run("--certificate", path)
    assert result.exit_code == 1
    assert "    file 'backbone.py' is not in the certificate" in result.stdout.splitlines()
    assert "– checkpoint  not named, so not compared" in result.stdout.splitlines()
    for wrong in (
        ("--certificate", path, "--write-certificate", path), ("--certificate", path, "--all"),
        ("--write-certificate", path), (PATH, "--write-certificate", tmp_path),
        (PATH, "--write-certificate", tmp_path / "none" / "x.json"),
        (PATH, "--write-certificate", path, "--json"), ("--golden", "--certificate", path),
    ):  # fmt: skip
        result = run(*wrong)
        assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)


CLEAN = """
import sys

class Away:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("torch", "transformers", "tensorflow"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Away())
from inarch.cli import main
sys.argv = ["inarch", "verify", "--certificate", *sys.argv[1:]]
main()
"""


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "jax", reason="torch is the reference's, and away")
@pytest.mark.parametrize("name", FIVE)
def test_a_certificate_holds_in_an_environment_without_the_reference(name, tmp_path):
    """Compute it again in a process that has none, in a folder that isn't the repository."""
    certify(GOLDENS / f"{name}.safetensors", most_faults=20).write(tmp_path / "certificate.json")
    done = subprocess.run(
        [sys.executable, "-c", CLEAN, "certificate.json"], cwd=tmp_path, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}, capture_output=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "certificate.json holds here" in done.stdout
