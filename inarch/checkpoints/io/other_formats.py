"""Weight files that aren't read here, and what to do with each."""

from __future__ import annotations

import fnmatch
from pathlib import Path

from inarch.paths import resolve_inside

_BY_TRANSFORMERS = "load it with transformers before version 5 ({}) and save it"
# Patterns of names of formats that aren't read, what writes such a file, and what to do.
FOREIGN = (
    ("flax_model*.msgpack*", "Flax", _BY_TRANSFORMERS.format("from_flax=True")),
    ("tf_model*.h5*", "TensorFlow, in shards", _BY_TRANSFORMERS.format("from_tf=True")),
    ("rust_model.ot", "Rust", "take the model's safetensors or torch files"),
    ("*.onnx", "ONNX", "take the model that it was exported from"),
    ("*.gguf", "GGUF", "take the model that it was quantized from"),
    ("openvino_model.*", "OpenVINO", "take the model that it was exported from"),
    ("*.tflite", "TensorFlow Lite", "take the model that it was exported from"),
    (
        "*.keras",
        "Keras",
        "open it with keras.saving.load_model, and save its save_to_preset folder",
    ),
    ("*.weights.h5", "Keras", "load it into its model, and save its save_to_preset folder"),
    ("saved_model.pb", "SavedModel", "take the model that it was exported from"),
    (
        "adapter_model.*",
        "an adapter alone",
        "load the model that it was made for, and call load_adapter of that with this folder; or "
        "merge it into its model by peft (merge_and_unload)",
    ),
)
# Patterns of files whose format is read, under another name or in another shape.
MISNAMED = (
    ("*.safetensors", "safetensors", "rename it to model.safetensors if it is the whole model"),
    ("*.bin", "torch", "rename it to pytorch_model.bin if it is the whole model"),
    ("*.pt", "torch", "save its tensors as model.safetensors"),
    ("*.pth", "torch", "save its tensors as model.safetensors"),
    ("*.ckpt", "a training's state", "save its tensors as model.safetensors"),
)
# Entries of a folder that are looked at, and files that are named.
MAX_SEARCHED, MAX_LISTED = 1000, 4


def other_format(name: str, foreign_alone: bool = False) -> tuple[str, str] | None:
    """Return what writes a file of this name that isn't read here, and what to do with it.

    Args:
        foreign_alone: whether to return None of a file whose format is read, under another name.
    """
    formats = FOREIGN if foreign_alone else (*FOREIGN, *MISNAMED)
    known = ((kind, way) for pattern, kind, way in formats if fnmatch.fnmatchcase(name, pattern))
    return next(known, None)


def others_in(folder: Path, foreign_alone: bool = False) -> list[str]:
    """List weight files of other formats in a folder, each with what to do, for an error.

    Args:
        foreign_alone: whether to leave out files whose format is read, as `other_format` does.
    """
    files = [path for path in sorted(folder.iterdir())[:MAX_SEARCHED] if path.is_file()]
    below = resolve_inside(folder, "onnx")
    if below.is_dir():
        files += sorted(below.iterdir())[:MAX_SEARCHED]
    found = []
    for path in files:
        if known := other_format(path.name, foreign_alone):
            kind, way_on = known
            found.append(f"{path.relative_to(folder).as_posix()} ({kind}): {way_on}")
    return found[:MAX_LISTED]
