"""Laws of the registry: a folder is found by its table, imported alone, and owns what it makes."""

import json
import subprocess
import sys
from functools import cache

import keras
import pytest

import inarch.models
from inarch.errors import ConfigError
from inarch.models import registry
from inarch.models.bert.backbone import BertBackbone

TABLE = """
backbone = "CopyBackbone"
model_types = ["copy"]

[inputs]
token_ids = { reference = "input_ids", rows = "vocabulary_size" }
padding_mask = { reference = "attention_mask" }
segment_ids = { reference = "token_type_ids", rows = "num_segments" }

[tiny]
vocabulary_size = 5
num_layers = 1
num_heads = 1
hidden_dim = 2
intermediate_dim = 3
"""
BACKBONE = """
from inarch.models.bert.backbone import BertBackbone


class CopyBackbone(BertBackbone):
    def __init__(
        self, vocabulary_size, num_layers, num_heads, hidden_dim, intermediate_dim, **kwargs
    ):
        super().__init__(
            vocabulary_size, num_layers, num_heads, hidden_dim, intermediate_dim, **kwargs
        )
"""
IMPORTED = "from inarch.models.bert.checkpoint import HUGGING_FACE\n"
OWN = "import dataclasses\nCOPY = dataclasses.replace(HUGGING_FACE, model_type='copy')\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """`folder(table, checkpoint)`: an architecture `copy` that is there during a test."""
    monkeypatch.setattr(inarch.models, "__path__", [*inarch.models.__path__, str(tmp_path)])
    monkeypatch.setattr(registry, "architectures", cache(registry.architectures.__wrapped__))

    def make(table=TABLE, checkpoint=IMPORTED + OWN):
        path = tmp_path / "copy"
        path.mkdir()
        (path / "presets.toml").write_text(table)
        (path / "backbone.py").write_text(BACKBONE)
        (path / "checkpoint.py").write_text(checkpoint)
        return registry.architectures().get("copy")

    yield make
    for name in [name for name in sys.modules if name.startswith("inarch.models.copy")]:
        del sys.modules[name]


# --- what a folder owns ------------------------------------------------------------------------


def test_a_format_imported_by_name_from_a_relative_stays_the_relatives(folder):
    architecture = folder()
    assert [source.model_type for source in architecture.sources] == ["copy"]
    assert registry.by_model_type("bert")[0].name == "bert"
    assert registry.by_model_type("copy")[0] is architecture
    assert registry.of_backbone(architecture.backbone) is architecture


def test_a_folder_that_only_imports_a_relatives_format_is_refused_by_name(folder):
    architecture = folder(checkpoint=IMPORTED)
    with pytest.raises(ConfigError, match=r"'copy', of which checkpoint.py makes 0 .*it has bert"):
        _ = architecture.sources


def test_two_folders_cannot_have_one_model_type_or_preset(folder):
    with pytest.raises(ConfigError, match="model_types of bert and copy both have 'bert'"):
        folder(TABLE.replace('"copy"', '"copy", "bert"'))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('backbone = "CopyBackbone"\n', "", "copy/presets.toml has no 'backbone'; add it"),
        ("[tiny]", "[small]", "has no 'tiny'"),
        ("reference =", "refers =", "can't be read: .*refers"),
        ("= 5", "= ", "can't be read: .*line 11"),
    ],
)
def test_a_table_that_cannot_be_read_is_named_with_the_reason(folder, old, new, message):
    with pytest.raises(ConfigError, match=message):
        folder(TABLE.replace(old, new))


def test_the_error_for_a_missing_module_names_it(folder, tmp_path):
    architecture = folder()
    (tmp_path / "copy/checkpoint.py").unlink()
    with pytest.raises(ConfigError, match=r"copy has a presets.toml and no checkpoint.py; add it"):
        _ = architecture.sources


def test_a_class_in_a_folder_that_its_table_does_not_name_has_no_format():
    class Mine(keras.Model):
        pass

    with pytest.raises(ConfigError, match="Mine belongs to no architecture folder"):
        registry.of_backbone(Mine)
    assert registry.inputs_of(Mine) == {}


# --- one folder for one checkpoint -------------------------------------------------------------

LOADED = """
import json, sys, keras, inarch
{work}
parts = [name.split(".") for name in sys.modules if name.startswith("inarch.models.")]
graphs = {{p[2] for p in parts if p[3:] and p[3] != "decoder"}}
print(json.dumps(sorted(graphs)))
"""


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    path = tmp_path_factory.mktemp("bert")
    model = BertBackbone(**registry.architectures()["bert"].tiny)
    model.save_to_preset(path / "folder")
    model.save(path / "model.keras")
    return path


def folders_imported(work):
    code = LOADED.format(work=work)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_opening_a_checkpoint_imports_its_folder_alone(bert):
    work = f"inarch.Backbone.from_preset({str(bert / 'folder')!r}).save_to_preset('{bert}/again')"
    assert folders_imported(work) == ["bert"]


def test_a_keras_file_is_known_by_name_before_its_folder_is_imported(bert):
    work = f"assert keras.saving.load_model({str(bert / 'model.keras')!r}).name"
    assert folders_imported(work) == ["bert"]


def test_names_of_classes_and_presets_import_no_folder():
    work = "assert 'BertBackbone' in dir(inarch); from inarch.models import registry\n"
    work += "assert registry.presets()['bert_base_en'].hub"
    assert folders_imported(work) == []


def test_a_format_whose_graph_differs_has_a_golden_file_of_its_own():
    known, goldens = registry.architectures(), registry.goldens()
    assert goldens.keys() >= known.keys()
    for architecture in known.values():
        own = architecture.goldens()
        types = [t for golden in own.values() for t in golden.model_types]
        assert sorted(types) == sorted(architecture.model_types)
        assert {*architecture.variants} <= {*architecture.model_types[1:]}
        for name, golden in own.items():
            assert tuple(source.model_type for source in golden.sources) == golden.model_types
            assert golden.tiny == {**architecture.tiny, **architecture.variants.get(name, {})}
    assert goldens["qwen3"].tiny["query_key_norm"]
