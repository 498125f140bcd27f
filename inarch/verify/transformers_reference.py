"""The reference implementation: transformers on torch, in float64 and float32.

torch and transformers are imported by the functions that need them.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from inarch.checkpoints.formats.weights import TensorInfo
from inarch.checkpoints.maps.entries import expand
from inarch.checkpoints.maps.plan import Plan, match
from inarch.checkpoints.maps.source import Source
from inarch.errors import InarchError, MissingExtraError, ReferenceModelError
from inarch.files import sha256
from inarch.models.loading import Checkpoint
from inarch.models.variables import named_variables
from inarch.runtime.memory import is_out_of_memory
from inarch.verify import trace
from inarch.verify.fused import Parts, find_parts
from inarch.verify.hooks import Run
from inarch.verify.pairs import TapPair, find_tap_pairs, held_by_ours, held_by_theirs
from inarch.verify.reference import Reference, TappedTensor


def reference_of(
    checkpoint: Checkpoint,
    model: keras.Model,
    head: str | None,
    inputs: Mapping[str, np.ndarray],
    progress: Callable[[str], Any] = lambda step: None,
) -> Reference:
    """Run the reference of `model` on `inputs`, at every place that the two have in common.

    Args:
        checkpoint: the opened checkpoint, read by the reference itself.
        model: ours, built for the same checkpoint; only its structure is read.
        head: the head that it has, if any.
        progress: called with the name of each step before it begins.

    Raises:
        MissingExtraError: torch or transformers isn't installed.
        ReferenceModelError: transformers can't load or run the checkpoint, has other weights than
            the map says, or gives values that aren't numbers.
    """
    progress("loading the reference")
    torch, transformers = libraries()
    ours = trace.run(model, inputs)
    with _reported(checkpoint.folder):
        reference = _load(checkpoint, head, torch, transformers)
        plan = _plan(checkpoint, model, head, reference)
        parts = _parts(model, reference, plan)
        run = Run(reference, inputs, checkpoint.architecture.inputs, torch, parts)
        progress("the reference in float64")
        calls = run.free("float64")
        places = find_tap_pairs(model, ours, reference, plan, calls, parts)
        _check_finite(places)
        values = {place.reference_tap: calls[place.reference_tap] for place in places}
        del ours, calls  # most of the memory
        progress("the reference in float32")
        noise = run.measured("float32", values, force=False)
        progress("the reference in float32, layer by layer")
        local = run.measured("float32", values, force=True)
        weights = {n: t.double().numpy() for n, t in reference.state_dict().items()}
    tensors = tuple(
        TappedTensor(
            place.tap,
            place.module,
            place.value,
            noise[place.reference_tap],
            local[place.reference_tap],
        )
        for place in places
    )
    about = {"transformers": transformers.__version__, "torch": torch.__version__}
    about |= {"reference class": type(reference).__name__}
    return Reference(dict(inputs), tensors, weights, about | _sums(checkpoint))


def has_reference() -> bool:
    """Return whether torch and transformers are installed; neither is imported."""
    return all(importlib.util.find_spec(name) is not None for name in ("torch", "transformers"))


def libraries() -> tuple[Any, Any]:
    """Return torch and transformers, the latter silenced.

    Raises:
        MissingExtraError: one isn't installed.
    """
    try:
        import torch
        import transformers
    except ImportError as e:
        raise MissingExtraError(
            f"the reference runs on torch and transformers, and {e.name} isn't installed: "
            "pip install 'inarch[verify]', or verify against a golden file"
        ) from e
    transformers.logging.set_verbosity_error()
    return torch, transformers


@contextlib.contextmanager
def _reported(folder: Path) -> Iterator[None]:
    """Turn what the reference raises into one line of ours."""
    try:
        yield
    except InarchError:
        raise
    except Exception as e:
        text = str(e).strip().split("\n")[0]
        if is_out_of_memory(e):
            raise ReferenceModelError(
                f"the reference ran out of memory on {folder} (it runs in float64, 8 bytes a "
                "weight); verify a smaller checkpoint of the architecture, or its golden file"
            ) from e
        raise ReferenceModelError(
            f"the reference can't run {folder}: {text or type(e).__name__}"
        ) from e


def _sums(checkpoint: Checkpoint) -> dict[str, str]:
    """Return sha256 of what was read."""
    names = ["config.json", *(shard.filename for shard in checkpoint.weights.shards)]
    return {f"sha256 of {name}": sha256(checkpoint.folder / name) for name in names}


def reference_class(
    source: Source, head: str | None, transformers: Any, written_by: Sequence[str] = ()
) -> Any:
    """Return the reference's class for the backbone or for a head.

    Args:
        written_by: classes that the config names; one of an encoder alone is the backbone's.

    Raises:
        ReferenceModelError: this version of transformers has none.
    """
    if head is None:
        encoders = (name for name in written_by if name.endswith("EncoderModel"))
        return getattr(transformers, next(encoders, "AutoModel"), transformers.AutoModel)
    name = source.heads[head].architectures[0]
    cls = getattr(transformers, name, None)
    if cls is None:
        raise ReferenceModelError(f"transformers {transformers.__version__} has no class {name}")
    return cls


def file_tensors(model: Any) -> dict[str, Any]:
    """Return the tensors of a model of transformers by the names and shapes that its files have.

    It renames and splits those of some models while it loads them.
    """
    try:
        from transformers.core_model_loading import revert_weight_conversion
    except ImportError:  # before version 5 files have what models hold
        return model.state_dict()
    return revert_weight_conversion(model, model.state_dict())


def _load(checkpoint: Checkpoint, head: str | None, torch: Any, transformers: Any) -> Any:
    """Return the reference's class for what ours is, with the checkpoint's weights, in float32."""
    folder = checkpoint.folder
    cls = reference_class(checkpoint.source, head, transformers, checkpoint.written_by)
    quiet = logging.getLogger("transformers")
    before, quiet.level = quiet.level, logging.CRITICAL
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            model, loaded = cls.from_pretrained(
                folder,
                dtype=torch.float32,
                attn_implementation="eager",
                local_files_only=True,
                output_loading_info=True,
            )
    except (RuntimeError, MemoryError):
        raise
    except Exception as e:  # of whatever library reads the file or checks the config
        text = " ".join(str(e).split()) or type(e).__name__
        raise ReferenceModelError(
            f"transformers {transformers.__version__} can't load {folder}: {text}"
        ) from e
    finally:
        quiet.level = before
    mismatched = [str(row[0]) for row in loaded.get("mismatched_keys", ())]
    if mismatched:
        raise ReferenceModelError(
            f"transformers finds other shapes in {folder} than its config says: "
            f"{', '.join(sorted(mismatched))}"
        )
    model.inarch_missing = set(loaded.get("missing_keys", ()))
    return with_eager_experts(model.eval())


def with_eager_experts(model: Any) -> Any:
    """Return a reference whose experts, if it has any, are computed in any precision.

    By default transformers multiplies with them all at once, which torch doesn't do in float64.
    """
    # Versions before 5 know no other way.
    if hasattr(model, "set_experts_implementation") and model._can_set_experts_implementation():
        model.set_experts_implementation("eager")
    return model


def _plan(checkpoint: Checkpoint, model: keras.Model, head: str | None, reference: Any) -> Plan:
    """Return the weight map matched with the reference's own tensors, not with the file's."""
    source = checkpoint.source.by_modules
    header = {n: TensorInfo("F32", tuple(t.shape)) for n, t in reference.state_dict().items()}
    ours = {name: tuple(v.shape) for name, v in named_variables(model).items()}
    arguments = dict(getattr(model, "backbone", model).arguments)
    # A head's reference may leave out a part that the file, and so ours, has.
    present = source.arguments(checkpoint.config, header)
    for part, entries in source.optional_layers.items():
        if arguments.get(part) and not present[part]:
            arguments[part] = False
            for entry in expand(entries, arguments):
                for name in getattr(entry, "ours", ()):
                    ours.pop(name)
    where = f"the reference's {type(reference).__name__}"
    plan = match(source, header, ours, arguments, head, checkpoint.tie_word_embeddings, where)
    missing = sorted(reference.inarch_missing & plan.rule_of().keys())
    if missing:
        raise ReferenceModelError(
            f"transformers found no values for {', '.join(missing)} in {checkpoint.folder} and "
            "made up random ones; there is nothing to compare with"
        )
    return plan


def _parts(model: keras.Model, reference: Any, plan: Plan) -> Parts:
    tensors = {name: tuple(tensor.shape) for name, tensor in reference.state_dict().items()}
    modules = dict(reference.named_modules())
    return find_parts(
        plan,
        held_by_ours(model),
        held_by_theirs(modules, list(tensors), plan),
        {name: tuple(v.shape) for name, v in named_variables(model).items()},
        tensors,
    )


def _check_finite(places: list[TapPair]) -> None:
    for place in places:
        if not np.isfinite(place.value).all():
            layer, _, role = place.tap
            where = f"{layer or 'the model'} ({place.module})"
            raise ReferenceModelError(
                f"the reference itself gives values that aren't numbers at the {role} of {where}; "
                "look at the checkpoint's weights there"
            )
