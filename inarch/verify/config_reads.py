"""Record which config fields transformers' code reads for an architecture.

Every attribute access on the config is recorded while the base model and the classes of all heads
are built, run in inference and in training (with labels, of each problem type) and, where they
generate, generate. Since some fields are read only where another field switches a branch on, all
that is repeated with each switch turned over, until no new field is read.

A read is classified by the file of the frame that reads. Modeling code computes: the architecture's
own folder, and the files that compute for all (attention, masks, positions, activations, losses,
heads, caches). The rest of transformers only handles configs, files, devices and what a call
returns; its reads are kept apart, since a map may leave them to the fields that all configs share.
A field counts under the name that is stored, whatever `attribute_map` calls it. A field that the
config lacks is recorded with the default that `getattr` is given.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import inspect
import linecache
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from inarch.checkpoints.maps.fields import MustBe
from inarch.checkpoints.maps.source import Source
from inarch.errors import ConfigError
from inarch.verify.transformers_reference import with_eager_experts

# Files of transformers that compute, in addition to the architectures' own.
COMPUTING = (
    "activations.py", "cache_utils.py", "masking_utils.py", "modeling_attn_mask_utils.py",
    "modeling_layers.py", "modeling_rope_utils.py", "pytorch_utils.py", "integrations", "loss",
)  # fmt: skip
# The base model among the classes of heads.
BASE = ""
PROBLEMS = ["regression", "single_label_classification", "multi_label_classification"]
LABELS: dict[str, list[Any]] = {"problem_type": PROBLEMS, "num_labels": [1]}
ATTENTIONS = ("eager", "sdpa")


@dataclass
class ConfigReads:
    """The fields that were read.

    Attributes:
        modeling: those that modeling code reads, by head; `""` has those of the base model, and a
            head those that the base model doesn't read.
        elsewhere: those that only other code of transformers reads.
        absent: fields that the config lacks, with the default that is taken instead, where
            modeling code reads them or the default is something.
        aliases: other names that the config takes a field under, with the name that it stores.
        version: of transformers.
        failed: heads whose class can't be run with these inputs, each with the error.
    """

    modeling: dict[str, list[str]] = field(default_factory=dict)
    elsewhere: list[str] = field(default_factory=list)
    absent: dict[str, Any] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    version: str = ""
    failed: dict[str, str] = field(default_factory=dict)


class Recorder:
    """Records the reads of the configs of one class while it is entered."""

    def __init__(self, config_class: type, package: Path):
        self.cls = config_class
        self.package = package
        self.modeling: set[str] = set()
        self.elsewhere: set[str] = set()
        self.absent: dict[str, Any] = {}

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        cls: Any = self.cls
        read, own = cls.__getattribute__, "__getattribute__" in vars(cls)

        def recording(config: Any, name: str) -> Any:
            try:
                value = read(config, name)
            except AttributeError:
                self._note(config, name, sys._getframe(1), missing=True)
                raise
            self._note(config, name, sys._getframe(1), missing=False)
            return value

        cls.__getattribute__ = recording
        try:
            yield
        finally:
            if own:
                cls.__getattribute__ = read
            else:
                del cls.__getattribute__

    def _note(self, config: Any, name: str, frame: FrameType, missing: bool) -> None:
        path = Path(frame.f_code.co_filename)
        if name.startswith("_") or not path.is_relative_to(self.package):
            return
        name = type(config).attribute_map.get(name, name)
        if missing:
            self.absent.setdefault(name, _default(frame))
        elif not self._is_field(config, name):
            return
        parts = path.relative_to(self.package).parts
        computing = parts[0] in COMPUTING or (
            parts[0] == "models" and not parts[-1].startswith(("configuration_", "auto"))
        )
        (self.modeling if computing else self.elsewhere).add(name)

    def _is_field(self, config: Any, name: str) -> bool:
        """Return whether a file can set what is read: no method, and no constant of the class."""
        known = inspect.getattr_static(self.cls, name, None)
        stored = name in vars(config) or name in {f.name for f in fields(self.cls)}
        return stored or (isinstance(known, property) and known.fset is not None)


def _default(frame: FrameType) -> Any:
    """Return the default of the `getattr` that a frame is at; None for another kind of read."""
    line, last, start, end = list(frame.f_code.co_positions())[frame.f_lasti // 2]
    if line is None or last is None:
        return None
    lines = [linecache.getline(frame.f_code.co_filename, n) for n in range(line, last + 1)]
    lines[-1] = lines[-1].encode()[:end].decode()
    lines[0] = lines[0].encode()[start:].decode()
    try:
        call = ast.parse("(" + "".join(lines) + ")", mode="eval").body
        return ast.literal_eval(call.args[2]) if isinstance(call, ast.Call) else None
    except (SyntaxError, ValueError, IndexError):  # `hasattr`, or a default that is computed
        return None


def record_reads(
    source: Source, config: Any, inputs: Mapping[str, Mapping[str, np.ndarray]], torch: Any,
    transformers: Any, every_head: bool = True,
) -> ConfigReads:  # fmt: skip
    """Record the reads of the base model and of every head of `source`.

    Args:
        config: transformers' config of a tiny model.
        inputs: by head, by the names of the reference; `""` has those of all other heads.
        every_head: whether the error of a head's class that can't be run is raised.
    """
    recorder = Recorder(type(config), Path(transformers.__file__).parent)
    found, seen = ConfigReads(), set[str]()
    for head, classes in _classes(source, transformers, config).items():
        recorder.modeling = set()
        # Copies, since training masks its input in place.
        given = inputs.get(head, inputs[BASE]).items()
        fed = {name: torch.from_numpy(array.copy()) for name, array in given}
        try:
            for cls in classes:
                _record_class(cls, config, fed, recorder, torch, source)
        except Exception as e:  # of whatever a head wants of its inputs
            if every_head or head == BASE:
                raise
            found.failed[head] = " ".join(str(e).split()) or type(e).__name__
        found.modeling[head] = sorted(recorder.modeling - seen)
        if head == BASE:
            seen = recorder.modeling
    everywhere = {name for names in found.modeling.values() for name in names}
    found.elsewhere = sorted(recorder.elsewhere - everywhere)
    found.absent = {
        name: default for name, default in sorted(recorder.absent.items())
        if name in everywhere or default is not None
    }  # fmt: skip
    found.version = transformers.__version__
    found.aliases = dict(sorted(type(config).attribute_map.items()))
    return found


def _classes(source: Source, transformers: Any, config: Any) -> dict[str, list[type]]:
    """Return the base model's class, and those of every head that this transformers has."""
    found = {BASE: [type(transformers.AutoModel.from_config(config))]}
    for head, described in source.heads.items():
        named = (getattr(transformers, name, None) for name in described.architectures)
        found[head] = [cls for cls in named if cls is not None]
    return found


def _record_class(
    cls: Any, config: Any, fed: Mapping[str, Any], recorder: Recorder, torch: Any, source: Source
) -> None:
    """Run a class with the config as it is, which must work, and with each switch turned over.

    A changed config with which more is read is where further changes begin.
    """
    _exercise(cls, config, fed, recorder, torch)
    must_be = [entry for entry in source.config if isinstance(entry, MustBe)]
    tried: set[tuple[str, str]] = set()
    bases = [config]
    for base in bases:
        for name in sorted(recorder.modeling):
            for value in _alternatives(name, getattr(base, name, None)):
                if (name, repr(value)) in tried or _is_refused(must_be, name, value):
                    continue
                tried.add((name, repr(value)))
                before = len(recorder.modeling)
                changed = copy.deepcopy(base)
                # A value that transformers refuses reads nothing more.
                with contextlib.suppress(Exception):
                    setattr(changed, name, value)
                    _exercise(cls, changed, fed, recorder, torch, ATTENTIONS[:1])
                if len(recorder.modeling) > before:
                    bases.append(changed)
                    tried -= {key for key in tried if key[0] != name}


def _is_refused(must_be: Iterable[MustBe], name: str, value: Any) -> bool:
    try:
        for entry in must_be:
            if entry.theirs == name:
                entry.check({name: value})
    except ConfigError:
        return True
    return False


def _alternatives(name: str, value: Any) -> list[Any]:
    """Return other values of a field, of which one may switch on what the config leaves off."""
    if name in LABELS:
        return LABELS[name]
    if isinstance(value, bool):
        return [not value]
    if value is None:
        return [True, 1, 0.5]
    if isinstance(value, int | float) and value <= 0:
        return [2, 0.5]
    return []


def _exercise(
    cls: Any, config: Any, fed: Mapping[str, Any], recorder: Recorder, torch: Any,
    attentions: Sequence[str] = ATTENTIONS,
) -> None:  # fmt: skip
    """Build a class and run it in every way, with each way to compute attention that it has."""
    taken = inspect.signature(cls.forward).parameters
    given = {name: value for name, value in fed.items() if name in taken}
    if cls.__name__.endswith("MultipleChoice"):
        given = {n: torch.stack([value, value], 1) for n, value in given.items()}
    for attention in attentions:
        own = copy.deepcopy(config)
        own._attn_implementation = attention
        if "start_positions" in taken:
            own.num_labels = 2
        with recorder():
            try:
                model = with_eager_experts(cls(own))
            except ValueError:
                if attention == ATTENTIONS[0]:
                    raise
                continue  # it has no other attention than the eager one
            outputs = model.eval()(**given, return_dict=True)
            model.train()
            _train(model, given, outputs, taken, torch)
            if cls.can_generate() and "input_features" in given:
                for options in ({}, {"return_timestamps": True}):
                    with contextlib.suppress(Exception):  # too small for some special tokens
                        model.generate(given["input_features"], max_new_tokens=2, **options)


def _train(
    model: Any, given: Mapping[str, Any], outputs: Any, taken: Iterable[str], torch: Any
) -> None:
    """Run a model with the labels that it takes, whatever their kind."""
    rows = len(next(iter(given.values())))
    zeros = torch.zeros(rows, dtype=torch.long)
    if "start_positions" in taken:
        model(**given, start_positions=zeros, end_positions=zeros)
        return
    if "labels" not in taken:
        model(**given)
        return
    more = {"next_sentence_label": zeros} if "next_sentence_label" in taken else {}
    logits = next(value for name, value in outputs.items() if name.endswith("logits"))
    kinds = [
        zeros if logits.ndim == 2 else torch.zeros(logits.shape[:2], dtype=torch.long),
        torch.zeros(logits.shape),
        torch.zeros(logits.shape[:1]),
    ]
    failures: list[Exception] = []
    for labels in kinds:
        try:
            with warnings.catch_warnings():  # of labels that turn out to be of another shape
                warnings.simplefilter("ignore")
                model(**given, labels=labels, **more)
            break
        except (ValueError, RuntimeError, IndexError, TypeError) as e:
            failures.append(e)
    else:
        raise failures[0]
