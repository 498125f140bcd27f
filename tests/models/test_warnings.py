"""A warning points at the user's own line, whatever way it is reached."""

import inspect
import json
import warnings

import pytest

from inarch.models import registry
from inarch.models.backbone import Backbone
from inarch.models.loading import Checkpoint
from inarch.tasks import MaskedLM, TextClassifier
from inarch.workflows.presets import prove


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A BERT that names code of its repository's own, and has no head."""
    path = tmp_path_factory.mktemp("bert") / "folder"
    bert = registry.architectures()["bert"]
    bert.backbone(**bert.tiny).save_to_preset(path)
    config = json.loads((path / "config.json").read_text())
    config |= {"auto_map": {"AutoModel": "mine.Model"}}
    (path / "config.json").write_text(json.dumps(config))
    return path


def line():
    return inspect.currentframe().f_back.f_lineno


@pytest.mark.parametrize(
    "load",
    [
        lambda folder, **given: (Backbone.from_preset(folder, **given), line()),
        lambda folder, **given: (Checkpoint(folder, **given).__exit__(None, None, None), line()),
        lambda folder, **given: (MaskedLM.from_preset(folder, preprocessor=None, **given), line()),
        lambda folder, **given: (
            TextClassifier.from_preset(folder, num_classes=2, preprocessor=None, **given),
            line(),
        ),
    ],
    ids=["a backbone", "an opened checkpoint", "a task", "a task with labels"],
)
def test_a_warning_names_the_line_that_called_the_library(load, folder):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _, at = load(folder, ignore_fields=["wings"])
    assert any("ignore_fields names 'wings'" in str(w.message) for w in caught)
    for warning in caught:
        assert warning.filename == __file__
        assert at - 2 <= warning.lineno <= at, warning.message


def test_so_does_one_from_a_function_of_a_function(folder):
    def mine(checkpoint):
        return prove(checkpoint)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with Checkpoint(folder, ignore_fields=["wings"]) as checkpoint:
            mine(checkpoint)
    assert {w.filename for w in caught} == {__file__}
