"""Laws of a task's public attributes: what can be set is in every file, all else can't be set."""

import inspect
import json

import keras
import numpy as np
import pytest

from inarch.errors import CheckpointFileError, InarchError, InputError, ReadOnlyError
from inarch.models.arguments import KERAS_ARGUMENTS, mutable_arguments
from inarch.models.bert.backbone import BertBackbone
from inarch.models.gpt2.backbone import GPT2Backbone
from inarch.tasks import (
    CausalLM,
    MaskedLM,
    MultiVectorEmbedder,
    MultiVectorPreprocessor,
    QuestionAnswerer,
    Reranker,
    SparseEmbedder,
    SpeechToText,
    TextClassifier,
    TextEmbedder,
    TextPreprocessor,
    TokenClassifier,
)
from inarch.tasks.settings_file import read_settings
from inarch.text import WordPieceTokenizer

from ..speech.tiny_whisper import make_task, make_tokenizer
from .conftest import VOCABULARY, learner

pytestmark = pytest.mark.turns(3)

# By attribute: another value than `make` gives, and one that can't be used.
VALUES = {
    "labels": (["no", "yes"], ["no"]),
    "problem_type": ("multi_label_classification", "guessing"),
    "activation_fn": ("tanh", "wings"),
    "thresholds": ([0.25, 0.75], 2),
    "prompts": ({"query": "the ", "passage": "cat "}, {"query": 3}),
    "default_prompt_name": ("query", "wings"),
    "similarity_fn_name": ("euclidean", "wings"),
    ("MultiVectorEmbedder", "similarity_fn_name"): ("meanmaxsim", "wings"),
    "truncate_dim": (3, 0),
    "max_active_dims": (3, 0),
    "query_length": (6, 0),
    "document_length": (8, 0),
    "query_expansion": (
        {"strategy": "min", "length": 5, "attend": True, "token": None},
        {"strategy": "odd"},
    ),
    "skiplist_words": ((".",), 3),
    "skiplist_tasks": (("query",), ["title"]),
    "mask_rate": (0.5, 2.0),
    "whole_word_mask": (True, "yes"),
    "generation": ({"suppress_tokens": [1]}, [1]),
    "language": ("de", "klingon"),
    "task": ("translate", "sing"),
    "sequence_length": (7, 0),
    "lowercase": (True, "yes"),
    "allow_special": (("[MASK]", "[UNK]"), "[MASK]"),
}
TASKS = (
    TextClassifier, Reranker, TokenClassifier, TextEmbedder, SparseEmbedder, MultiVectorEmbedder,
    MaskedLM, CausalLM, QuestionAnswerer, SpeechToText,
)  # fmt: skip


@pytest.fixture(scope="module", params=TASKS, ids=lambda cls: cls.__name__)
def cls(request):
    return request.param


def make(cls):
    if cls is SpeechToText:
        return make_task(make_tokenizer())
    own = {"num_classes": 2} if cls in (TextClassifier, Reranker, TokenClassifier) else {}
    tokenizer = WordPieceTokenizer(VOCABULARY)
    kind = MultiVectorPreprocessor if cls is MultiVectorEmbedder else TextPreprocessor
    preprocessor = kind(tokenizer, 20, prompts={"query": "the "})
    if cls is CausalLM:
        backbone = GPT2Backbone(len(VOCABULARY), 1, 2, 16, 24, max_sequence_length=20)
        return cls(backbone, preprocessor=preprocessor)
    return cls(learner(BertBackbone), preprocessor=preprocessor, **own)


def settings_of(model):
    """Every value that can be set on a task and on its preprocessor, by owner and name."""
    return {
        (owner, name): getattr(part, name)
        for owner, part in (("task", model), ("preprocessor", model.preprocessor))
        for name in mutable_arguments(type(part))
        if name != "preprocessor"
    }


def values_of(part, name):
    return VALUES.get((type(part).__name__, name)) or VALUES[name]


def change(model):
    for part in (model, model.preprocessor):
        for name in mutable_arguments(type(part)):
            if name != "preprocessor":
                setattr(part, name, values_of(part, name)[0])


def test_every_value_that_can_be_set_is_in_the_folder_the_file_and_the_clone(cls, tmp_path):
    model = make(cls)
    before = settings_of(model)
    change(model)
    after = settings_of(model)
    assert all(after[key] != before[key] for key in before)
    clone = keras.models.clone_model(model)
    model.save(tmp_path / "model.keras")
    model.save_to_preset(tmp_path / "folder")
    for again in (
        clone, cls.from_config(model.get_config()),
        keras.saving.load_model(tmp_path / "model.keras"),
    ):  # fmt: skip
        assert settings_of(again) == after
    found = settings_of(cls.from_preset(tmp_path / "folder"))
    if cls is SpeechToText:  # whose folder has all settings, not only those that were set
        all_settings = found["task", "generation"]
        found["task", "generation"] = {
            name: all_settings[name] for name in after["task", "generation"]
        }
    assert found == after
    # And none of them is another's.
    clone.preprocessor.sequence_length = 5
    assert settings_of(model) == after


def test_an_argument_is_given_before_the_folders(tmp_path):
    model = make(MaskedLM)
    model.mask_rate = 0.5
    model.save_to_preset(tmp_path)
    assert MaskedLM.from_preset(tmp_path).mask_rate == 0.5
    assert MaskedLM.from_preset(tmp_path, mask_rate=0.25).mask_rate == 0.25
    assert TextEmbedder.from_preset(tmp_path).preprocessor.allow_special == ()


def test_what_cannot_be_used_is_refused_when_it_is_set_and_changes_nothing(cls):
    model = make(cls)
    before = settings_of(model)
    for part in (model, model.preprocessor):
        for name in mutable_arguments(type(part)):
            wrong = 3 if name == "preprocessor" else values_of(part, name)[1]
            with pytest.raises(InarchError):
                setattr(part, name, wrong)
    assert settings_of(model) == before


def test_all_other_public_attributes_are_read_only(cls):
    model = make(cls)
    for part in (model, model.backbone, model.preprocessor):
        fixed = inspect.signature(type(part)).parameters.keys() - mutable_arguments(type(part))
        for name in fixed - KERAS_ARGUMENTS - {"kwargs"}:
            with pytest.raises(ReadOnlyError, match=f"{name} of a .* is fixed"):
                setattr(part, name, getattr(part, name, None))
    with pytest.raises(AttributeError, match="head belongs to the class"):
        model.head = None
    with pytest.raises(AttributeError, match="arguments .* can't be set"):
        model.arguments = {}
    with pytest.raises(TypeError):
        model.arguments["dropout"] = 0.5


@pytest.mark.parametrize("in_place", ["labels", "prompts"])
def test_a_value_spoilt_in_place_is_refused_when_it_is_saved(in_place, tmp_path):
    model = make(TextClassifier if in_place == "labels" else TextEmbedder)
    if in_place == "labels":
        model.labels.append("LABEL_0")
    else:
        model.preprocessor.prompts["query"] = 3
    with pytest.raises(InarchError, match=in_place):
        model.save(tmp_path / "model.keras")
    with pytest.raises(InarchError, match=in_place):
        model.save_to_preset(tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_a_default_prompt_must_be_one(tmp_path):
    model = make(TextEmbedder)
    with pytest.raises(InputError, match="default_prompt_name is 'passage'.*known: 'query'"):
        model.preprocessor.default_prompt_name = "passage"
    model.preprocessor.prompts["passage"] = "cat "
    model.preprocessor.default_prompt_name = "passage"
    alone = model.embed(["dog"])
    model.save_to_preset(tmp_path)
    np.testing.assert_array_equal(TextEmbedder.from_preset(tmp_path).embed(["dog"]), alone)


def test_a_subclass_that_fixes_an_argument_keeps_what_is_set():
    class Sentiment(TextClassifier):
        def __init__(self, backbone, preprocessor=None, **kwargs):
            super().__init__(backbone, 2, preprocessor, labels=["bad", "good"], **kwargs)

    model = Sentiment(learner())
    model.labels = ["dislike", "like"]
    assert Sentiment.from_config(model.get_config()).labels == ["dislike", "like"]
    assert keras.models.clone_model(model).labels == ["dislike", "like"]


@pytest.mark.parametrize("text", ['{"lowercase": 1}', '{"settings": []}', '{"allow_special": "a"}'])
def test_settings_of_another_kind_are_named_with_their_file(text, tmp_path):
    make(MaskedLM).save_to_preset(tmp_path)
    (tmp_path / "inarch.json").write_text(text)
    with pytest.raises(CheckpointFileError, match=r"inarch\.json.*must be"):
        MaskedLM.from_preset(tmp_path)


WRONG = {
    "dropout": ("0.1", -0.1, 1.5, True, [0.1], float("nan"), 10**39),
    "mask_rate": (2, {}), "whole_word_mask": (1,), "language": (3,),
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in WRONG.items() for v in values])
def test_an_argument_in_the_settings_is_named_with_their_file(name, value, tmp_path):
    settings = {"task": "TextClassifier", "settings": {name: value}}
    (tmp_path / "inarch.json").write_text(json.dumps(settings))
    with pytest.raises(CheckpointFileError, match=rf"inarch\.json: '{name}' is .*; it must be"):
        read_settings(tmp_path)
