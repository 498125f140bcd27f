"""Files as other tools leave them: tied tensors under one name, and heads that no map has."""

import json
import warnings

import numpy as np
import pytest

from inarch.checkpoints.formats.files import SafetensorsFile, write_safetensors
from inarch.checkpoints.formats.weights import Shard, TensorInfo
from inarch.checkpoints.maps.entries import Tied
from inarch.models.backbone import Backbone
from inarch.models.loading import Checkpoint
from inarch.models.variables import named_variables
from inarch.tasks import MaskedLM, TextClassifier

from .models import ARCHITECTURES, TASKS, heads, stored, tiny_task


def tied_heads():
    for name, head, tie in heads():
        found = ARCHITECTURES[name].sources[0].heads[head]
        if tie and any(isinstance(e, Tied) for e in found.tied):
            yield pytest.param(ARCHITECTURES[name], head, TASKS[head], id=f"{name}-{head}")


def rewrite(folder, change):
    """Change the tensors of a folder's file by `change(arrays by name)`."""
    path = folder / "model.safetensors"
    file = SafetensorsFile(path)
    arrays = {name: np.array(file.read(name)) for name in file.shard.tensors}
    file.close()
    arrays = change(arrays)
    infos = {name: TensorInfo("F32", a.shape) for name, a in arrays.items()}
    write_safetensors(path, Shard(path.name, infos, {"format": "pt"}), arrays.__getitem__)


@pytest.mark.turns(3)
@pytest.mark.parametrize(("architecture", "head", "task"), tied_heads())
def test_a_tied_tensor_is_read_and_written_under_its_other_name(architecture, head, task, tmp_path):
    source = architecture.sources[0]
    made = tiny_task(architecture, head)
    made.save_to_preset(tmp_path / "one")
    ties = [e for e in source.heads[head].tied if isinstance(e, Tied) and e.when is None]
    ties = ties or [e for e in source.heads[head].tied if isinstance(e, Tied)]
    other = {source.prefix + t.to[1:] if t.to[0] == "." else t.to: t.theirs[0] for t in ties}
    rewrite(tmp_path / "one", lambda arrays: {other.get(n, n): a for n, a in arrays.items()})
    assert set(other.values()) <= stored(tmp_path / "one").keys()
    assert stored(tmp_path / "one").keys().isdisjoint(other)
    again = task.from_preset(tmp_path / "one", preprocessor=None)
    values = {name: v.numpy() for name, v in named_variables(again).items()}
    for name, variable in named_variables(made).items():
        np.testing.assert_array_equal(values.pop(name), variable.numpy())
    assert not values
    for number, model in enumerate((again, Backbone.from_preset(tmp_path / "one"))):
        model.save_to_preset(tmp_path / f"out{number}")
        assert stored(tmp_path / f"out{number}") == stored(tmp_path / "one")


def tensorflow_name(name, ndim):
    """The name of transformers' TensorFlow variable for the PyTorch class's tensor."""
    *parts, last = name.replace("cls.", "mlm___cls.").split(".")
    parts = "/".join(parts).replace("layer/", "layer_._")
    if "norm" in parts.lower().rpartition("/")[2]:
        last = {"weight": "gamma", "bias": "beta"}[last]
    elif parts.endswith("rel_embeddings"):
        return f"tf_model/{parts}.weight:0"
    elif last == "weight" and "_embeddings" in parts and not parts.endswith("word_embeddings"):
        last = "embeddings"
    elif last == "weight" and ndim > 1 and "embeddings" not in parts and "embed_" not in parts:
        last = "kernel"
    return "/".join(filter(None, ("tf_model", parts, f"{last}:0")))


@pytest.mark.turns(3)
@pytest.mark.parametrize(("architecture", "head", "task"), tied_heads())
def test_a_tensorflow_file_is_read_as_the_pytorch_one(architecture, head, task, tmp_path):
    h5py = pytest.importorskip("h5py")
    made = tiny_task(architecture, head)
    made.save_to_preset(tmp_path / "one")
    expected = stored(tmp_path / "one")
    path = tmp_path / "one/model.safetensors"
    file = SafetensorsFile(path)
    with h5py.File(tmp_path / "one/tf_model.h5", "w") as h5:
        h5.attrs["layer_names"] = [b"all"]
        group = h5.create_group("all")
        arrays = {}
        for name in file.shard.tensors:
            array = file.read(name)
            key = tensorflow_name(name, array.ndim)
            arrays[key] = array.T if key.endswith("/kernel:0") else array
        group.attrs["weight_names"] = [key.encode() for key in arrays]
        for key, array in arrays.items():
            group[key] = array
    file.close()
    path.unlink()
    again = task.from_preset(tmp_path / "one", preprocessor=None)
    again.save_to_preset(tmp_path / "two")
    assert stored(tmp_path / "two") == expected
    assert (tmp_path / "two/model.safetensors").is_file()
    again.save_to_preset(tmp_path / "one")
    assert not (tmp_path / "one/tf_model.h5").exists()


@pytest.fixture
def strange(tmp_path):
    """A BERT with a head of someone's own, and that head's tensors."""
    own = {
        "my_head.weight": np.arange(6, dtype="float32"),
        "my_head.norm.bias": np.arange(3, dtype="float32"),
    }
    tiny_task(ARCHITECTURES["bert"], "masked_lm").save_to_preset(tmp_path / "one")
    rewrite(tmp_path / "one", lambda arrays: arrays | own)
    return tmp_path / "one", own


@pytest.mark.parametrize("cls", [Backbone, MaskedLM])
def test_tensors_of_an_unknown_head_are_kept_with_a_warning(cls, strange, tmp_path):
    folder, own = strange
    options = {} if cls is Backbone else {"preprocessor": None}
    with pytest.warns(UserWarning, match=r"head that isn't known: my_head\.norm\.bias, my_head\.w"):
        model = cls.from_preset(folder, **options)
    assert own.keys() <= model.passthrough.keys()
    model.save_to_preset(tmp_path / "two")
    assert stored(tmp_path / "two") == stored(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Checkpoint(folder) as checkpoint:
            assert own.keys() <= checkpoint.prove().passthrough.keys()


def test_a_missing_head_and_an_unknown_one_are_named_in_one_warning(strange):
    folder, _ = strange
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for named in ("BertForSequenceClassification", "BertForMine"):
        path.write_text(json.dumps(config | {"architectures": [named]}))
        with pytest.warns(UserWarning, match=r"logits/kernel.*my_head\.weight") as caught:
            task = TextClassifier.from_preset(folder, preprocessor=None)
        assert len(caught) == 1
        assert "logits/kernel" in task.fresh_weights
