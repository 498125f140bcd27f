"""`inarch` as a process: quick to help, quiet when cut off, on a backend that is there."""

import json
import os
import signal
import subprocess
import sys
import warnings

import pytest

from inarch import backend
from inarch.errors import InputError, MissingExtraError
from inarch.version import __version__

pytestmark = pytest.mark.turns(2)

COMMAND = [sys.executable, "-c", "from inarch.cli import main; main()"]


def start(*arguments, **options):
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


def ours(err):
    """Standard error without what TensorFlow's own logger writes as it starts."""
    chatter = ("WARNING: All log messages", "I0000 ", "To enable the following instructions")
    return [line for line in err.splitlines() if not line.startswith(chatter)]


def test_help_and_version_import_neither_keras_nor_numpy():
    code = (
        "import sys; sys.argv = ['inarch', '--help']\n"
        "try:\n    from inarch.cli import main; main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'keras', 'numpy', 'tokenizers', 'huggingface_hub'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_package_run_as_a_module_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "inarch", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"inarch {__version__}\n"


def test_vectors_of_a_pipe_come_out_of_the_pipe(checkpoints):
    process = start("embed", checkpoints["embedder"], "--json", stdin=subprocess.PIPE)
    out, err = process.communicate("the cat\na dog\n", timeout=120)
    assert (process.returncode, ours(err)) == (0, [])
    assert [len(row["vector"]) for row in json.loads(out)] == [16, 16]


def test_a_closed_pipe_is_no_error_message(checkpoints):
    process = start("embed", checkpoints["embedder"], "--json", *["the cat sat"] * 2000)
    process.stdout.close()
    err = process.stderr.read()
    process.wait(timeout=120)
    assert ours(err) == []


def test_an_interrupt_is_status_130_without_a_traceback():
    code = (
        "import signal, sys, time\n"
        # A shell's background ignores it, and so would the process.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from inarch.cli import main, text_run\n"
        "text_run.read_texts = lambda *_: (print('working', flush=True), time.sleep(600))\n"
        "sys.argv = ['inarch', 'embed', 'somewhere', 'a text']\n"
        "main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline() == "working\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """Pretend that just these backends are installed, and that Keras is configured for one."""

    def pretend(*names, configured=None, requested=None):
        monkeypatch.setattr(backend, "_installed", lambda name: name in names)
        monkeypatch.setenv("KERAS_HOME", str(tmp_path))
        monkeypatch.setenv("KERAS_BACKEND", requested or "")
        if configured:
            (tmp_path / "keras.json").write_text(json.dumps({"backend": configured}), "utf-8")

    return pretend


def test_the_backend_is_the_requested_one(installed):
    installed("jax", "torch", configured="jax", requested="torch")
    assert backend.choose_backend() == "torch"


def test_the_backend_is_else_the_configured_one_if_it_is_installed(installed):
    installed("jax", "torch", configured="torch")
    assert backend.choose_backend() == "torch"
    assert os.environ["KERAS_BACKEND"] == "torch"


def test_the_backend_is_else_one_that_is_installed(installed):
    installed("jax", configured="tensorflow")
    assert backend.choose_backend() == "jax"


def test_without_a_backend_the_error_names_the_extra_to_install(installed):
    installed()
    with pytest.raises(MissingExtraError, match=r"inarch\[jax\]"):
        backend.choose_backend()
    installed("jax", requested="torch")
    with pytest.raises(MissingExtraError, match=r"inarch\[torch\]"):
        backend.choose_backend()
    installed("jax", requested="theano")
    with pytest.raises(InputError, match="'theano'"):
        backend.choose_backend()


def test_a_command_imports_keras_without_what_it_does_not_use(installed, monkeypatch):
    installed("jax", "torch", requested="jax")
    optional = ("pandas", "requests", "torch")
    found = {}

    def importing(name):
        found.update({other: sys.modules.get(other, "can be imported") for other in optional})

    for name in ("keras", *optional):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(backend.importlib, "import_module", importing)
    assert backend.import_keras() == "jax"
    assert found == dict.fromkeys(optional)
    assert not sys.modules.keys() & {*optional}


@pytest.mark.parametrize("configured", ["tensorflow", None])
def test_the_library_takes_an_installed_backend_with_a_warning(configured, installed, monkeypatch):
    installed("torch", configured=configured)
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    with pytest.warns(UserWarning, match="is tensorflow, which isn't installed; torch is used"):
        backend.settle_backend()
    assert os.environ["KERAS_BACKEND"] == "torch"
    backend.settle_backend()  # warns once


def test_the_library_leaves_a_choice_that_can_be_kept(installed, monkeypatch):
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    for names, configured, requested in [
        (("jax", "torch"), "torch", ""), (("jax",), None, "torch"), ((), None, ""),
        (("jax", "tensorflow"), None, ""),
    ]:  # fmt: skip
        installed(*names, configured=configured, requested=requested)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            backend.settle_backend()
        assert os.environ["KERAS_BACKEND"] == requested
        if configured:
            os.remove(os.path.join(os.environ["KERAS_HOME"], "keras.json"))


def test_without_tensorflow_a_class_is_imported_with_one_line_of_warning(tmp_path):
    code = (
        "import importlib.util as util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, *r: None if name == 'tensorflow' else find(name, *r)\n"
        "from inarch import Tokenizer, TextEmbedder\n"
        "import keras\n"
        "print(keras.backend.backend())"
    )
    environment = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120,
        env=environment | {"KERAS_HOME": str(tmp_path)},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout in ("jax\n", "torch\n")
    assert run.stderr.count("which isn't installed") == 1
