"""A task's tokenizer and settings come from the source that the caller names."""

import json
import shutil

import numpy as np
import pytest

from inarch.errors import CheckpointFileError, InputError, InputTypeError, PresetError
from inarch.models.bert.backbone import BertBackbone
from inarch.models.variables import build_without_values, initialize, named_variables, set_value
from inarch.tasks import MaskedLM, TextClassifier, TextEmbedder, TextPreprocessor
from inarch.text import Tokenizer, WordPieceTokenizer

from ..tasks.conftest import VOCABULARY

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt")
TASKS = [MaskedLM, TextEmbedder, TextClassifier]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """`model/` without a tokenizer, `texts/` with one, and settings for sequences of 7 tokens."""
    root = tmp_path_factory.mktemp("folders")
    preprocessor = TextPreprocessor(WordPieceTokenizer(VOCABULARY), 7)

    def build():
        sizes = (len(VOCABULARY), 1, 2, 16, 24)
        return MaskedLM(BertBackbone(*sizes, max_sequence_length=20, pooler=False), preprocessor)

    model, waiting = build_without_values(build)
    for variable in named_variables(model).values():
        set_value(variable, np.zeros(tuple(variable.shape), "float32"))
    initialize(waiting)
    model.save_to_preset(root / "texts")
    shutil.copytree(root / "texts", root / "model")
    for name in (*TOKENIZER_FILES, "inarch.json"):
        (root / "model" / name).unlink()
    return root


def loaded(task, *args, **options):
    own = {"num_classes": 2} if task is TextClassifier else {}
    return task.from_preset(*args, load_weights=False, **own, **options)


@pytest.mark.parametrize("task", TASKS)
def test_a_tokenizer_is_taken_from_a_folder_or_as_it_is(task, folders):
    for given in (
        str(folders / "texts"),
        folders / "texts",
        Tokenizer.from_folder(folders / "texts"),
    ):
        found = loaded(task, folders / "model", tokenizer=given).preprocessor
        assert found.tokenizer.get_vocabulary() == VOCABULARY
        assert found.sequence_length == 20  # the model's, since its own folder has none
    assert loaded(task, folders / "model", tokenizer=given).preprocessor.tokenizer is given


@pytest.mark.parametrize("task", TASKS)
def test_a_preprocessor_is_taken_from_a_folder_with_its_settings(task, folders):
    for given in (str(folders / "texts"), folders / "texts"):
        found = loaded(task, folders / "model", preprocessor=given).preprocessor
        assert (found.tokenizer.get_vocabulary(), found.sequence_length) == (VOCABULARY, 7)


def test_what_was_given_is_saved_with_the_task(folders, tmp_path):
    loaded(MaskedLM, folders / "model", tokenizer=folders / "texts").save_to_preset(tmp_path / "a")
    assert loaded(MaskedLM, tmp_path / "a").preprocessor.tokenizer.get_vocabulary() == VOCABULARY


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"preprocessor": 5}, InputTypeError, "preprocessor is 5; give a TextPreprocessor"),
        ({"preprocessor": ["auto"]}, InputTypeError, "preprocessor is"),
        ({"preprocessor": WordPieceTokenizer(VOCABULARY)}, InputTypeError, "as tokenizer="),
        ({"tokenizer": 5}, InputTypeError, "tokenizer is 5; give a Tokenizer"),
        ({"tokenizer": "no such folder"}, PresetError, "no such folder"),
        ({"preprocessor": "no such folder"}, PresetError, "no such folder"),
        ({"preprocessor": None, "tokenizer": "texts"}, InputError, "give one of them"),
    ],
)
@pytest.mark.parametrize("task", TASKS)
def test_anything_else_is_an_error_before_the_checkpoint_is_opened(task, options, error, message):
    with pytest.raises(error, match=message):
        task.from_preset("a checkpoint that isn't there", **options)


def test_a_folder_without_a_tokenizer_names_the_ways_out_and_one_nearby(folders, tmp_path):
    for place in ("texts", "model/tokenizer"):
        root = tmp_path / place.replace("/", "-")
        shutil.copytree(folders / "model", root / "model")
        (root / place).mkdir(exist_ok=True)
        for name in TOKENIZER_FILES:
            shutil.copy(folders / "texts" / name, root / place / name)
        with pytest.raises(CheckpointFileError) as error:
            MaskedLM.from_preset(root / "model")
        for message in ("tokenizer=", "preprocessor=None", f"There is one in {root / place}."):
            assert message in str(error.value)
    shutil.move(root / "model/tokenizer/vocab.txt", root / "vocab.txt")
    shutil.rmtree(root / "model/tokenizer")
    with pytest.raises(CheckpointFileError, match=f"There is one in {root}\\."):
        MaskedLM.from_preset(root / "model")


def test_without_one_nearby_the_model_that_it_was_made_from_is_named(folders, tmp_path):
    folder = tmp_path / "alone/model"
    shutil.copytree(folders / "model", folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"_name_or_path": "an/original"}))
    with pytest.raises(CheckpointFileError, match="made from 'an/original'"):
        MaskedLM.from_preset(folder)
