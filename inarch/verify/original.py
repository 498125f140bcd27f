"""The original implementation: transformers on torch, in float64 and float32.

torch and transformers are imported by the functions that need them.
"""

from __future__ import annotations

import contextlib
import gc
import io
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from inarch.checkpoints import files
from inarch.checkpoints.files import TensorInfo
from inarch.checkpoints.source import Plan, match
from inarch.errors import MissingExtraError, OriginalError
from inarch.models.preset import Checkpoint
from inarch.models.variables import named_variables
from inarch.verify import pairs, trace
from inarch.verify.reference import Port, Reference, distance
from inarch.verify.trace import Key

# Our names of inputs and outputs, and theirs.
INPUTS = {
    "token_ids": "input_ids",
    "padding_mask": "attention_mask",
    "segment_ids": "token_type_ids",
}
OUTPUTS = {
    "sequence_output": ("last_hidden_state",),
    "pooled_output": ("pooler_output",),
    "output": ("logits", "last_hidden_state"),
}


def reference_of(
    checkpoint: Checkpoint,
    model: keras.Model,
    head: str | None,
    inputs: Mapping[str, np.ndarray],
    progress: Callable[[str], Any] = lambda step: None,
) -> Reference:
    """Run the original of `model` on `inputs`, at every place that the two have in common.

    Args:
        checkpoint: the opened checkpoint, read by the original itself.
        model: ours, built for the same checkpoint; only its structure is read.
        head: the head that it has, if any.
        progress: told each step before it begins.

    Raises:
        MissingExtraError: torch or transformers isn't installed.
        OriginalError: transformers can't load or run the checkpoint, has other weights than the
            map says, or gives values that aren't numbers.
    """
    progress("loading the original")
    torch, transformers = libraries()
    with _reported(checkpoint.folder, torch):
        original = _load(checkpoint, head, torch, transformers)
        plan = _plan(checkpoint, model, head, original)
        ours = trace.run(model, inputs)
        run = _Run(original, inputs, torch)
        progress("the original in float64")
        calls = run.free("float64")
        places = _places(model, ours, original, plan, calls)
        _check_finite(places, inputs)
        progress("the original in float32")
        noise = run.measured("float32", places, force=False)
        progress("the original in float32, layer by layer")
        local = run.measured("float32", places, force=True)
        weights = {n: t.double().numpy() for n, t in original.state_dict().items()}
    ports = tuple(
        replace(place.port, noise=noise[place.spot], local_noise=local[place.spot])
        for place in places
    )
    about = {"transformers": transformers.__version__, "torch": torch.__version__}
    about |= {"original class": type(original).__name__}
    return Reference(dict(inputs), ports, weights, about | _sums(checkpoint))


def libraries() -> tuple[Any, Any]:
    """torch and transformers, the latter silenced.

    Raises:
        MissingExtraError: one isn't installed.
    """
    try:
        import torch
        import transformers
    except ImportError as e:
        raise MissingExtraError(
            f"the original runs on torch and transformers, and {e.name} isn't installed: "
            "pip install 'inarch[verify]', or verify against a golden file"
        ) from e
    transformers.logging.set_verbosity_error()
    return torch, transformers


@contextlib.contextmanager
def _reported(folder: Path, torch: Any) -> Iterator[None]:
    """Turn what the original raises into one line of ours."""
    try:
        yield
    except MemoryError as e:
        raise OriginalError(_out_of_memory(folder)) from e
    except RuntimeError as e:
        if isinstance(e, OriginalError):
            raise
        text = str(e).strip().split("\n")[0]
        if isinstance(e, torch.OutOfMemoryError) or "memory" in text:
            raise OriginalError(_out_of_memory(folder)) from e
        raise OriginalError(f"the original can't run {folder}: {text}") from e


def _out_of_memory(folder: Path) -> str:
    return (
        f"the original ran out of memory on {folder} (it runs in float64, 8 bytes a weight); "
        "verify a smaller checkpoint of the architecture, or against its golden file"
    )


def _sums(checkpoint: Checkpoint) -> dict[str, str]:
    """sha256 of what was read."""
    names = ["config.json", *(shard.filename for shard in checkpoint.weights.shards)]
    return {f"sha256 of {name}": files.sha256(checkpoint.folder / name) for name in names}


def _load(checkpoint: Checkpoint, head: str | None, torch: Any, transformers: Any) -> Any:
    """The original's class for what ours is, with the checkpoint's weights, in float32."""
    folder = checkpoint.folder
    if head is None:
        cls = transformers.AutoModel
    else:
        name = checkpoint.source.heads[head].architectures[0]
        cls = getattr(transformers, name, None)
        if cls is None:
            raise OriginalError(f"transformers {transformers.__version__} has no class {name}")
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
    except (OSError, ValueError, KeyError, TypeError, ImportError, AttributeError) as e:
        text = str(e).strip().split("\n")[0]
        raise OriginalError(
            f"transformers {transformers.__version__} can't load {folder}: {text}"
        ) from e
    finally:
        quiet.level = before
    mismatched = [str(row[0]) for row in loaded.get("mismatched_keys", ())]
    if mismatched:
        raise OriginalError(
            f"transformers finds other shapes in {folder} than its config says: "
            f"{', '.join(sorted(mismatched))}"
        )
    model.inarch_missing = set(loaded.get("missing_keys", ()))
    return model.eval()


def _plan(checkpoint: Checkpoint, model: keras.Model, head: str | None, original: Any) -> Plan:
    """The weight map matched with the original's own tensors rather than with the file's."""
    source = checkpoint.source
    header = {n: TensorInfo("F32", tuple(t.shape)) for n, t in original.state_dict().items()}
    ours = {name: tuple(v.shape) for name, v in named_variables(model).items()}
    arguments = dict(getattr(model, "backbone", model).arguments)
    # A head's original may leave out a part that the file, and so ours, has.
    present = source.arguments(checkpoint.config, header)
    for part, entries in source.parts.items():
        if arguments.get(part) and not present[part]:
            arguments[part] = False
            for entry in entries:
                for name in getattr(entry, "ours", ()):
                    ours.pop(name)
    where = f"the original's {type(original).__name__}"
    plan = match(source, header, ours, arguments, head, checkpoint.tie, where)
    missing = sorted(original.inarch_missing & plan.rule_of().keys())
    if missing:
        raise OriginalError(
            f"transformers found no values for {', '.join(missing)} in {checkpoint.folder} and "
            "made up random ones; there is nothing to compare with"
        )
    return plan


# --- running -----------------------------------------------------------------------------------

# What passes at a module: (name, which call of it, input | output | next | attention | a name).
# `next` is the output of a module without weights, such as an activation, that takes this one's
# output as it is.
Spot = tuple[str, int, str]


@dataclass(frozen=True)
class _Place:
    spot: Spot
    port: Port


class _Run:
    """Runs the original and records what passes at every module."""

    def __init__(self, original: Any, inputs: Mapping[str, np.ndarray], torch: Any):
        self.original = original
        self.inputs = inputs
        self.torch = torch
        self.weightless = {
            name: module
            for name, module in original.named_modules()
            if not any(True for _ in module.parameters()) and not _is_dropout(module)
        }

    def free(self, dtype: str) -> dict[Spot, np.ndarray]:
        """Everything that passes, in the order of events."""
        seen: dict[Spot, np.ndarray] = {}
        arrays: dict[int, tuple[Any, np.ndarray]] = {}

        def keep(spot: Spot, tensor: Any) -> Any:
            # One array for one tensor; the tensor is kept, so that no other gets its id.
            if id(tensor) not in arrays:
                arrays[id(tensor)] = tensor, tensor.numpy()
            seen[spot] = arrays[id(tensor)][1]
            return tensor

        self._run(dtype, keep)
        return seen

    def measured(self, dtype: str, places: list[_Place], force: bool) -> dict[Spot, float]:
        """Distances from the places' values; with `force`, go on with those values."""
        known = {place.spot: place.port.value for place in places}
        found: dict[Spot, float] = {}

        def compare(spot: Spot, tensor: Any) -> Any:
            if spot not in known:
                return tensor
            found[spot] = distance(tensor.numpy(), known[spot], self.inputs)
            if not force or spot[2] == "attention" or not spot[0]:
                return tensor
            return self.torch.from_numpy(known[spot]).to(tensor.dtype)

        self._run(dtype, compare)
        return found

    def _run(self, dtype: str, at: Callable[[Spot, Any], Any]) -> None:
        model = self.original.to(getattr(self.torch, dtype))
        calls: Counter[str] = Counter()
        made_by: dict[int, tuple[Any, str, int]] = {}

        def before(name: str) -> Callable:
            def hook(module: Any, args: tuple, kwargs: dict) -> Any:
                first = _first_float([*args, *kwargs.values()])
                if first is None:
                    return None
                fed = at((name, calls[name], "input"), first)
                if fed is first:
                    return None
                args = tuple(fed if a is first else a for a in args)
                return args, {k: fed if a is first else a for k, a in kwargs.items()}

            return hook

        def after(name: str) -> Callable:
            def hook(module: Any, args: tuple, kwargs: dict, output: Any) -> Any:
                number = calls[name]
                calls[name] += 1
                parts = list(output) if isinstance(output, tuple) else [output]
                if not parts or not _is_float(parts[0]):
                    return None
                attention = next((p for p in parts[1:] if _is_float(p) and p.ndim == 4), None)
                if attention is not None:
                    at((name, number, "attention"), attention)
                spot = (name, number, "output")
                if name in self.weightless:
                    source = made_by.get(id(_first_float([*args, *kwargs.values()])))
                    if source is None:
                        return None
                    spot = (source[1], source[2], "next")
                parts[0] = at(spot, parts[0])
                if spot[2] == "output":
                    # Outer modules come later and win: the outermost one made the tensor.
                    made_by[id(parts[0])] = (parts[0], name, number)
                return tuple(parts) if isinstance(output, tuple) else parts[0]

            return hook

        with contextlib.ExitStack() as stack:
            for name, module in model.named_modules():
                if name:
                    handle = module.register_forward_pre_hook(before(name), with_kwargs=True)
                    stack.callback(handle.remove)
                    handle = module.register_forward_hook(after(name), with_kwargs=True)
                    stack.callback(handle.remove)
            fed = {
                INPUTS[name]: self.torch.from_numpy(value.astype("int64"))
                for name, value in self.inputs.items()
            }
            with self.torch.no_grad():
                outputs = model(**fed, return_dict=True)
        for name, tensor in outputs.items():
            if _is_float(tensor):
                at(("", 0, name), tensor)
        gc.collect()


def _is_float(value: Any) -> bool:
    return getattr(value, "is_floating_point", lambda: False)()


def _first_float(values: list[Any]) -> Any:
    return next((v for v in values if _is_float(v)), None)


def _is_dropout(module: Any) -> bool:
    return "Dropout" in type(module).__name__


# --- places ------------------------------------------------------------------------------------


def _places(
    model: keras.Model,
    ours: Mapping[Key, np.ndarray],
    original: Any,
    plan: Plan,
    calls: Mapping[Spot, np.ndarray],
) -> list[_Place]:
    """Where both sides can be compared, in the order in which the original computes."""
    modules = dict(original.named_modules())
    mine = pairs.held_by_ours(model)
    theirs = pairs.held_by_theirs(modules, list(original.state_dict()), plan)
    wanted: dict[Key, list[Spot]] = {}
    for path, nests in pairs.pair(mine, theirs).items():
        numbers = sorted({number for layer, number, _ in ours if layer == path})
        for number, nest, call in _calls(nests, numbers, calls):
            for key, spots in _candidates(path, number, nest, call, ours).items():
                if key in ours or not numbers:  # a layer that is never called has all of them
                    wanted[key] = spots
    giving = [name for name, number, what in calls if what == "attention" and number == 0]
    for path, module in pairs.pair_attention(model, mine, theirs, giving).items():
        for number in sorted({n for layer, n, _ in ours if layer == path}):
            wanted[path, number, "attention"] = [(module, number, "attention")]
    for path, _, name in ours:
        if not path:
            wanted["", 0, name] = [("", 0, theirs_name) for theirs_name in OUTPUTS.get(name, ())]
    order = {spot: at for at, spot in enumerate(calls)}
    chosen = {
        key: spot
        for key, spots in wanted.items()
        if (spot := next((s for s in spots if _fits(ours.get(key), calls.get(s))), None))
    }
    places = [
        _Place(spot, Port(key, spot[0] or spot[2], calls[spot], 0.0, 0.0))
        for key, spot in chosen.items()
    ]
    return sorted(places, key=lambda place: order[place.spot])


def _calls(
    nests: list[list[str]], numbers: list[int], calls: Mapping[Spot, np.ndarray]
) -> list[tuple[int, list[str], int]]:
    """Our k-th call of a layer is the k-th call of any of the nests that hold its variables."""
    outer = {nest[0]: nest for nest in nests}
    made = [(n, call) for n, call, what in calls if n in outer and what == "output"]
    # A layer of ours that is never called still has a first call there.
    return [
        (number, outer[name], call)
        for number, (name, call) in zip(numbers or [0], made, strict=False)
    ]


def _candidates(
    path: str, number: int, nest: list[str], call: int, ours: Mapping[Key, np.ndarray]
) -> dict[Key, list[Spot]]:
    """The spots of a nest of modules that each port of our layer may be, best first."""
    outer, inner = nest[0], nest[-1]
    found = {(path, number, "input"): [(outer, call, "input"), (inner, call, "input")]}
    last: list[Spot] = [(outer, call, "output")]
    linear = ours.get((path, number, "linear"))
    if linear is not None and linear is not ours[path, number, "output"]:
        # Our layer ends with an activation. So does a module around the linear one, or one
        # without weights comes after it.
        found[path, number, "linear"] = [(inner, call, "output")]
        last = [(outer, call, "next"), *(last if outer != inner else [])]
    found[path, number, "output"] = last
    return found


def _fits(ours: np.ndarray | None, theirs: np.ndarray | None) -> bool:
    """Whether two tensors have one shape, but for a batch axis of one that the original leaves."""
    if theirs is None:
        return False
    if ours is None or ours.shape == theirs.shape:
        return True
    return ours.ndim == theirs.ndim and theirs.shape == (1, *ours.shape[1:])


def _check_finite(places: list[_Place], inputs: Mapping[str, np.ndarray]) -> None:
    for place in places:
        if not np.isfinite(place.port.value).all():
            layer, _, port = place.port.key
            where = f"{layer or 'the model'} ({place.spot[0] or 'its outputs'})"
            raise OriginalError(
                f"the original itself gives values that aren't numbers at the {port} of {where}; "
                "look at the checkpoint's weights there"
            )
