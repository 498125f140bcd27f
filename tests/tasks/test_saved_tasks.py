"""Laws of tasks that are saved, loaded, cloned and interrupted."""

import _thread
import signal
import subprocess
import sys
import threading
from pathlib import Path

import keras
import numpy as np
import pytest

from inarch.tasks import MaskedLM, TextClassifier, TextEmbedder
from inarch.workflows.presets import load

from .conftest import LABELS, TEXTS, classifier, make_backbone, weights_of

pytestmark = pytest.mark.turns(3)


def tasks_of(preprocessor):
    return [
        TextEmbedder(make_backbone(), preprocessor, ["cls", "max"], True, "dot"),
        TextClassifier(make_backbone(), 3, preprocessor, labels=["x", "y", "z"], dropout=0.3),
        MaskedLM(make_backbone(pooler=False), preprocessor),
    ]


@pytest.mark.parametrize("number", range(3))
def test_a_preset_folder_and_a_keras_file_give_the_same_task(number, preprocessor, tmp_path):
    task = tasks_of(preprocessor)[number]
    expected = task.predict(TEXTS)
    task.save_to_preset(tmp_path / "preset")
    task.save(tmp_path / "task.keras")
    for again in (
        type(task).from_preset(tmp_path / "preset"),
        keras.saving.load_model(tmp_path / "task.keras"),
    ):
        assert type(again) is type(task)
        np.testing.assert_array_equal(again.predict(TEXTS), expected)
        for name in ("labels", "similarity_fn_name", "pooling", "normalize", "num_classes"):
            assert getattr(again, name, None) == getattr(task, name, None)
    clone = keras.models.clone_model(task)
    assert type(clone) is type(task)
    clone.set_weights(task.get_weights())
    np.testing.assert_array_equal(clone.predict(TEXTS), expected)


def test_a_task_saved_over_another_leaves_nothing_that_declares_the_former(preprocessor, tmp_path):
    dense = [{"type": "Dense", "out_features": 4, "activation_function": "tanh"}]
    embedder = TextEmbedder(make_backbone(), preprocessor, modules=dense)
    embedder.save_to_preset(tmp_path / "over")
    (tmp_path / "over" / "notes.txt").write_text("kept")
    for task in tasks_of(preprocessor)[1:]:
        task.save_to_preset(tmp_path / "over")
        task.save_to_preset(tmp_path / type(task).__name__)
        over, fresh = (
            {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
            for folder in (tmp_path / "over", tmp_path / type(task).__name__)
        )
        assert over == fresh | {Path("notes.txt")}
        assert type(load(tmp_path / "over")) is type(task)
        embedder.save_to_preset(tmp_path / "over")
    embedder.backbone.save_to_preset(tmp_path / "over")  # an encoder of the embedder that is there
    assert type(load(tmp_path / "over")) is TextEmbedder


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_low_precision_tasks_answer_in_float32(dtype, preprocessor, tmp_path):
    task = TextEmbedder(make_backbone(), preprocessor)
    task.save_to_preset(tmp_path)
    low = TextEmbedder.from_preset(tmp_path, dtype=dtype)
    assert low.predict(TEXTS).dtype == np.float32
    np.testing.assert_allclose(low.predict(TEXTS), task.predict(TEXTS), atol=0.15)
    low.fit([("cat", "dog")] * 4, verbose=0)


@pytest.mark.parametrize("task", [TextClassifier, TextEmbedder])
def test_a_changed_longest_sequence_is_kept(task, preprocessor, tmp_path):
    own = {"num_classes": 2} if task is TextClassifier else {}
    task(make_backbone(), preprocessor=preprocessor, **own).save_to_preset(tmp_path / "one")
    again = task.from_preset(tmp_path / "one")
    assert again.preprocessor.sequence_length == 20
    again.preprocessor.sequence_length = 6
    again.save_to_preset(tmp_path / "two")
    assert task.from_preset(tmp_path / "two").preprocessor.sequence_length == 6


def test_a_fitted_task_goes_on_from_its_keras_file(preprocessor, tmp_path):
    task = classifier(make_backbone(), preprocessor)
    task.compile(optimizer=keras.optimizers.SGD(0.25, momentum=0.5))
    task.fit(TEXTS, LABELS, verbose=0)
    task.save(tmp_path / "task.keras")
    again = keras.saving.load_model(tmp_path / "task.keras")
    assert float(again.optimizer.learning_rate) == 0.25
    assert int(again.optimizer.iterations) == int(task.optimizer.iterations)
    assert again.evaluate(TEXTS, LABELS, verbose=0) == task.evaluate(TEXTS, LABELS, verbose=0)
    again.fit(TEXTS, LABELS, verbose=0)


def test_a_keras_file_loads_in_a_new_process(preprocessor, tmp_path):
    task = classifier(make_backbone(), preprocessor)
    task.save(tmp_path / "task.keras")
    code = (
        "import keras, inarch, sys; "
        "print(keras.saving.load_model(sys.argv[1]).predict(['the cat']).shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "task.keras")], capture_output=True, text=True
    )
    assert "(1, 2)" in done.stdout, done.stderr[-500:]


@pytest.fixture
def heeding_ctrl_c():
    """Have Ctrl-C interrupt, also in the background of a shell, where it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeding_ctrl_c")
def test_ctrl_c_at_any_moment_leaves_whole_weights(preprocessor):
    task = classifier(make_backbone(), preprocessor)
    for delay in (0.1, 0.2, 0.5, 1.0):
        timer = threading.Timer(delay, _thread.interrupt_main)
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012
            timer.start()
            task.fit(TEXTS * 50, LABELS * 50, epochs=1000, batch_size=2, verbose=0)
        timer.join()
        assert np.isfinite(task.predict(TEXTS)).all()
        assert all(np.isfinite(w).all() for w in weights_of(task))
