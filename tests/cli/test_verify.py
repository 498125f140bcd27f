"""`inarch verify` without the reference: golden files, and everything that can go wrong."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest

from inarch.checkpoints.formats import files
from inarch.checkpoints.formats.weights import CODES, Shard, TensorInfo
from inarch.errors import MissingExtraError
from inarch.models import registry
from inarch.models.variables import named_variables
from inarch.verify.golden import Golden
from inarch.workflows import verification

from .test_errors import failure

pytestmark = pytest.mark.turns(2)

FOLDER = Path(__file__).parents[1] / "golden"
PATH = FOLDER / "bert.safetensors"


@pytest.fixture
def golden():
    return Golden.read(PATH)


@pytest.fixture
def copy(checkpoints, tmp_path):
    """A checkpoint to be spoilt."""
    return shutil.copytree(checkpoints["plain"], tmp_path / "copy")


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder for temporary folders."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def faulty(golden):
    """Another golden: a bias of the second layer has changed."""
    name = "bert.encoder.layer.1.intermediate.dense.bias"
    return dataclasses.replace(golden, weights={**golden.weights, name: golden.weights[name] + 0.5})


# --- the verdict -------------------------------------------------------------------------------


def test_what_is_right_passes(run, run_json):
    result = run("verify", PATH)
    assert (result.exit_code, result.stderr) == (0, "")
    report = run_json("verify", PATH)
    assert report["passed"]
    assert report["findings"] == []
    assert report["worst"] < report["threshold"]


def test_what_is_wrong_is_shown_at_its_place_and_is_status_1(run, golden, tmp_path):
    path, page = tmp_path / "wrong.safetensors", tmp_path / "page.html"
    faulty(golden).write(path)
    result = run("verify", path, "--html", page)
    assert (result.exit_code, result.stderr) == (1, "")
    assert "layer_1/feed_forward/up" in result.stdout
    assert "layer_1/feed_forward/up" in page.read_text("utf-8")
    result = run("verify", path, "--json")
    assert result.exit_code == 1
    assert {f["layer"] for f in json.loads(result.stdout)["findings"]} == {
        "layer_1/feed_forward/up"
    }


def test_numbers_that_are_none_are_a_finding_and_strict_json(run, monkeypatch):
    def build(checkpoint, head):
        model = whole(checkpoint, head)
        bias = named_variables(model)["layer_0/feed_forward/up/bias"]
        bias.assign(np.full(bias.shape, np.nan))
        return model

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    whole = verification.build
    monkeypatch.setattr(verification, "build", build)
    result = run("verify", PATH, "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout, parse_constant=refuse)
    (finding,) = report["findings"]
    assert finding["layer"] == "layer_0/feed_forward/up"
    assert "aren't numbers" in finding["diagnosis"]
    assert report["worst"] == "inf"


def test_a_checkpoint_has_the_golden_file_of_its_architecture(run_json, checkpoints):
    report = run_json(
        "verify", checkpoints["classifier"], "--against", "golden", "--folder", FOLDER
    )
    assert report["source"] == str(PATH)


# --- what can't be verified --------------------------------------------------------------------


@pytest.mark.parametrize("library", ["torch", "transformers"])
def test_without_the_reference_the_error_names_the_extra_to_install(
    library, run, checkpoints, monkeypatch
):
    if library == keras.backend.backend():
        pytest.skip("Keras itself runs on it")
    if library == "transformers":
        monkeypatch.setitem(sys.modules, "torch", sys.modules.get("torch", sys))
    monkeypatch.setitem(sys.modules, library, None)
    line = failure(run("verify", checkpoints["plain"], "--perturb", 0))
    assert f"{library} isn't installed" in line
    assert "inarch[verify]" in line
    assert library in failure(run("verify", "--golden", "bert"))
    with pytest.raises(MissingExtraError):
        verification.verify_checkpoint(checkpoints["plain"], perturb=0)


def test_a_folder_with_nothing_to_verify_is_reported(run):
    assert "nothing to verify" in failure(run("verify"))


@pytest.mark.parametrize("preset", ["bert_base_en_uncasd", "none.safetensors", "./none"])
def test_what_is_not_there_is_named(run, preset):
    assert preset.removeprefix("./") in failure(run("verify", preset))


def test_shapes_other_than_the_configs_are_all_named(run, copy):
    config = json.loads((copy / "config.json").read_text("utf-8"))
    config["intermediate_size"] = 33
    (copy / "config.json").write_text(json.dumps(config), "utf-8")
    line = failure(run("verify", copy))
    assert (
        "encoder.layer.0.intermediate.dense.weight (32, 16) for layer_0/feed_forward/up/kernel, "
        "where the file should have (33, 16)"
    ) in line
    assert "layer_1/feed_forward/down" in line


def test_a_truncated_checkpoint_is_named(run, copy):
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    assert str(path) in failure(run("verify", copy))


def test_a_folder_that_is_not_there_for_the_page_is_named_before_any_work(run, tmp_path):
    page = tmp_path / "none" / "page.html"
    line = failure(run("verify", "never looked for", "--html", page))
    assert str(page) in line
    assert "never looked for" not in line


def test_a_golden_file_that_is_not_there_is_named_with_the_way_out(run, checkpoints, tmp_path):
    arguments = ("--against", "golden", "--folder", tmp_path)
    line = failure(run("verify", checkpoints["plain"], *arguments))
    assert str(tmp_path / "bert.safetensors") in line
    assert "--golden" in line


def test_a_golden_file_of_another_architecture_is_refused_by_its_model_type(
    run, checkpoints, tmp_path
):
    shutil.copy(FOLDER / "distil_bert.safetensors", tmp_path / "bert.safetensors")
    arguments = ("--against", "golden", "--folder", tmp_path)
    line = failure(run("verify", checkpoints["plain"], *arguments))
    assert "bert.safetensors is of a model of model_type 'distilbert', and bert has bert" in line
    assert "inarch verify --golden bert --overwrite" in line


def test_weights_that_are_no_golden_file_are_distinguished_from_one(run, checkpoints):
    path = checkpoints["plain"] / "model.safetensors"
    line = failure(run("verify", path))
    assert str(path) in line
    assert "no golden file" in line


# --- cut off -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["golden", "perturbed"])
def test_an_interrupt_leaves_no_temporary_folder(kind, run, checkpoints, temporary, monkeypatch):
    def interrupted(*_, **__):
        assert [*temporary.iterdir()]
        raise KeyboardInterrupt

    monkeypatch.setattr(verification, "verify", interrupted)
    monkeypatch.setattr(verification, "reference_of", interrupted)
    arguments = (PATH,) if kind == "golden" else (checkpoints["plain"], "--perturb", 0)
    result = run("verify", *arguments)
    assert (result.exit_code, result.stdout) == (130, "")
    assert "Traceback" not in result.stderr
    assert [*temporary.iterdir()] == []


def test_ctrl_c_on_the_process_leaves_no_temporary_folder_and_no_traceback(tmp_path):
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from inarch.cli import main\n"
        "from inarch.workflows import verification\n"
        "verification.verify = lambda *_, **__: (print('working', flush=True), time.sleep(600))\n"
        f"sys.argv = ['inarch', 'verify', {str(PATH)!r}]\n"
        "main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], text=True, env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.readline() == "working\n"
    assert any((folder / "config.json").is_file() for folder in tmp_path.iterdir())
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert not any((folder / "config.json").is_file() for folder in tmp_path.iterdir())


# --- writing golden files ----------------------------------------------------------------------


@pytest.fixture
def fresh(monkeypatch):
    """Have the reference give a golden."""

    def give(golden):
        monkeypatch.setattr(verification, "golden_of", lambda architecture: golden)

    return give


def test_a_golden_file_of_an_unknown_architecture_is_refused_with_those_known(run, tmp_path):
    line = failure(run("verify", "--golden", "bertha", "--folder", tmp_path))
    assert "'bertha'" in line
    assert ", ".join(sorted(registry.goldens())) in line


def test_a_new_golden_file_is_written(run, fresh, golden, tmp_path):
    fresh(golden)
    result = run("verify", "--golden", "bert", "--folder", tmp_path / "new")
    assert (result.exit_code, result.stderr) == (0, "")
    assert (tmp_path / "new" / "bert.safetensors").read_bytes() == PATH.read_bytes()


def test_every_architecture_gets_its_golden_file(run, fresh, golden, tmp_path):
    fresh(golden)
    assert run("verify", "--golden", "--folder", tmp_path).exit_code == 0
    assert {p.name for p in tmp_path.iterdir()} == {p.name for p in FOLDER.glob("*.safetensors")}


def test_a_golden_file_that_nothing_changes_in_is_not_written(run, fresh, golden, tmp_path):
    path = tmp_path / "bert.safetensors"
    shutil.copy(PATH, path)
    before = path.stat()
    fresh(golden)
    result = run("verify", "--golden", "bert", "--folder", tmp_path)
    assert (result.exit_code, result.stdout) == (0, f"{path}: nothing changes\n")
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert path.stat().st_ino == before.st_ino


def test_writing_names_what_the_config_map_leaves_out(run, fresh, golden, tmp_path):
    modeling = golden.reads.modeling | {"text_classifier": ["classifier_dropout", "quirk"]}
    modeling[""] = [name for name in modeling[""] if name != "vocab_size"]
    fresh(dataclasses.replace(golden, reads=dataclasses.replace(golden.reads, modeling=modeling)))
    out = run("verify", "--golden", "bert", "--folder", tmp_path).stdout
    assert "bert: head text_classifier reads 'quirk'; the config map has no entry for it" in out
    assert "bert: the config map has 'vocab_size', which is never read" in out


def test_a_golden_file_that_differs_stays_unless_it_is_to_be_overwritten(
    run, fresh, golden, tmp_path
):
    path = tmp_path / "bert.safetensors"
    shutil.copy(PATH, path)
    fresh(faulty(golden))
    result = run("verify", "--golden", "bert", "--folder", tmp_path)
    assert result.exit_code == 1
    assert result.stdout == (
        f"{path}: weight bert.encoder.layer.1.intermediate.dense.bias changes by up to 5.0e-01\n"
    )
    (line,) = result.stderr.splitlines()
    assert str(path) in line
    assert "--overwrite" in line
    assert path.read_bytes() == PATH.read_bytes()

    result = run("verify", "--golden", "bert", "--folder", tmp_path, "--overwrite")
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"{path}: written" in result.stdout
    faulty(golden).write(tmp_path / "expected.safetensors")
    assert path.read_bytes() == (tmp_path / "expected.safetensors").read_bytes()


def test_a_golden_file_that_cannot_be_read_is_replaced_on_request(run, fresh, golden, tmp_path):
    path = tmp_path / "bert.safetensors"
    shard = Shard(path.name, {"a": TensorInfo(CODES[np.dtype("float32")], (1,))})
    files.write_safetensors(path, shard, lambda name: np.zeros(1, "float32"))
    before = path.read_bytes()
    fresh(golden)
    result = run("verify", "--golden", "bert", "--folder", tmp_path)
    assert result.exit_code == 1
    assert "no golden file" in result.stdout
    assert "--overwrite" in result.stderr
    assert path.read_bytes() == before
    assert run("verify", "--golden", "bert", "--folder", tmp_path, "--overwrite").exit_code == 0
    assert path.read_bytes() == PATH.read_bytes()


def test_goldens_are_written_into_a_folder_of_that_name_only_where_there_is_one(
    run, fresh, golden, tmp_path, monkeypatch
):
    fresh(golden)
    monkeypatch.chdir(tmp_path)
    result = run("verify", "--golden", "bert")
    assert result.exit_code == 1
    assert "no folder tests/golden" in result.stderr
    assert list(tmp_path.iterdir()) == []
