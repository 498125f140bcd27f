"""Laws of the front doors: a checkpoint is opened as what it was made for, by its files alone."""

import json
from collections import Counter

import numpy as np
import pytest

import inarch
import inarch.verify.report
from inarch.errors import CheckpointFileError, InputError
from inarch.models.bert.backbone import BertBackbone
from inarch.models.loading import Checkpoint
from inarch.tasks import MaskedLM, SpeechToText, TextClassifier, TextEmbedder, TokenClassifier
from inarch.workflows.presets import class_of, tasks, tasks_by_head

from ..speech.tiny_whisper import make_task, make_tokenizer
from ..tasks.conftest import learner

pytestmark = pytest.mark.turns(3)


@pytest.fixture
def saved(tmp_path, preprocessor):
    """A function that saves a new task of a class, and returns its folder."""

    def save(cls):
        own = {"num_classes": 2} if cls in (TextClassifier, TokenClassifier) else {}
        if cls is SpeechToText:
            task = make_task(make_tokenizer())
        else:
            task = cls(learner(), preprocessor=preprocessor, **own)
        task.save_to_preset(tmp_path / cls.__name__)
        return tmp_path / cls.__name__

    return save


def opened(folder):
    with Checkpoint(folder) as checkpoint:
        return class_of(checkpoint)


@pytest.mark.parametrize(
    "cls", [TextClassifier, TokenClassifier, TextEmbedder, MaskedLM, SpeechToText]
)
def test_a_saved_task_is_opened_as_that_task_also_without_our_own_file(cls, saved):
    folder = saved(cls)
    assert opened(folder) is cls
    (folder / "inarch.json").unlink()
    assert opened(folder) is cls


def test_load_gives_the_task_ready_for_text(saved):
    found = inarch.load(saved(TextEmbedder), truncate_dim=3)
    assert found.embed(["the cat"]).shape == (1, 3)


def test_a_bare_backbone_is_opened_as_its_class_and_takes_no_tokenizer(tmp_path, preprocessor):
    learner().save_to_preset(tmp_path / "bare")
    assert type(inarch.load(tmp_path / "bare", tokenizer=None)) is BertBackbone
    with pytest.raises(InputError, match=r"tokenizer is .* holds no task"):
        inarch.load(tmp_path / "bare", tokenizer=preprocessor.tokenizer)


def test_the_task_that_saved_a_folder_counts_as_long_as_its_head_is_there(saved):
    """Another program may have written a model of another kind over it."""
    folder = saved(MaskedLM)
    settings = json.loads((folder / "inarch.json").read_text())
    (folder / "inarch.json").write_text(json.dumps(settings | {"task": "TextClassifier"}))
    assert opened(folder) is MaskedLM
    (folder / "inarch.json").write_text(json.dumps(settings | {"task": "TextEmbedder"}))
    assert opened(folder) is TextEmbedder
    (folder / "inarch.json").write_text(json.dumps(settings | {"task": "os.system"}))
    assert opened(folder) is MaskedLM


def test_modules_of_sentence_vectors_count_before_a_head_and_must_be_readable(saved):
    folder = saved(MaskedLM)
    (folder / "inarch.json").unlink()
    kinds = ["Transformer", "Pooling"]
    modules = [
        {"idx": i, "name": str(i), "path": "", "type": f"sentence_transformers.models.{kind}"}
        for i, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    assert opened(folder) is TextEmbedder
    (folder / "modules.json").write_text(json.dumps(modules[:1]))
    assert opened(folder) is MaskedLM  # such as around a classifier, by CrossEncoder
    (folder / "modules.json").write_text("{")
    with pytest.raises(CheckpointFileError, match=r"modules\.json"):
        opened(folder)


def test_each_head_has_one_task_that_is_opened_for_the_head_alone():
    """A task that reads a head which another one owns defines `is_declared_by`."""
    heads = {task.head for task in tasks() if task.head}
    plain = [t.head for t in tasks() if t.head and "is_declared_by" not in vars(t)]
    assert Counter(plain) == Counter(heads)
    assert tasks_by_head().keys() == heads


def test_proof_and_export_say_what_they_found(saved, tmp_path):
    folder = saved(MaskedLM)
    proof = inarch.prove(folder)
    assert proof.tensors > 20
    assert repr(proof) == f"<Proof: {proof.in_words()}>"
    with Checkpoint(folder) as checkpoint:
        assert inarch.prove(checkpoint).elements == proof.elements
    done = inarch.export(folder, tmp_path / "copy")
    assert done.same
    assert done.through == "MaskedLM"
    assert repr(done).startswith(f"<Export: {proof.tensors} of {proof.tensors} tensors are byte-eq")


def test_verify_is_a_package_and_can_be_called(monkeypatch):
    from inarch.workflows import verification

    assert inarch.verify.report.THRESHOLD > 1
    monkeypatch.setattr(verification, "verify_checkpoint", lambda *a, **k: (a, k))
    assert inarch.verify("here", perturb=0) == (("here",), {"perturb": 0})


def test_a_report_says_whether_it_passed():
    measure = inarch.verify.report.Measure("layer_0", 0, "output", "m", (2,), 1.25, 1.0)
    report = inarch.verify.report.Report("BertModel", "here", {}, (measure,), model_type="bert")
    assert (
        repr(report) == "<Report of BertModel (bert): passed, 1 tensors, largest noise ratio 1.25>"
    )
    finding = inarch.verify.report.Finding("layer_0", measure)
    wrong = inarch.verify.report.Report("BertModel", "here", {}, (measure,), (finding,))
    assert repr(wrong).endswith("noise ratio 1.25, first at layer_0: its output>")
    assert np.isfinite(wrong.worst)
