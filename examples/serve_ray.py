"""Serve models by Ray Serve: `/v1/embeddings`, `/rerank` and `/classify`, many requests in a batch.

    python examples/serve_ray.py --embedder FOLDER --reranker FOLDER --classifier FOLDER
    curl localhost:8000/v1/embeddings -H 'Content-Type: application/json' -d '{"input": "a text"}'

The texts of all requests that come within some milliseconds are computed together, packed into
rows. The formats are those of OpenAI's embeddings and Cohere's rerank. A body that is too large is
refused before it is parsed; where too many requests wait, Ray Serve answers 503.
"""

import argparse
import asyncio
from typing import Annotated

import numpy as np
from fastapi import FastAPI, HTTPException
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from ray import serve

import inarch

BYTES, TEXTS, QUEUE = 1_000_000, 256, 64
Texts = Annotated[list[str], Field(min_length=1, max_length=TEXTS)]
app = FastAPI()


class Input(BaseModel):
    input: str | Texts


class EmbeddingInput(Input):
    dimensions: Annotated[int, Field(ge=1)] | None = None


class Query(BaseModel):
    query: str
    documents: Texts
    top_n: Annotated[int, Field(ge=1)] | None = None


@app.middleware("http")
async def limit(request, call_next):
    size = request.headers.get("content-length", "")
    if request.method == "POST" and not size.isdecimal():
        return JSONResponse({"detail": "Content-Length is missing"}, 411)
    if size and int(size) > BYTES:
        return JSONResponse({"detail": f"the body has over {BYTES} bytes"}, 413)
    return await call_next(request)


@app.exception_handler(RequestValidationError)
async def refuse(request, error):  # what was sent isn't sent back: not all of it is JSON
    detail = [{"loc": fault["loc"], "msg": fault["msg"]} for fault in error.errors()]
    return JSONResponse({"detail": detail}, 422)


@serve.deployment(max_ongoing_requests=16)
class Model:
    """A task, and what answers the texts of several requests at once.

    A replica computes one batch at a time, on a thread, so that requests are taken meanwhile.
    """

    def __init__(self, preset, kind, **options):
        self.task = getattr(inarch, kind).from_preset(preset)
        self.options = options

    @serve.batch(max_batch_size=TEXTS, batch_wait_timeout_s=0.005, max_concurrent_batches=1)
    async def answer(self, examples):
        return await asyncio.to_thread(self.answers, examples)

    def answers(self, examples):
        # The error of one request must not be that of the others in its batch.
        stream = self.task.stream(examples, on_error=lambda i, x, error: error, **self.options)
        return list(stream)

    async def __call__(self, examples):
        found = await asyncio.gather(*map(self.answer, examples))
        return next((f for f in found if isinstance(f, Exception)), found)

    async def embed(self, texts, dimensions):
        """Return the first `dimensions` numbers of each vector, or all of them, and the tokens."""
        found = await self(texts)
        if isinstance(found, Exception):
            return found
        vectors = np.stack(found)
        if dimensions:
            if dimensions > (width := vectors.shape[1]):
                return ValueError(f"dimensions is {dimensions}, and vectors have {width} numbers")
            vectors = vectors[:, :dimensions]
            if self.task.normalize:  # of length one again
                vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        encodings = self.task.encode(texts, self.task.preprocessor.default_prompt_name)
        return vectors, sum(len(encoding.ids) for encoding in encodings)


@serve.deployment(max_ongoing_requests=16, max_queued_requests=QUEUE)
@serve.ingress(app)
class Server:
    """The routes; a model that isn't served is a 404."""

    def __init__(self, **models):
        self.models = models

    async def answers(self, name, *examples, method="__call__"):
        if name not in self.models:
            raise HTTPException(404, f"no {name} is served")
        found = await getattr(self.models[name], method).remote(*examples)
        if isinstance(found, Exception):
            raise HTTPException(422, str(found))
        return found

    @app.post("/v1/embeddings")
    async def embeddings(self, request: EmbeddingInput):
        texts = [request.input] if isinstance(request.input, str) else request.input
        vectors, tokens = await self.answers("embedder", texts, request.dimensions, method="embed")
        rows = enumerate(vectors.tolist())
        data = [{"object": "embedding", "index": i, "embedding": row} for i, row in rows]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "model": "embedder", "data": data, "usage": usage}

    @app.post("/rerank")
    async def rerank(self, request: Query):
        scores = await self.answers("reranker", [(request.query, d) for d in request.documents])
        order = sorted(range(len(scores)), key=lambda i: -scores[i])[: request.top_n]
        return {"results": [{"index": i, "relevance_score": float(scores[i])} for i in order]}

    @app.post("/classify")
    async def classify(self, request: Input):
        texts = [request.input] if isinstance(request.input, str) else request.input
        return {"data": await self.answers("classifier", texts)}


def make_app(embedder=None, reranker=None, classifier=None):
    """Return the application of Ray Serve with a model for each folder or name that is given."""
    kinds = {
        "embedder": (embedder, "TextEmbedder", {}),
        "reranker": (reranker, "Reranker", {"verbose": 0}),
        "classifier": (classifier, "TextClassifier", {"top_k": None}),
    }
    models = {
        name: Model.options(name=name).bind(preset, kind, **options)
        for name, (preset, kind, options) in kinds.items()
        if preset
    }
    return Server.bind(**models)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name in ("embedder", "reranker", "classifier"):
        parser.add_argument(f"--{name}", help="folder, built-in name, or id on the hub")
    parser.add_argument("--port", type=int, default=8000)
    options = vars(parser.parse_args())
    serve.start(http_options={"port": options.pop("port")})
    serve.run(make_app(**options), blocking=True)


if __name__ == "__main__":
    main()
