"""A task is loaded from one save, whole, whatever another process saves meanwhile."""

import os

import numpy as np
import pytest

from inarch.checkpoints.io import publish, steady
from inarch.checkpoints.maps import transfer
from inarch.errors import FolderChangedError
from inarch.models.backbone import Backbone
from inarch.models.variables import get_value, named_variables
from inarch.tasks import TextEmbedder

from .conftest import make_backbone

pytestmark = pytest.mark.skipif(os.name == "nt", reason="folders aren't held open there")


def save(folder, seed):
    task = TextEmbedder(make_backbone(seed=seed), None, truncate_dim=seed)
    task.save_to_preset(folder)
    return task


def values(model):
    return {n: get_value(model, n, v) for n, v in named_variables(model).items()}


@pytest.mark.parametrize("kind", ["alone", "among other files"])
def test_a_load_that_a_save_disturbs_is_begun_anew(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(publish, "READERS_PATIENCE", 0)
    folder = tmp_path / "model"
    save(folder, 1)
    if kind != "alone":
        (folder / "README.md").write_text("mine")
    load, saved = transfer.load, []

    def disturbed(*args, **kwargs):
        if not saved:
            saved.append(save(folder, 2))
        return load(*args, **kwargs)

    monkeypatch.setattr(transfer, "load", disturbed)
    task = TextEmbedder.from_preset(folder, preprocessor=None)
    assert task.truncate_dim == 2
    expected = values(saved[0])
    for name, value in values(task).items():
        np.testing.assert_array_equal(value, expected[name])
    saved.clear()
    assert values(Backbone.from_preset(folder)).keys() == values(task.backbone).keys()


def test_a_load_that_is_disturbed_each_time_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(publish, "READERS_PATIENCE", 0)
    folder = tmp_path / "model"
    save(folder, 1)
    monkeypatch.setattr(steady, "ATTEMPTS", 2)
    load = transfer.load

    def disturbed(*args, **kwargs):
        save(folder, 2)
        return load(*args, **kwargs)

    monkeypatch.setattr(transfer, "load", disturbed)
    with pytest.raises(FolderChangedError, match="changed by another process while it was read"):
        Backbone.from_preset(folder)
