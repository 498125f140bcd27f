"""Laws of opening a checkpoint: whose format it is, and which fields of its config are ignored."""

import json
import os

import keras
import numpy as np
import pytest

from inarch.checkpoints.formats import files
from inarch.errors import (
    CheckpointFileError,
    ConfigError,
    FolderChangedError,
    InputError,
    InputTypeError,
)
from inarch.models.backbone import Backbone
from inarch.models.bert.backbone import BertBackbone
from inarch.models.electra.backbone import ElectraBackbone
from inarch.models.loading import Checkpoint
from inarch.models.roberta.backbone import RobertaBackbone
from inarch.tasks import MaskedLM, TextEmbedder

INPUTS = {"token_ids": [[3, 4, 5]], "padding_mask": [[1, 1, 1]], "segment_ids": [[0, 0, 0]]}
ODD = {"pre_trained": "", "cell": {}}


def make(cls, folder, task=None):
    keras.utils.set_random_seed(1)
    extra = {"embedding_dim": 8} if cls is ElectraBackbone else {}
    model = cls(
        30, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=12, max_sequence_length=16,
        **extra,
    )  # fmt: skip
    model = task(model) if task else model
    model.save_to_preset(folder)
    return model


def configure(folder, **fields):
    """Change fields of config.json; `...` removes one."""
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), **fields}
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not ...}, indent=1))


def numbers(model):
    inputs = {name: np.array(INPUTS[name], "int32") for name in model.input}
    outputs = model(inputs)
    sequence = outputs["sequence_output"] if isinstance(outputs, dict) else outputs
    return keras.ops.convert_to_numpy(sequence)


@pytest.fixture
def bare(tmp_path):
    """A folder of BERT without a head, whose config names neither type nor class."""
    make(BertBackbone, tmp_path / "bare")
    configure(tmp_path / "bare", model_type=..., architectures=...)
    return tmp_path / "bare"


# --- no model_type -----------------------------------------------------------------------------


def test_without_a_model_type_the_class_that_is_called_decides(bare, tmp_path):
    model = BertBackbone.from_preset(bare)
    other = RobertaBackbone.from_preset(bare, load_weights=False)
    assert (type(model), type(other)) == (BertBackbone, RobertaBackbone)
    model.save_to_preset(tmp_path / "again")  # which then declares its type
    np.testing.assert_array_equal(numbers(Backbone.from_preset(tmp_path / "again")), numbers(model))
    through = BertBackbone.from_config(model.get_config())
    assert through.layout.model_type == "bert"


@pytest.mark.parametrize(
    ("written", "model_type"),
    [
        ("BertForMaskedLM", "bert"), ("BertModel", "bert"), ("TFBertModel", "bert"),
        ("BertLMHeadModel", "bert"), ("BertForSomethingOfTheirOwn", "bert"),
    ],
)  # fmt: skip
def test_without_a_model_type_the_class_that_wrote_it_decides(written, model_type, bare, tmp_path):
    configure(bare, architectures=[written])
    for model in (Backbone.from_preset(bare), TextEmbedder.from_preset(bare, preprocessor=None)):
        assert model.save_to_preset(tmp_path / "again") is None
        config = json.loads((tmp_path / "again/config.json").read_text())
        assert config["model_type"] == model_type


def test_among_the_formats_of_a_class_the_one_that_wrote_it_is_taken(tmp_path):
    make(RobertaBackbone, tmp_path)
    configure(tmp_path, model_type=..., architectures=["CamembertForMaskedLM"])
    assert RobertaBackbone.from_preset(tmp_path).layout.model_type == "camembert"
    configure(tmp_path, architectures=...)
    assert RobertaBackbone.from_preset(tmp_path).layout.model_type == "roberta"


@pytest.mark.parametrize("cls", [BertBackbone, ElectraBackbone, RobertaBackbone])
def test_names_of_tensors_decide_where_one_architecture_alone_has_them(cls, tmp_path):
    make(cls, tmp_path, MaskedLM)
    named = numbers(Backbone.from_preset(tmp_path))
    configure(tmp_path, model_type=..., architectures=...)
    model = Backbone.from_preset(tmp_path)
    assert type(model) is cls
    np.testing.assert_array_equal(numbers(model), named)


def test_several_possible_types_are_listed_with_the_line_to_add(bare):
    with pytest.raises(ConfigError, match="bert and roberta and xlm-roberta") as refused:
        Backbone.from_preset(bare)
    for part in ('"model_type": "bert",', "RobertaBackbone.from_preset", "config.json"):
        assert part in str(refused.value)


def test_a_class_of_another_architecture_is_named(bare):
    configure(bare, architectures=["FalconForCausalLM"])
    with pytest.raises(ConfigError, match='FalconForCausalLM.*"model_type": "albert",'):
        Backbone.from_preset(bare)


def test_a_file_that_no_format_explains_is_refused_with_the_known_types(bare):
    configure(bare, num_hidden_layers=3)
    with pytest.raises(ConfigError, match="neither architectures nor the tensors.*distilbert"):
        Backbone.from_preset(bare)


def test_a_field_that_no_format_has_does_not_keep_the_tensors_from_deciding(tmp_path):
    make(ElectraBackbone, tmp_path, MaskedLM)
    configure(tmp_path, model_type=..., architectures=..., num_hidden_groups=1)
    with pytest.raises(ConfigError, match="num_hidden_groups=1.*--ignore-field num_hidden_groups"):
        Backbone.from_preset(tmp_path)
    model = Backbone.from_preset(tmp_path, ignore_fields=["num_hidden_groups"])
    assert type(model) is ElectraBackbone


def test_a_field_that_no_format_has_leaves_the_possible_types_as_they_are(bare):
    configure(bare, num_hidden_groups=1)
    with pytest.raises(ConfigError, match="bert and roberta and xlm-roberta"):
        Backbone.from_preset(bare)


def test_without_a_model_type_every_field_must_be_known(bare):
    configure(bare, **ODD)
    with pytest.raises(ConfigError, match="pre_trained=''.*ignore_fields") as refused:
        BertBackbone.from_preset(bare)
    assert '"model_type": "bert",' in str(refused.value)
    configure(bare, model_type="bert")
    BertBackbone.from_preset(bare)


# --- ignored fields ----------------------------------------------------------------------------


@pytest.mark.parametrize("task", [None, TextEmbedder])
def test_ignored_fields_are_ignored_again_in_what_is_saved(task, bare, tmp_path):
    configure(bare, model_type="bert", is_decoder=True, rope_theta=5.0)
    cls, options = (task, {"preprocessor": None}) if task else (BertBackbone, {})
    with pytest.raises(ConfigError):
        cls.from_preset(bare, **options)
    model = cls.from_preset(bare, ignore_fields=["is_decoder", "rope_theta"], **options)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for name, each in (("a", model), ("b", loaded), ("c", keras.models.clone_model(model))):
        each.save_to_preset(tmp_path / name)
        again = cls.from_preset(tmp_path / name, **options)
        assert again.layout.ignored == ("is_decoder", "rope_theta")
        config = json.loads((tmp_path / name / "config.json").read_text())
        assert (config["is_decoder"], config["rope_theta"]) == (True, 5.0)
    np.testing.assert_array_equal(numbers(loaded), numbers(model))


@pytest.mark.parametrize("name", ["hidden_size", "hidden_act", "id2label", "auto_map"])
def test_a_field_that_is_read_cannot_be_ignored(name, bare):
    configure(bare, model_type="bert")
    with pytest.raises(InputError, match=f"ignore_fields names '{name}'"):
        BertBackbone.from_preset(bare, ignore_fields=[name])


@pytest.mark.parametrize("name", ["hidden_size", "auto_map", "model_type", "quantization_config"])
def test_a_note_cannot_ignore_a_field_that_is_read(name, bare):
    configure(bare, model_type="bert", auto_map={"AutoModel": "own.Model"})
    (bare / "inarch.json").write_text(json.dumps({"ignore_fields": [name]}))
    with pytest.raises(CheckpointFileError, match=f"inarch.json: ignore_fields names '{name}'"):
        BertBackbone.from_preset(bare)


def test_what_a_note_ignores_is_warned_of_and_what_the_caller_repeats_is_not(bare):
    configure(bare, model_type="bert", position_embedding_type="relative_key", is_decoder=True)
    note = json.dumps({"ignore_fields": ["position_embedding_type", "is_decoder"]})
    (bare / "inarch.json").write_text(note)
    message = r"inarch.json.*config.json ignored: position_embedding_type='relative_key'\."
    with pytest.warns(UserWarning, match=message):
        BertBackbone.from_preset(bare, ignore_fields=["is_decoder"])


def test_an_ignored_field_that_is_not_there_is_reported(bare):
    with pytest.warns(UserWarning, match="ignore_fields names 'cel', which .*config.json"):
        BertBackbone.from_preset(bare, ignore_fields=["cel"])


@pytest.mark.parametrize("wrong", ["cell", 5, [5], None])
def test_ignored_fields_that_are_no_names_are_refused(wrong, bare):
    with pytest.raises(InputTypeError, match="ignore_fields is"):
        BertBackbone.from_preset(bare, ignore_fields=wrong)


@pytest.mark.parametrize("wrong", ["cell", [5], {"a": 1}])
def test_a_note_that_names_no_fields_is_refused_by_name(wrong, bare):
    (bare / "inarch.json").write_text(json.dumps({"ignore_fields": wrong}))
    with pytest.raises(CheckpointFileError, match="inarch.json: ignore_fields is"):
        BertBackbone.from_preset(bare)


# --- what fails while it is opened ----------------------------------------------------------------


@pytest.fixture
def opened(monkeypatch):
    """The weights that are opened from now on."""
    found = []
    open_weights = files.open_weights
    monkeypatch.setattr(
        files, "open_weights", lambda folder: found.append(open_weights(folder)) or found[-1]
    )
    return found


def test_weights_of_a_checkpoint_that_cannot_be_opened_are_closed(tmp_path, opened):
    make(BertBackbone, tmp_path / "model")
    with pytest.raises(InputError, match="hidden_size"):
        Checkpoint(tmp_path / "model", BertBackbone, ["hidden_size"])
    (weights,) = opened
    with pytest.raises(ValueError, match="closed"):
        weights.read(next(iter(weights.header)))


@pytest.mark.skipif(os.name == "nt", reason="folders aren't held open there")
def test_an_error_while_it_is_opened_names_another_process_where_there_was_one(
    tmp_path, monkeypatch
):
    make(BertBackbone, tmp_path / "model")

    def disturbed(folder):
        configure(folder, torn=1)
        raise CheckpointFileError("torn")

    monkeypatch.setattr(files, "open_weights", disturbed)
    with pytest.raises(FolderChangedError, match="changed by another process"):
        Checkpoint(tmp_path / "model")
