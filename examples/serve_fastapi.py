"""Serve vectors of texts over HTTP from one process, in the format of OpenAI's embeddings.

    python examples/serve_fastapi.py FOLDER --port 8000
    curl localhost:8000/v1/embeddings -H 'Content-Type: application/json' -d '{"input": "a text"}'

`dimensions` asks for the first numbers of each vector; `usage` counts the tokens that were read. A
request that is too large is refused before it is read, and one that finds `QUEUE` others there is
sent away with 503. The texts of a request are packed together; `serve_ray.py` packs those of
several.
"""

import argparse
import threading
from typing import Annotated

import numpy as np
import uvicorn
from fastapi import FastAPI, HTTPException
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from inarch import TextEmbedder
from inarch.errors import InputError

BYTES, TEXTS, QUEUE = 1_000_000, 256, 16


class Input(BaseModel):
    input: str | Annotated[list[str], Field(min_length=1, max_length=TEXTS)]
    dimensions: Annotated[int, Field(ge=1)] | None = None


def shortened(vectors, dimensions, normalize):
    """Return the first numbers of each vector, of length one again where the model's are."""
    if dimensions > (width := vectors.shape[1]):
        raise HTTPException(422, f"dimensions is {dimensions}, and vectors have {width} numbers")
    vectors = vectors[:, :dimensions]
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True) if normalize else vectors


def make_app(embedder):
    app, places, computing = FastAPI(), threading.BoundedSemaphore(QUEUE), threading.Lock()

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

    @app.post("/v1/embeddings")
    def embeddings(request: Input):
        if not places.acquire(blocking=False):
            raise HTTPException(503, f"{QUEUE} requests are waiting", {"Retry-After": "1"})
        try:
            texts = [request.input] if isinstance(request.input, str) else request.input
            with computing:
                vectors = embedder.embed(texts)
        except InputError as error:  # such as a lone surrogate
            raise HTTPException(422, str(error)) from error
        finally:
            places.release()
        if request.dimensions:
            vectors = shortened(vectors, request.dimensions, embedder.normalize)
        rows = enumerate(vectors.tolist())
        data = [{"object": "embedding", "index": i, "embedding": row} for i, row in rows]
        prompt = embedder.preprocessor.default_prompt_name
        tokens = sum(len(encoding.ids) for encoding in embedder.encode(texts, prompt))
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "model": embedder.name, "data": data, "usage": usage}

    return app


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("preset")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    uvicorn.run(make_app(TextEmbedder.from_preset(options.preset)), port=options.port)


if __name__ == "__main__":
    main()
