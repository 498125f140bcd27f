"""Run a reader on files and report which of its properties doesn't hold.

Of a folder with anything in it, every reader ends well or in one of our errors, whose message is
printable and below 2 kB; nothing outside the folder is opened, nothing imported, run or connected
to, and neither time nor memory goes beyond a bound.
"""

from __future__ import annotations

import contextlib
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

from inarch import workflows
from inarch.audio import load_audio
from inarch.checkpoints.maps.layout import Layout
from inarch.checkpoints.maps.plan import match
from inarch.errors import InarchError
from inarch.json_fields import read_object
from inarch.models.loading import Checkpoint
from inarch.sentence_transformers import embedder_folder
from inarch.tasks.task import Task
from inarch.text import Tokenizer
from inarch.verify.golden import Golden

SECONDS, MEMORY, MESSAGE = 2.0, 1 << 30, 2048
# What no reader does. Modules that are imported late are so by the sound seeds, before all else.
FORBIDDEN = (
    "exec", "compile", "import", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn",
    "subprocess.Popen", "socket.connect", "socket.getaddrinfo", "socket.bind", "pickle.find_class",
    "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "shutil.rmtree",
)  # fmt: skip
# Python's own codecs, parts of PyAV, and how Cython finds where a warning comes from.
LIBRARY = Path(contextlib.__file__).parent
HARMLESS = ("'encodings.", "'av.", "b'_getframe()'")


def checkpoint(folder: Path) -> None:
    """All that is read of a checkpoint before a model is built, and every tensor."""
    files = [path for path in folder.iterdir() if path.suffix == ".pt"]
    with Checkpoint(files[0] if len(files) == 1 else folder) as opened:
        opened.read_sidecar("generation_config.json")
        opened.sidecar_texts()
        embedder_folder.read(opened.folder)
        found = workflows.class_of(opened)
        head = getattr(found, "head", None)
        arguments = opened.arguments()
        if issubclass(found, Task):
            found.arguments_of(opened, {})
        source, weights = opened.source, opened.weights
        match(
            source, weights.header, None, arguments, head, opened.tie_word_embeddings, str(folder)
        )
        for name in weights.header:
            weights.read(name)
            weights.release(name)


def model(folder: Path) -> None:
    """A whole model, its graph included."""
    with Checkpoint(folder) as opened:
        found = workflows.class_of(opened)
    if issubclass(found, Task):
        found.from_preset(folder, preprocessor=None)
    else:
        found.from_preset(folder)


def tokenizer(folder: Path) -> None:
    made = Tokenizer.from_folder(folder)
    made.encode("a the b", "ab")
    made.decode([0])
    made.get_config()


def state(folder: Path) -> None:
    """A tokenizer as a `.keras` file holds it."""
    Tokenizer.from_config(read_object(folder / "state.json"))


def sound(folder: Path) -> None:
    load_audio(folder / "sound")


def golden(folder: Path) -> None:
    Golden.read(folder / "golden.safetensors")


def layout(folder: Path) -> None:
    made = Layout.from_json(read_object(folder / "layout.json"))
    made.to_json()


READERS: dict[str, Callable[[Path], None]] = {
    f.__name__: f for f in (checkpoint, model, tokenizer, state, sound, golden, layout)
}


class TooSlow(BaseException):
    """The alarm of an input that would take forever."""


class Watch:
    """Recorder of events of Python that no reader causes, while it is on."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple) -> None:
        if self.folder is None:
            return
        if event == "open" and isinstance(args[0], str | bytes):
            path = Path(args[0].decode() if isinstance(args[0], bytes) else args[0])
            inside = path.resolve().is_relative_to(self.folder)
            if not inside and "site-packages" not in path.parts and LIBRARY not in path.parents:
                self.seen.append(f"opens {path}")
        elif event in FORBIDDEN and not _is_harmless(args):
            self.seen.append(f"{event} {str(args)[:80]}")

    @contextlib.contextmanager
    def on(self, folder: Path):
        self.seen, self.folder = [], folder.resolve()
        try:
            yield
        finally:
            self.folder = None


def _is_harmless(args: tuple) -> bool:
    """Return whether an event is of a module imported late, such as a codec of Python's."""
    code = args[0] if args else None
    is_module = (
        getattr(code, "co_name", "") == "<module>" and LIBRARY in Path(code.co_filename).parents
    )
    return is_module or any(word in str(args) for word in HARMLESS)


def _alarm(*_: object) -> None:
    raise TooSlow


class Driver:
    """Runner of inputs, each in a folder of its own."""

    def __init__(self) -> None:
        self._watch = Watch()
        self._root = Path(tempfile.mkdtemp(prefix="inarch-fuzz-"))
        self._count = 0
        signal.signal(signal.SIGALRM, _alarm)

    def close(self) -> None:
        shutil.rmtree(self._root, ignore_errors=True)

    def problem(self, reader: str, files: dict[str, bytes], watched: bool = True) -> str | None:
        """The property that doesn't hold, or None."""
        self._count += 1
        folder = self._root / str(self._count)
        for name, data in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begin = time.process_time()
        signal.setitimer(signal.ITIMER_REAL, 60)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with self._watch.on(folder):
                    READERS[reader](folder)
            found = None
        except InarchError as e:
            found = _message(str(e))
        except TooSlow:
            found = "takes more than a minute"
        except BaseException as e:
            if isinstance(e, KeyboardInterrupt | SystemExit):
                raise
            where = traceback.extract_tb(e.__traceback__)
            ours = [frame for frame in where if "/inarch/" in frame.filename]
            place = ours[-1] if ours else where[-1]
            name = Path(place.filename).name
            found = f"{type(e).__name__} at {name}:{place.lineno}: {str(e)[:200]!r}"
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        seconds = time.process_time() - begin
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        shutil.rmtree(folder, ignore_errors=True)
        if watched and self._watch.seen:
            return self._watch.seen[0]
        if found is None and seconds > SECONDS:
            found = f"takes {seconds:.1f} s"
        if found is None and grown > MEMORY:
            found = f"takes {grown:,} bytes"
        return found


def _message(text: str) -> str | None:
    if len(text.encode("utf-8", "surrogatepass")) >= MESSAGE:
        return f"a message of {len(text.encode()):,} bytes"
    odd = [c for c in text if not c.isprintable() and c != "\n"]
    return f"a message with {odd[0]!r}" if odd else None
