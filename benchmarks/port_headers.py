"""Count the folders that `inarch port new` writes from headers alone, of all that transformers has.

A model of each type is built without memory for its weights, of its default sizes and of few
layers. Its header is drafted from names and shapes, while a folder that is here is hidden.

    python benchmarks/port_headers.py > rows
    python docs/drafts.py docs/drafts.md rows
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from port_drafts import hidden, import_keras

import_keras()

import torch  # noqa: E402
import transformers  # noqa: E402

from inarch.checkpoints.formats.weights import TensorInfo  # noqa: E402
from inarch.errors import MissingLayerError  # noqa: E402
from inarch.models import registry  # noqa: E402
from inarch.models.variables import build_without_values  # noqa: E402
from inarch.port.folder import mounted, write_folder  # noqa: E402
from inarch.port.header import Header  # noqa: E402
from inarch.port.inspection import inspect_header  # noqa: E402
from inarch.port.make_draft import make_draft  # noqa: E402
from inarch.port.write_files import files_of  # noqa: E402

LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers",
    "decoder_layers")  # fmt: skip
CLASSES = ("CausalLM", "Seq2SeqLM", "MaskedLM", "CTC", "SpeechSeq2Seq")


def headers() -> Iterator[tuple[str, Header]]:
    """Iterate over the model types of transformers that can be built here, with their headers."""
    transformers.logging.set_verbosity_error()
    for model_type in transformers.CONFIG_MAPPING:
        try:
            yield model_type, header_of(model_type)
        except Exception as e:  # of sizes that have no defaults, or of libraries that aren't here
            print(f"{model_type}: {e!r}"[:200], file=sys.stderr)


def header_of(model_type: str) -> Header:
    """Return the header of a model of default sizes, with a head where there is one for texts."""
    config = transformers.AutoConfig.for_model(model_type)
    for name in LAYERS:
        if isinstance(getattr(config, name, None), int) and not hasattr(config, "layer_types"):
            setattr(config, name, min(4, getattr(config, name)))
    loaders = [getattr(transformers, f"AutoModelFor{name}") for name in CLASSES]
    known = [one for one in loaders if type(config) in one._model_mapping]
    with torch.device("meta"):
        model = [*known, transformers.AutoModel][0].from_config(config)
    tensors = {n: TensorInfo("F32", tuple(t.shape)) for n, t in model.state_dict().items()}
    fields = json.loads(config.to_json_string(use_diff=False))
    named = {"architectures": [type(model).__name__], "model_type": model_type}
    return Header(model_type, {**fields, **named}, tensors)


def outcome(header: Header, folder: Path) -> str:
    """Return whether the tiny model of a draft that imports is built, or lacks a layer."""
    write_folder(folder, "drafted", files_of(make_draft("drafted", header, None)))
    with mounted(folder, "drafted") as architecture:
        assert architecture.sources
        try:
            build_without_values(lambda: architecture.backbone(**architecture.tiny))
        except MissingLayerError:
            return "missing"
    return "built"


def main() -> None:
    known = {t: a.name for a in registry.architectures().values() for t in a.model_types}
    counts: Counter[str] = Counter()
    tensors: Counter[str] = Counter()
    for model_type, header in headers():
        hidden(known.get(model_type))
        counts["types"] += 1
        found = inspect_header(header)
        counts["explained"] += found.explained >= 0.9 * found.tensors
        tensors.update(every=found.tensors, explained=found.explained)
        with tempfile.TemporaryDirectory() as folder:
            try:
                counts[outcome(header, Path(folder))] += 1
            except Exception as e:
                counts["failed"] += 1
                print(f"{model_type}: {e!r}"[:300], file=sys.stderr)
    row: dict[str, Any] = {"headers": dict(counts), "tensors": dict(tensors)}
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
