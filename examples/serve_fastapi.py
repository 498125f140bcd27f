"""Serve vectors of texts over HTTP from one process, in the format of OpenAI's embeddings.

    python examples/serve_fastapi.py FOLDER --port 8000
    curl localhost:8000/v1/embeddings -H 'Content-Type: application/json' -d '{"input": "a text"}'

A request that is too large is refused before it is read, and one that finds `QUEUE` others there is
sent away with 503. The texts of a request are packed together; `serve_ray.py` packs those of
several.
"""

import argparse
import threading
from typing import Annotated

import uvicorn
from fastapi import FastAPI, HTTPException
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from inarch import TextEmbedder

BYTES, TEXTS, QUEUE = 1_000_000, 256, 16


class Input(BaseModel):
    input: str | Annotated[list[str], Field(min_length=1, max_length=TEXTS)]


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

    @app.post("/v1/embeddings")
    def embeddings(request: Input):
        if not places.acquire(blocking=False):
            raise HTTPException(503, f"{QUEUE} requests are waiting", {"Retry-After": "1"})
        try:
            texts = [request.input] if isinstance(request.input, str) else request.input
            with computing:
                vectors = embedder.embed(texts).tolist()
        finally:
            places.release()
        data = [{"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(vectors)]
        return {"object": "list", "model": embedder.name, "data": data}

    return app


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("preset")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    uvicorn.run(make_app(TextEmbedder.from_preset(options.preset)), port=options.port)


if __name__ == "__main__":
    main()
