"""The servers answer on loopback as the tasks do, and refuse what is malformed or too much."""

import contextlib
import importlib.util
import itertools
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import inarch
from inarch.models.bert.backbone import BertBackbone
from inarch.tasks import TextPreprocessor
from inarch.text import WordPieceTokenizer

from .test_examples import VOCABULARY, encoder

EXAMPLES = Path(__file__).parents[2] / "examples"
TEXTS = ["the cat sat on mat", "a dog", "who ran ?"]

needs_fastapi = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("fastapi", "uvicorn"))),
    reason="FastAPI isn't installed: pip install fastapi uvicorn",
)
needs_ray = pytest.mark.skipif(
    not importlib.util.find_spec("ray"), reason="Ray isn't installed: pip install 'inarch[ray]'"
)


def post(port, path, body, **headers):
    """Status and content of the answer to a JSON value, or to bytes as they are."""
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        connection.request("POST", path, body, {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        content = answer.read()
        is_json = answer.headers.get_content_type() == "application/json"
        return answer.status, json.loads(content) if is_json else content


def cut_off(port, path):
    """Announce a body, send half of it, and leave."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\n"
        connection.sendall(head.encode() + b'{"input": "a do')


def check_refusals(port, path):
    """Check that bad requests are refused, and that the server goes on after each."""
    module = runpy.run_path(str(EXAMPLES / "serve_fastapi.py"))
    key = "documents" if path == "/rerank" else "input"
    rest = {"query": "a"} if path == "/rerank" else {}
    for body in ({}, {key: 3}, {key: []}, {key: [None]}, {key: ["a"] * (module["TEXTS"] + 1)}):
        status, found = post(port, path, rest | body)
        assert status == 422, body
        assert key in json.dumps(found)
    # Values that Python reads from JSON and that no answer could repeat.
    for value in (b"NaN", b'["\\ud800"]', b"[-Infinity]"):
        assert post(port, path, b'{"query": "a", "%s": %s}' % (key.encode(), value))[0] == 422
    for body in (b'{"input": "a', b"\xff", b""):
        assert post(port, path, body)[0] in (400, 422)
    status, found = post(port, path, rest | {key: "a" * module["BYTES"]})
    assert (status, found["detail"]) == (413, f"the body has over {module['BYTES']} bytes")
    chunked = post(port, path, b"2\r\n{}\r\n0\r\n\r\n", **{"Transfer-Encoding": "chunked"})
    assert chunked == (411, {"detail": "Content-Length is missing"})
    assert post(port, "/elsewhere", {})[0] == 404
    cut_off(port, path)


def check_usage_and_dimensions(port, embedder):
    """Tokens are counted as they are read, and shorter vectors are those of OpenAI's clients."""
    whole = embedder.embed(TEXTS)
    tokens = sum(
        len(e.ids) for e in embedder.encode(TEXTS, embedder.preprocessor.default_prompt_name)
    )
    assert tokens > sum(len(text.split()) for text in TEXTS)  # with special tokens
    for dimensions in (3, whole.shape[1], None):
        body = {"input": TEXTS, "dimensions": dimensions}
        status, found = post(port, "/v1/embeddings", body)
        assert (status, found["usage"]) == (200, {"prompt_tokens": tokens, "total_tokens": tokens})
        expected = embedder.embed(
            TEXTS, truncate_dim=dimensions, normalize=dimensions is not None and embedder.normalize
        )
        vectors = [item["embedding"] for item in found["data"]]
        np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-5)
    status, found = post(port, "/v1/embeddings", {"input": "a", "dimensions": whole.shape[1] + 1})
    words = f"dimensions is {whole.shape[1] + 1}, and vectors have {whole.shape[1]} numbers"
    assert (status, found["detail"]) == (422, words)
    for dimensions in (0, -1, "many"):
        assert post(port, "/v1/embeddings", {"input": "a", "dimensions": dimensions})[0] == 422


@pytest.fixture
def started():
    """`started(app)`: the port of an application that is served on a thread."""
    import uvicorn

    servers = []

    def start(app):
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
        thread = threading.Thread(target=server.run)
        thread.start()
        servers.append((server, thread))
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        return server.servers[0].sockets[0].getsockname()[1]

    yield start
    for server, thread in servers:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


@needs_fastapi
def test_fastapi_gives_the_vectors_and_refuses_what_is_malformed_or_too_large(started, tmp_path):
    embedder = inarch.load(encoder(tmp_path / "encoder"))
    port = started(runpy.run_path(str(EXAMPLES / "serve_fastapi.py"))["make_app"](embedder))
    check_refusals(port, "/v1/embeddings")
    for given in (TEXTS, TEXTS[0]):
        status, found = post(port, "/v1/embeddings", {"input": given, "model": "any"})
        assert (status, found["object"]) == (200, "list")
        assert [item["index"] for item in found["data"]] == [*range(len(found["data"]))]
        vectors = [item["embedding"] for item in found["data"]]
        np.testing.assert_allclose(np.squeeze(vectors), embedder.embed(given), rtol=1e-5, atol=1e-6)


@needs_fastapi
@pytest.mark.parametrize("normalize", [True, False])
def test_fastapi_counts_tokens_and_shortens_vectors(normalize, started, tmp_path):
    embedder = inarch.load(encoder(tmp_path / "encoder"), normalize=normalize)
    embedder.preprocessor.prompts = {"p": "the cat "}
    embedder.preprocessor.default_prompt_name = "p"
    port = started(runpy.run_path(str(EXAMPLES / "serve_fastapi.py"))["make_app"](embedder))
    check_usage_and_dimensions(port, embedder)


@needs_fastapi
def test_fastapi_sends_requests_away_while_as_many_wait_as_can(started):
    module = runpy.run_path(str(EXAMPLES / "serve_fastapi.py"))
    gate = threading.Event()

    class Slow:
        name, preprocessor = "slow", SimpleNamespace(default_prompt_name=None)

        def encode(self, texts, prompt_name):
            return []

        def embed(self, texts):
            assert gate.wait(60)
            return np.zeros((len(texts), 2))

    port = started(module["make_app"](Slow()))
    allowed, excess = module["QUEUE"], 4
    with ThreadPoolExecutor(allowed + excess) as pool:
        request = (port, "/v1/embeddings", {"input": "a"})
        asked = [pool.submit(post, *request) for _ in range(allowed + excess)]
        refused = [done.result()[0] for done in itertools.islice(as_completed(asked), excess)]
        gate.set()
        answered = sorted(done.result()[0] for done in asked)
    assert refused == [503] * excess
    assert answered == [200] * allowed + refused
    assert post(*request)[0] == 200


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of tiny models by the option of `serve_ray.py` that they are for."""
    folder = tmp_path_factory.mktemp("models")
    parts = BertBackbone(len(VOCABULARY), 1, 2, 16, 24, max_sequence_length=32), 2
    text = TextPreprocessor(WordPieceTokenizer(VOCABULARY), 32)
    inarch.Reranker(parts[0], preprocessor=text).save_to_preset(folder / "reranker")
    classifier = inarch.TextClassifier(*parts, labels=["no", "yes"], preprocessor=text)
    classifier.save_to_preset(folder / "classifier")
    encoder(folder / "embedder")
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def ray_port(models):
    """The port of `serve_ray.py` with these models, on a Ray of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [text for name, path in models.items() for text in (f"--{name}", str(path))]
    script = str(EXAMPLES / "serve_ray.py")
    code = (
        "import ray, runpy, sys; ray.init(num_cpus=5, include_dashboard=False); "
        f"sys.argv = {[script, *options, '--port', str(port)]!r}; "
        f"runpy.run_path({script!r}, run_name='__main__')"
    )
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent), "RAY_USAGE_STATS_ENABLED": "0"}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    until = time.monotonic() + 240
    while True:
        assert process.poll() is None
        assert time.monotonic() < until
        with contextlib.suppress(OSError):
            if post(port, "/classify", {"input": "a"})[0] == 200:
                break
        time.sleep(1)
    yield port
    process.send_signal(signal.SIGINT)
    assert process.wait(60) is not None


@needs_ray
@pytest.mark.slow
def test_ray_serve_answers_as_the_tasks_do_and_refuses_the_rest(ray_port, models):
    with ThreadPoolExecutor(8) as pool:  # so that requests come together in batches
        asked = [(ray_port, "/v1/embeddings", {"input": text}) for text in TEXTS * 4]
        answers = list(pool.map(lambda one: post(*one), asked))
    vectors = [found["data"][0]["embedding"] for status, found in answers if status == 200]
    expected = np.tile(inarch.load(models["embedder"]).embed(TEXTS), (4, 1))
    np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-5)

    check_usage_and_dimensions(ray_port, inarch.load(models["embedder"]))

    status, found = post(ray_port, "/rerank", {"query": "who sat", "documents": TEXTS, "top_n": 2})
    ranking = inarch.load(models["reranker"]).rank("who sat", TEXTS, top_k=2)
    assert status == 200
    assert [f["index"] for f in found["results"]] == [each["index"] for each in ranking]
    scores = [f["relevance_score"] for f in found["results"]]
    np.testing.assert_allclose(scores, [each["score"] for each in ranking], rtol=1e-4)

    status, found = post(ray_port, "/classify", {"input": TEXTS})
    classes = inarch.load(models["classifier"]).classify(TEXTS, top_k=None)
    assert status == 200
    for ours, theirs in zip(classes, found["data"], strict=True):
        assert [each["label"] for each in theirs] == [each["label"] for each in ours]
    for path in ("/v1/embeddings", "/rerank", "/classify"):
        check_refusals(ray_port, path)
    assert post(ray_port, "/classify", {"input": "a"})[0] == 200


@needs_ray
@pytest.mark.slow
def test_ray_serve_sends_requests_away_where_too_many_wait(ray_port):
    request = (ray_port, "/v1/embeddings", {"input": [" ".join(["cat"] * 30)] * 256})
    with ThreadPoolExecutor(120) as pool:
        statuses = {status for status, _ in pool.map(lambda one: post(*one), [request] * 120)}
    assert statuses == {200, 503}
    assert post(ray_port, "/v1/embeddings", {"input": "a"})[0] == 200
