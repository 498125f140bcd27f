"""A name leads to a folder: on this machine, in the hub's cache, or on a hub (a loopback)."""

import hashlib
import json
import os
import subprocess
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants, utils

from inarch.checkpoints.formats.files import open_weights
from inarch.checkpoints.io.hub import Preset, fetch_headers, resolve
from inarch.errors import CheckpointFileError, PresetError
from inarch.files import sha256
from inarch.text import Tokenizer

from ..formats.test_files import write

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OLDER = "f" * 40
FILES = {
    "config.json": b'{"model_type": "bert"}',
    "vocab.txt": b"[PAD]\n",
    "1_Pooling/config.json": b"{}",
    "README.md": b"not wanted",
    "onnx/model.onnx": b"not wanted",
    "pytorch_model.bin": b"a pickle",
    "tf_model.h5": b"not wanted",
}


def presets(**changes):
    fields = {"hub": "owner/tiny", "licence": "mit", "parameters": 6, "description": "a test's"}
    names = ("bert_base_en", "bert_base_en_uncased", "distil_bert_base_en", "roberta_base_en")
    return {name: Preset(name=name, **{**fields, **changes}) for name in names}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub's library, and no way out."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    utils.disable_progress_bars()
    return tmp_path / "cache"


@pytest.fixture
def weights(tmp_path):
    (tmp_path / "written").mkdir()
    return write(tmp_path / "written", {"w": np.arange(6, dtype="float32")}).read_bytes()


def put_in_cache(cache, files, commit=COMMIT, ref="main"):
    """Lay files out as the hub's library does."""
    repo = cache / "models--owner--tiny"
    for name, content in files.items():
        path = repo / "snapshots" / commit / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (repo / "refs").mkdir(exist_ok=True)
    (repo / "refs" / ref).write_text(commit)
    return repo / "snapshots" / commit


# --- names -------------------------------------------------------------------------------------


def test_a_folder_is_itself(tmp_path, monkeypatch):
    assert resolve(tmp_path, {}) == tmp_path
    assert resolve(str(tmp_path), presets()) == tmp_path
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve("~", {}) == tmp_path


def test_a_folder_goes_before_a_preset_and_a_hub_id_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("bert_base_en", "owner/tiny"):
        (tmp_path / name).mkdir(parents=True)
        assert resolve(name, presets()).resolve() == tmp_path / name


def test_a_file_is_refused(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(PresetError, match="is a file; give the folder"):
        resolve(tmp_path / "model.safetensors", {})


def test_a_typo_offers_the_nearest_names():
    with pytest.raises(PresetError, match=r"did you mean .*bert_base_en_uncased") as error:
        resolve("bert_base_en_uncaesd", presets())
    assert "'bert_base_en_uncaesd'" in str(error.value)


@pytest.mark.parametrize(
    "name",
    [
        "", "zzzzzz", "/no/such/folder", "./no/such", "../no/such", "a/b/c", "a/b@", "~nobody/x",
        "a b/c", "x" * 5000, "nul\0", "owner/tiny@rev@rev", "https://hub/owner/tiny",
        "ümlaut",
    ],
)  # fmt: skip
def test_the_error_for_an_invalid_name_describes_a_valid_one(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PresetError, match="owner/name"):
        resolve(name, presets())


# --- offline -----------------------------------------------------------------------------------


def test_what_is_cached_is_found_offline_by_preset_and_by_hub_id(cache, weights):
    folder = put_in_cache(cache, {**FILES, "model.safetensors": weights})
    for name in ("bert_base_en", "owner/tiny", "owner/tiny@main", f"owner/tiny@{COMMIT}"):
        assert resolve(name, presets()) == folder
    with open_weights(resolve("owner/tiny", {})) as opened:
        assert list(opened.read("w")) == list(range(6))


def test_a_fresh_process_goes_by_the_environment(cache, weights):
    folder = put_in_cache(cache, {"model.safetensors": weights})
    code = "from inarch.checkpoints.io.hub import resolve; print(resolve('owner/tiny', {}))"
    environment = os.environ | {"HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert run.stdout.strip() == str(folder), run.stderr


def test_a_pinned_revision_is_the_one_that_is_taken(cache, weights):
    put_in_cache(cache, {"model.safetensors": weights})
    older = put_in_cache(cache, {"model.safetensors": weights}, OLDER, "v1")
    assert resolve("bert_base_en", presets(revision=OLDER)) == older
    assert resolve("owner/tiny@v1", presets()) == older
    with pytest.raises(CheckpointFileError, match="at revision 'eeee"):
        resolve("bert_base_en", presets(revision="e" * 40))


def test_offline_and_not_cached_names_the_way_out():
    for name in ("bert_base_en", "owner/tiny"):
        with pytest.raises(CheckpointFileError, match=r"'owner/tiny' .*give a folder") as error:
            resolve(name, presets())
        assert "HF_HUB_OFFLINE" in str(error.value)


def test_a_checksum_that_is_not_the_known_one_is_an_error(cache, weights):
    folder = put_in_cache(cache, {"model.safetensors": weights})
    known = {"model.safetensors": hashlib.sha256(weights).hexdigest()}
    assert resolve("bert_base_en", presets(sha256=known)) == folder
    (folder / "model.safetensors").write_bytes(weights[:-1] + b"\1")
    with pytest.raises(CheckpointFileError, match=rf"bert_base_en.*{known['model.safetensors']}"):
        resolve("bert_base_en", presets(sha256=known))
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointFileError, match=r"should have model\.safetensors"):
        resolve("bert_base_en", presets(sha256=known))


# --- a hub -------------------------------------------------------------------------------------


class Hub(BaseHTTPRequestHandler):
    """Hub with as much of the interface as fetching a repository takes."""

    files: dict[str, bytes]
    requests: list[str]
    broken: str | None

    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def answer(self, body):
        path = urllib.parse.unquote(urllib.parse.urlparse(self.path).path)
        self.requests.append(f"{self.command} {path}")
        if self.broken == "always":
            return self.reply(500, b"{}", body)
        if not path.removeprefix("/api/models").startswith("/owner/tiny"):
            return self.reply(401 if "/api/" in path else 404, b"{}", body, "RepoNotFound")
        if "/revision/" in path or path == "/api/models/owner/tiny":
            return self.revision(path.rpartition("/revision/")[2], body)
        if "/tree/" in path:
            tree = [
                {"type": "file", "path": n, "size": len(c), "oid": hashlib.sha1(c).hexdigest()}
                for n, c in self.files.items()
            ]
            return self.reply(200, json.dumps(tree).encode(), body)
        name = path.split("/resolve/")[1].partition("/")[2]
        content = self.files.get(name)
        if content is None:
            return self.reply(404, b"", body, "EntryNotFound")
        return self.reply(200, content, body, short=name == self.broken)

    def revision(self, revision, body):
        if revision not in ("main", COMMIT, "/api/models/owner/tiny"):
            return self.reply(404, b"{}", body, "RevisionNotFound")
        siblings = [{"rfilename": name} for name in self.files]
        value = {"id": "owner/tiny", "sha": COMMIT, "siblings": siblings, "private": False}
        return self.reply(200, json.dumps(value).encode(), body)

    def reply(self, status, content, body, error=None, short=False):
        wanted = self.headers.get("Range")
        if wanted and status == 200:
            first, last = map(int, wanted.removeprefix("bytes=").split("-"))
            status, content = 206, content[first : last + 1]
            self.requests[-1] += f" {wanted}"
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if error:
            self.send_header("X-Error-Code", error)
        self.end_headers()
        if body:
            self.wfile.write(content[: len(content) // 2] if short else content)

    def log_message(self, *args):
        """Log nothing."""


@pytest.fixture
def hub(monkeypatch, weights):
    """A hub on this machine that serves one repository."""
    handler = type("TestHub", (Hub,), {"files": dict(FILES), "requests": [], "broken": None})
    handler.files["model.safetensors"] = weights
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        endpoint + "/{repo_id}/resolve/{revision}/{filename}",
    )
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between attempts
    huggingface_hub.close_session()
    yield handler
    huggingface_hub.close_session()
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_headers_of_a_repository_are_fetched_without_its_weights(hub, cache):
    tensors, folder = fetch_headers("owner/tiny", {})
    assert tensors == {"w": {"dtype": "F32", "shape": [6]}}
    assert (folder / "config.json").read_bytes() == FILES["config.json"]
    assert not [*cache.rglob("*.safetensors")]
    asked = [r for r in hub.requests if r.startswith("GET") and "safetensors" in r]
    assert asked
    assert all("bytes=" in request for request in asked)
    assert fetch_headers("bert_base_en", presets(revision=COMMIT))[0] == tensors


def test_a_repository_without_headers_is_our_error(hub):
    del hub.files["model.safetensors"]
    with pytest.raises(CheckpointFileError, match="has no safetensors on the hub"):
        fetch_headers("owner/tiny", {})
    hub.files["model.safetensors"] = b"no safetensors at all, but long enough for a length"
    with pytest.raises(CheckpointFileError, match="can't be fetched"):
        fetch_headers("owner/tiny", {})
    with pytest.raises(PresetError):
        fetch_headers("nowhere at all", {})


def test_what_a_hub_has_is_fetched_once_without_what_is_not_wanted(hub, weights, monkeypatch):
    folder = resolve("owner/tiny", {})
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert found == {"config.json", "vocab.txt", "1_Pooling/config.json", "model.safetensors"}
    with open_weights(folder) as opened:
        assert list(opened.read("w")) == list(range(6))
    known = {"model.safetensors": hashlib.sha256(weights).hexdigest()}
    hub.requests.clear()
    assert resolve("bert_base_en", presets(revision=COMMIT, sha256=known)) == folder
    assert not any(request.startswith("GET /owner") for request in hub.requests)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert resolve("owner/tiny", {}) == folder


def test_no_weights_are_fetched_where_only_the_tokenizer_is_wanted(hub):
    folder = resolve("owner/tiny", {}, weights=False)
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert found == {"config.json", "vocab.txt", "1_Pooling/config.json"}
    digests = {"model.safetensors": "0" * 64, "vocab.txt": "0" * 64}
    with pytest.raises(CheckpointFileError, match="vocab.txt has not the checksum"):
        resolve("bert_base_en", presets(sha256=digests), weights=False)
    assert Tokenizer.from_preset("owner/tiny").pad_token_id == 0
    assert not any("safetensors" in request for request in hub.requests if "GET" in request)


def test_a_pickle_is_fetched_only_where_there_is_nothing_else(hub):
    del hub.files["model.safetensors"]
    folder = resolve("owner/tiny", {})
    assert (folder / "pytorch_model.bin").read_bytes() == FILES["pytorch_model.bin"]
    assert not (folder / "tf_model.h5").exists()


def test_a_whisper_in_ctranslate2_is_fetched_whole(hub):
    """Fetch a folder of the files that faster-whisper publishes."""
    wanted = {
        "config.json", "generation_config.json", "model.bin", "preprocessor_config.json",
        "tokenizer.json", "vocabulary.json", "vocabulary.txt",
    }  # fmt: skip
    hub.files = dict.fromkeys([*wanted, "README.md", ".gitattributes"], b"{}")
    folder = resolve("owner/tiny", {})
    assert {path.name for path in folder.iterdir()} == wanted


def test_no_other_format_is_fetched_where_there_is_safetensors(hub):
    hub.files |= {"model.bin": b"CTranslate2's", "normalizer.json": b"{}"}
    folder = resolve("owner/tiny", {})
    assert (folder / "normalizer.json").is_file()
    assert not (folder / "model.bin").exists()


def test_a_repository_or_a_revision_that_does_not_exist_is_reported_as_such(hub):
    with pytest.raises(PresetError, match="no hub repository 'owner/other'"):
        resolve("owner/other", {})
    with pytest.raises(PresetError, match="'owner/tiny' has no revision 'v9'"):
        resolve("owner/tiny@v9", {})
    with pytest.raises(PresetError, match="no hub repository"):
        resolve("-/-", {})


def test_a_hub_that_is_down_is_our_error_and_the_cache_still_serves(hub, cache, weights):
    hub.broken = "always"
    with pytest.raises(CheckpointFileError, match="'owner/tiny'"):
        resolve("owner/tiny", {})
    folder = put_in_cache(cache, {"model.safetensors": weights})
    assert resolve("owner/tiny", {}) == folder


def test_a_connection_lost_in_the_middle_of_a_file_is_our_error_and_mends(hub, weights):
    hub.broken = "model.safetensors"
    with pytest.raises(CheckpointFileError, match="'owner/tiny'"):
        resolve("owner/tiny", {})
    hub.broken = None
    folder = resolve("owner/tiny", {})
    assert sha256(folder / "model.safetensors") == hashlib.sha256(weights).hexdigest()


def test_a_full_disk_is_not_called_a_lost_connection(hub, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", full)
    with pytest.raises(CheckpointFileError, match="No space left on device"):
        resolve("owner/tiny", {})


@pytest.mark.parametrize("kind", ["pytorch_model.bin", "tf_model.h5"])
def test_weights_of_another_format_are_fetched_where_there_are_no_better_ones(kind, hub):
    better = ("model.safetensors", "pytorch_model.bin", "tf_model.h5")
    for name in better[: better.index(kind)]:
        hub.files.pop(name)
    hub.files["bpe.codes"] = b"a b 1"
    folder = resolve("owner/tiny", {})
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "vocab.txt", "bpe.codes", "1_Pooling", kind
    }  # fmt: skip
