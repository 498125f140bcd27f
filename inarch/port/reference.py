"""What an installed transformers shows of an architecture: defaults, classes, calls and reads.

A tiny model is built and run; nothing of a checkpoint is, and no code that it names.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from inarch.checkpoints.formats.weights import TensorInfo
from inarch.checkpoints.maps.config import ENCODER_ONLY
from inarch.checkpoints.maps.source import Head, Source
from inarch.errors import ReferenceModelError
from inarch.port.heads import JOINT, LABELS, HeadClass, purpose_of
from inarch.port.patterns import index_names
from inarch.port.saved_names import saved_names, unused_tensors
from inarch.port.tiny_model import (
    derived_fields,
    embedding_dropout,
    quiet,
    shaping_fields,
    tiny_model,
)
from inarch.verify.config_reads import ConfigReads, record_reads
from inarch.verify.transformers_reference import has_reference, libraries

# Older names of fields of rotary positions, each with a value that none has by chance.
OLDER = (("rope_theta", 12345.0), ("rotary_emb_base", 12345.0), ("partial_rotary_factor", 0.375),
    ("rotary_pct", 0.375))  # fmt: skip


@dataclass(frozen=True)
class Evidence:
    """What the reference shows.

    Attributes:
        model_type: of its config.
        file: of its code, below transformers.
        base: name of the class without a head.
        prefix: what precedes its tensors in files with a head.
        defaults: of its config.
        aliases: other names of fields.
        config: of the tiny model.
        tensors: of the tiny model without a head.
        calls: names of its modules in the order of their first calls, with an index for a number.
        epsilons: of its norms, by module.
        padding: whether the table of positions has a row of padding.
        heads: classes with a head.
        inputs: arguments of its `forward`.
        switches: for each field that is true or false, what it adds and takes away.
        legacy: for fields of `rope_parameters`, older names that its config takes them under.
        saved: tensors of the model that each tensor of its file holds, where the names differ.
        unused: tensors on which no output depends.
        shaping: fields of which the config's class makes others.
        derived: fields of sizes whose defaults follow from other fields.
        properties: values of what is read of the config and isn't among its fields.
        embedding_dropout: fields of rates of dropout that act before the first layer.
        reads: the fields that its code reads; None where they couldn't be recorded.
        tie: whether output and input embeddings are one by default.
    """

    model_type: str
    file: str
    base: str
    prefix: str
    defaults: Mapping[str, Any]
    aliases: Mapping[str, str]
    config: Mapping[str, Any]
    tensors: Mapping[str, TensorInfo]
    calls: tuple[str, ...]
    epsilons: Mapping[str, float]
    padding: bool
    heads: tuple[HeadClass, ...]
    inputs: tuple[str, ...]
    switches: Mapping[str, frozenset[str]] = field(default_factory=dict)
    legacy: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    saved: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    embedding_dropout: tuple[str, ...] = ()
    properties: Mapping[str, Any] = field(default_factory=dict)
    derived: tuple[str, ...] = ()
    shaping: tuple[str, ...] = ()
    reads: ConfigReads | None = None
    tie: bool = True
    version: str = ""

    @property
    def causal(self) -> bool:
        """Return whether it is a decoder, by its classes."""
        names = [head.name for head in self.heads]
        return not any(name.endswith(("ForMaskedLM", "WithLMHeadModel")) for name in names)


def find_evidence(model_type: str, given: Mapping[str, Any]) -> Evidence | None:
    """Return what transformers shows of a model type; None where it has none or isn't installed.

    Args:
        given: the checkpoint's config, whose switches the tiny model has.

    Raises:
        ReferenceModelError: a tiny model can't be built or run.
    """
    if not has_reference():
        return None
    torch, transformers = libraries()
    if model_type not in transformers.CONFIG_MAPPING:
        return None
    try:
        return _evidence(model_type, given, torch, transformers)
    except Exception as e:  # of whatever its code does with sizes that it never had
        text = " ".join(str(e).split()) or type(e).__name__
        raise ReferenceModelError(
            f"transformers {transformers.__version__} can't run a tiny {model_type!r}: {text}"
        ) from e


def _evidence(model_type: str, given: Mapping[str, Any], torch: Any, transformers: Any) -> Evidence:
    usual = transformers.AutoConfig.for_model(model_type)
    with quiet(transformers), torch.no_grad():
        config, model = tiny_model(model_type, usual.to_dict(), given, transformers)
        inputs = tuple(inspect.signature(model.forward).parameters)
        ids = torch.arange(1, 8)[None]
        calls = _calls(model, lambda: model(input_ids=ids))
        tables = [m for n, m in model.named_modules() if "position" in n and hasattr(m, "weight")]
        heads = tuple(_heads(model, config, transformers))
        switches = _switches(type(model), config, model.state_dict())
    unused = unused_tensors(model, ids)
    saved = saved_names(model, torch) | _saved_heads(model, config, transformers, torch)
    evidence = Evidence(
        model_type,
        "/".join(type(model).__module__.split(".")[1:]) + ".py",
        type(model).__name__,
        f"{model.base_model_prefix}.",
        usual.to_dict(),
        dict(type(usual).attribute_map),
        config.to_dict(),
        _tensors(model),
        calls,
        {
            index_names(n): float(e)
            for n, m in model.named_modules()
            if (e := _epsilon(m)) is not None
        },
        any(getattr(table, "padding_idx", None) is not None for table in tables),
        heads,
        inputs,
        switches,
        legacy=_older_names(model_type, transformers),
        saved=saved,
        embedding_dropout=embedding_dropout(config, model, ids, transformers),
        shaping=shaping_fields(model_type, usual.to_dict(), given, transformers),
        derived=derived_fields(model_type, usual.to_dict(), transformers),
        unused=unused,
        tie=bool(usual.to_dict().get("tie_word_embeddings", True)),
        version=f"transformers {transformers.__version__}",
    )
    reads = _reads(evidence, config, torch, transformers)
    names = {name for read in reads.modeling.values() for name in read} - evidence.defaults.keys()
    values = {name: _plain(getattr(usual, name, None)) for name in names}
    return replace(evidence, reads=reads, properties=values)


def _plain(value: Any) -> Any:
    """Return a value that a file can hold; None of another, which a file then lacks."""
    return value if isinstance(value, bool | int | float | str | list | dict) else None


def _tensors(model: Any) -> dict[str, TensorInfo]:
    return {name: TensorInfo("F32", tuple(t.shape)) for name, t in model.state_dict().items()}


def _calls(model: Any, run: Any) -> tuple[str, ...]:
    """Return the names of modules with weights of their own, in the order of their first calls."""
    order: dict[str, None] = {}
    handles = []
    for name, module in model.named_modules():
        if any(True for _ in module.parameters(recurse=False)):
            handles.append(
                module.register_forward_pre_hook(
                    lambda *_, name=name: order.setdefault(index_names(name), None)
                )
            )
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return tuple(order)


def _epsilon(module: Any) -> float | None:
    for name in ("eps", "variance_epsilon"):
        value = getattr(module, name, None)
        if isinstance(value, float):
            return value
    return None


def _heads(base: Any, config: Any, transformers: Any) -> Iterator[HeadClass]:
    """Iterate over the classes of heads in the base class's module."""
    for cls in _head_classes(base, transformers):
        model = _built(cls, config)
        if model is None:
            continue
        by_storage: dict[int, str] = {}
        ties = {}
        for tensor, value in model.state_dict().items():
            first = by_storage.setdefault(value.data_ptr(), tensor)
            if first != tensor:
                ties[tensor] = first
        yield HeadClass(cls.__name__, _tensors(model), ties)


def _head_classes(base: Any, transformers: Any) -> Iterator[Any]:
    module = sys.modules[type(base).__module__]
    for name, cls in vars(module).items():
        is_model = inspect.isclass(cls) and issubclass(cls, transformers.PreTrainedModel)
        if is_model and cls.__module__ == module.__name__ and (
            purpose_of(name, True) or purpose_of(name, False) or name.endswith(JOINT)
        ):  # fmt: skip
            yield cls


def _saved_heads(
    base: Any, config: Any, transformers: Any, torch: Any
) -> dict[str, tuple[str, ...]]:
    """Return the tensors of heads that files have under other names."""
    found: dict[str, tuple[str, ...]] = {}
    prefix = f"{base.base_model_prefix}."
    for cls in _head_classes(base, transformers):
        own = copy.deepcopy(config)
        own.tie_word_embeddings = False
        model = _built(cls, own)
        names = {} if model is None else saved_names(model, torch)
        found |= {n: parts for n, parts in names.items() if not n.startswith(prefix)}
    return found


def _built(cls: Any, config: Any) -> Any:
    """Return a model of a class, with two labels if it takes no others; None of a class of none."""
    for labels in (LABELS, 2):
        own = copy.deepcopy(config)
        own.num_labels = labels
        with contextlib.suppress(Exception):  # of a head of a task that this config isn't for
            return cls(own)
    return None


def _switches(cls: Any, config: Any, usual: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """Return the tensors that each field of true and false adds or takes away."""
    found = {}
    for name, value in config.to_dict().items():
        if not isinstance(value, bool):
            continue
        changed = type(config)(**{**config.to_dict(), name: not value})
        with contextlib.suppress(Exception):  # a value that its code refuses changes nothing
            other = cls(changed).state_dict()
            if difference := frozenset(usual.keys() ^ other.keys()):
                found[name] = frozenset(index_names(tensor) for tensor in difference)
    return found


def _older_names(model_type: str, transformers: Any) -> dict[str, tuple[str, ...]]:
    """Return the names outside of `rope_parameters` under which a config takes its fields."""
    found: dict[str, tuple[str, ...]] = {}
    for name, value in OLDER:
        with contextlib.suppress(Exception):  # a config that has no such field
            made = transformers.AutoConfig.for_model(model_type, **{name: value}).to_dict()
            holder = made.get("rope_parameters") or {}
            for inner, given in holder.items():
                if given == value:
                    found[inner] = (*found.get(inner, ("rope_scaling." + inner,)), name)
    return found


def _reads(evidence: Evidence, config: Any, torch: Any, transformers: Any) -> ConfigReads:
    """Return the fields that the classes read."""
    heads = {
        name: Head((head.name,))
        for head in evidence.heads
        if (name := purpose_of(head.name, evidence.causal)) is not None
    }
    source = Source(
        model_type=evidence.model_type, architecture=evidence.base, prefix=evidence.prefix,
        config=() if evidence.causal else ENCODER_ONLY, weights=(), heads=heads,
    )  # fmt: skip
    mask = np.ones((2, 7), "int64")
    mask[1, 5:] = 0
    ids = np.arange(1, 15).reshape(2, 7)
    inputs = {"input_ids": ids * mask, "attention_mask": mask, "token_type_ids": 0 * mask}
    return record_reads(source, config, {"": inputs}, torch, transformers)
