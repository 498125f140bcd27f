"""Laws of model cards and of models on a hub, which is one on this machine."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub
import pytest
from huggingface_hub import constants

from inarch.checkpoints.io.hub import repository_of
from inarch.errors import CheckpointFileError, InputError, PresetError
from inarch.models.bert.backbone import BertBackbone
from inarch.models.gpt2.backbone import GPT2Backbone
from inarch.tasks import CausalLM, MultiVectorEmbedder, TextClassifier, TextEmbedder

LABELS = ["calm", "a `loud`\none"]
COMMIT = "f" * 40


def backbone():
    return BertBackbone(11, 1, 2, 8, 12, max_sequence_length=8)


@pytest.fixture(scope="module")
def model():
    return TextClassifier(backbone(), 2, labels=LABELS)


# --- cards -------------------------------------------------------------------------------------


def test_a_card_names_task_labels_and_how_to_load(model):
    card = model.model_card("owner/name")
    fence, fields, text = card.split("---\n")
    assert fence == ""
    assert fields.splitlines() == [
        "library_name: transformers", "pipeline_tag: text-classification", "tags: [inarch, keras]",
    ]  # fmt: skip
    assert '- labels: `"calm"`, `"a \'loud\'\\none"`\n' in text
    assert 'inarch.load("owner/name")' in text
    assert 'BertForSequenceClassification.from_pretrained("owner/name")' in text


def test_the_front_matter_names_what_the_hub_calls_task_and_library():
    gpt2 = CausalLM(GPT2Backbone(11, 1, 2, 8, 12, max_sequence_length=8))
    assert "pipeline_tag: text-generation\n" in gpt2.model_card()
    card = MultiVectorEmbedder(backbone()).model_card("a/b")
    assert 'import MultiVectorEncoder\n\nmodel = MultiVectorEncoder("a/b")\n' in card
    assert "library_name: sentence-transformers\npipeline_tag: feature-extraction\n" in card


def test_the_base_model_is_the_repository_in_the_hubs_cache(model, tmp_path):
    folder = tmp_path / "models--google-bert--bert-base-uncased" / "snapshots" / COMMIT
    model.save_to_preset(folder)
    assert repository_of(folder) == "google-bert/bert-base-uncased"
    assert repository_of(tmp_path) is None
    loaded = TextClassifier.from_preset(folder, preprocessor=None)
    fields = loaded.model_card().split("---\n")[1]
    assert "base_model: google-bert/bert-base-uncased\nlicense: apache-2.0\n" in fields
    again = TextClassifier(TextClassifier.from_config(loaded.get_config()).backbone, 2)
    assert "base_model" not in again.model_card()  # a backbone built anew has no weights of it


def test_a_card_is_written_where_asked_and_never_over_an_edited_one(model, tmp_path):
    model.save_to_preset(tmp_path / "m")
    assert not (tmp_path / "m" / "README.md").exists()
    model.save_to_preset(tmp_path / "m", model_card=True)
    first = (tmp_path / "m" / "README.md").read_text()
    assert 'inarch.load("m")' in first
    backbone().save_to_preset(tmp_path / "m", model_card=True)
    second = (tmp_path / "m" / "README.md").read_text()
    assert "BertModel" in second
    tagged = second.replace("tags: ", "datasets: [mine]\ntags: ")  # as the hub's form does it
    for theirs in (second + "My own words.\n", tagged, "# Mine\n"):
        (tmp_path / "m" / "README.md").write_text(theirs)
        model.save_to_preset(tmp_path / "m", model_card=True)
        assert (tmp_path / "m" / "README.md").read_text() == theirs


# --- the hub -----------------------------------------------------------------------------------


class Hub(BaseHTTPRequestHandler):
    """The requests of an upload; what is committed is in `files`."""

    def do_HEAD(self):
        self.serve(body=False)

    def do_GET(self):
        self.serve(body=True)

    def serve(self, body):
        if "/tree/" in self.path:
            names = [{"type": "file", "path": n, "size": 1, "oid": COMMIT} for n in self.files]
            return self.reply(200, names)
        name = self.path.split("/resolve/")[-1].partition("/")[2]
        content = self.files.get(name)
        if "/resolve/" not in self.path or content is None:
            return self.reply(404, {}, "EntryNotFound")
        return self.reply(200, content, body=body)

    def do_POST(self):
        sent = self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.requests.append((self.path, self.headers.get("Authorization")))
        if self.refusal:
            return self.reply(self.refusal, {"error": "no"})
        if self.path.endswith("/api/repos/create"):
            self.made.append(json.loads(sent))
            return self.reply(200, {"url": f"{self.endpoint}/owner/name", "id": "owner/name"})
        if "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(sent)["files"]]
            files = [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]
            return self.reply(200, {"files": files})
        if "/commit/" in self.path:
            for line in map(json.loads, sent.splitlines()):
                if line["key"] == "file":
                    value = line["value"]
                    self.files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "deletedFile":
                    del self.files[line["value"]["path"]]
            url = f"{self.endpoint}/owner/name/commit/{COMMIT}"
            found = {"success": True, "commitOid": COMMIT, "commitUrl": url, "hookOutput": ""}
            return self.reply(200, found)
        return self.reply(200, {"errors": [], "warnings": []})

    def reply(self, status, content, error=None, body=True):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", '"1"')
        self.send_header("X-Repo-Commit", COMMIT)
        if error:
            self.send_header("X-Error-Code", error)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *args):
        """Log nothing."""


@pytest.fixture
def hub(monkeypatch, tmp_path):
    state = {"files": {}, "requests": [], "made": [], "refusal": None, "endpoint": ""}
    handler = type("TestHub", (Hub,), state)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    handler.endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", handler.endpoint)
    template = handler.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between attempts
    huggingface_hub.close_session()
    yield handler
    huggingface_hub.close_session()
    server.shutdown()
    server.server_close()
    thread.join()


def test_what_is_pushed_is_the_saved_folder_with_a_card(model, hub, tmp_path):
    url = model.push_to_hub("owner/name", private=True, token="secret", revision="trial")
    assert url.endswith(f"/owner/name/commit/{COMMIT}")
    model.save_to_preset(tmp_path / "m")
    saved = {p.name: p.read_bytes() for p in (tmp_path / "m").iterdir()}
    assert hub.files.keys() == {*saved, "README.md"}
    assert all(hub.files[name] == content for name, content in saved.items())
    assert b'inarch.load("owner/name")' in hub.files["README.md"]
    # Older releases of huggingface_hub send the first, newer ones the second.
    assert hub.made[0].get("private") or hub.made[0].get("visibility") == "private"
    assert {token for _, token in hub.requests} == {"Bearer secret"}
    paths = [path for path, _ in hub.requests]
    assert any(path.endswith("/branch/trial") for path in paths)
    assert any(path.endswith("/commit/trial") for path in paths)


def test_a_card_of_somebody_else_stays_in_the_repository(model, hub):
    hub.files["README.md"] = b"# Mine\n"
    model.push_to_hub("owner/name", token="secret")
    assert hub.files["README.md"] == b"# Mine\n"
    assert "model.safetensors" in hub.files
    del hub.files["README.md"]
    model.push_to_hub("owner/name", token="secret")
    backbone().push_to_hub("owner/name", token="secret")
    assert b"BertModel" in hub.files["README.md"]


def test_shards_and_modules_of_an_older_save_go_and_all_else_stays(model, hub):
    shards = {"a": "model-1.safetensors", "b": "odd[*].safetensors"}
    module = {"idx": 1, "name": "1", "path": "1_Dense", "type": "Dense"}
    kept = ("notes.txt", "other.safetensors", "onnx/model.onnx", ".gitattributes")
    hub.files |= {
        **dict.fromkeys([*shards.values(), "pytorch_model.bin", "1_Dense/model.safetensors"], b"?"),
        "model.safetensors.index.json": json.dumps({"weight_map": shards}).encode(),
        "modules.json": json.dumps([module]).encode(),
        **dict.fromkeys(kept, b"mine"),
    }
    model.push_to_hub("owner/name", token="secret")
    saved = {"config.json", "inarch.json", "model.safetensors", "README.md"}
    assert hub.files.keys() == {*kept, *saved}
    TextEmbedder(backbone(), modules=[{"type": "LayerNorm"}]).push_to_hub("owner/name", token="s")
    assert "1_Dense/model.safetensors" not in hub.files
    assert len(json.loads(hub.files["modules.json"])) > 1
    commits = [path for path, _ in hub.requests if "/commit/" in path]
    assert len(commits) == 2


@pytest.mark.parametrize("name", ["", "name", "a/b/c", "owner/name@main", 3])
def test_a_name_that_is_no_repository_is_refused(model, hub, name):
    with pytest.raises(InputError, match="repo_id is"):
        model.push_to_hub(name)
    assert not hub.requests


@pytest.mark.parametrize(("status", "error"), [(403, PresetError), (400, CheckpointFileError)])
def test_a_refusal_of_the_hub_is_named_with_a_way_out(model, hub, status, error):
    hub.refusal = status
    with pytest.raises(error, match=r"owner/name"):
        model.push_to_hub("owner/name", token="secret")
    assert not hub.files
