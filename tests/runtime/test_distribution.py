"""Four virtual devices compute what one computes, whatever is cut over them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from inarch.errors import InputError
from inarch.runtime.distribution import batch_sharding

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="Keras distributes weights and batches on JAX alone"
)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Results of each way of distribution, by its name."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"
    command = [sys.executable, "-m", "tests.runtime.four_devices", tmp_path_factory.mktemp("four")]
    environment = {**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": str(ROOT)}
    environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # compiles in half the time
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-4000:]
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("way", ["data", "model"])
def test_fit_has_the_losses_of_one_device_with_a_partial_batch_too(found, way):
    for name in ("loss", "accuracy", "val_loss", "val_accuracy", "single step"):
        np.testing.assert_allclose(found[way][name], found["one"][name], rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(found[way]["after"], found["one"]["after"], rtol=1e-3, atol=1e-3)
    losses = found["one"]["loss"]
    assert losses[0] != losses[1]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["data", "model"])
def test_packed_texts_and_prepared_rows_have_the_outputs_of_one_device(found, way):
    for name in ("before", "rows"):
        np.testing.assert_allclose(found[way][name], found["one"][name], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["one"]["before"], found["one"]["rows"], rtol=1e-4, atol=1e-5)
    assert found[way]["generated"] == found["one"]["generated"]


@pytest.mark.slow
def test_weights_are_cut_by_model_parallelism_alone_and_saved_as_they_came(found):
    assert found["one"]["cut"] == found["data"]["cut"] == []
    cut = found["model"]["cut"]
    assert "layer_0/attention/query/kernel" in cut
    assert 0 < len(cut) < found["model"]["weights"]
    assert all(way["saved"] for way in found.values())


@pytest.mark.slow
def test_a_head_that_is_cut_gives_the_logits_of_one_device(found):
    for way in ("data", "model"):
        np.testing.assert_allclose(
            found[way]["logits"], found["one"]["logits"], rtol=1e-3, atol=1e-4
        )
    assert found["one"]["cut heads"] == found["data"]["cut heads"] == []
    assert found["model"]["cut heads"] == ["masked_lm_head/output_kernel"]


def test_a_partial_batch_of_several_processes_is_refused_with_the_way_out(monkeypatch):
    import jax

    class Divided:
        batch_dim_name = "batch"

        def get_data_layout(self, shape):
            sharding = SimpleNamespace(mesh=SimpleNamespace(shape={"batch": 4}))
            return SimpleNamespace(backend_layout=sharding)

    monkeypatch.setattr(jax, "process_count", lambda: 2)
    assert batch_sharding(Divided(), (6, 5)).mesh.shape == {"batch": 4}
    with pytest.raises(InputError, match="a batch of 3 rows .* 2 devices of a process.*drop_"):
        batch_sharding(Divided(), (3, 5))
