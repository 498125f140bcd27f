"""Find the heads of models of sound by their tensors: of each frame, or of a whole row."""

from __future__ import annotations

from collections.abc import Sequence

from inarch.port.arguments import find_field
from inarch.port.decisions import Decision, decide
from inarch.port.evidence import Evidence
from inarch.port.find_heads import outside_of
from inarch.port.heads import AUDIO_CLASSIFIER, CTC, HeadClass, HeadDraft, purpose_of
from inarch.port.modules import TheirModule, group_modules
from inarch.port.patterns import collapse_names
from inarch.port.roles import recognize


def sound_heads(
    classes: Sequence[HeadClass], evidence: Evidence
) -> tuple[list[HeadDraft], list[Decision]]:
    """Return the heads of classes, and a line for each that isn't drafted.

    Args:
        classes: with the fields that each alone reads.
    """
    found, lines = [], []
    makers = {CTC: _of_frames, "text_classifier": _of_rows}
    for cls in classes:
        purpose = purpose_of(cls.name, evidence.kind)
        if purpose is None:
            continue
        maker = makers.get(purpose)
        head = None if maker is None else maker(cls, evidence)
        if head is not None:
            found.append(head)
        else:
            lines.append(decide(cls.name, "a head that isn't drafted: no brick here is it"))
    return found, lines


def _dense(cls: HeadClass, evidence: Evidence) -> list[TheirModule]:
    """Return the dense layers of a head, all of which have biases; none if it has others."""
    outside = outside_of(cls, evidence.prefix)
    parts = recognize(collapse_names(outside, evidence.config), evidence.config)
    modules, others = group_modules(parts)
    plain = all(len(m.shape) == 2 and m.bias is not None and not m.stack for m in modules)
    return modules if plain and not others and evidence.prefix else []


def _of_frames(cls: HeadClass, evidence: Evidence) -> HeadDraft | None:
    """Return the head of one dense layer from each frame to the vocabulary."""
    dense = _dense(cls, evidence)
    field, config = find_field("vocabulary_size", evidence.config), evidence.config
    width = config.get(find_field("hidden_dim", config) or "")
    if field is None or [m.shape for m in dense] != [(config[field], width)]:
        return None
    rates = [n for n in cls.fields if "dropout" in n and isinstance(config.get(n), float)]
    if len(rates) > 1:
        return None
    return HeadDraft(
        CTC, (cls.name,), dense=((dense[0].name, "logits", True),),
        dropout=(rates[0], evidence.defaults[rates[0]], "") if rates else None,
        sizes=((field, "vocabulary_size"),),
    )  # fmt: skip


def _of_rows(cls: HeadClass, evidence: Evidence) -> HeadDraft | None:
    """Return the head of a projection, the mean over frames, and one dense layer."""
    config = evidence.config
    width = config.get(find_field("hidden_dim", config) or "")
    dense = sorted(_dense(cls, evidence), key=lambda m: m.shape[1] != width)
    if len(dense) != 2 or dense[0].shape[1] != width or dense[1].shape[1] != dense[0].shape[0]:
        return None
    size = dense[0].shape[0]
    fields = [name for name in cls.fields if config.get(name) == size]
    if len(fields) != 1:
        return None
    return HeadDraft(
        AUDIO_CLASSIFIER, (cls.name,),
        dense=((dense[0].name, "projector", True), (dense[1].name, "logits", True)),
        sizes=((fields[0], "projection_dim"),), layer_sum=_layer_sum(cls, evidence),
    )  # fmt: skip


def _layer_sum(cls: HeadClass, evidence: Evidence) -> tuple[str, ...]:
    """Return the field with which a head has a share of each layer, and the tensor of those."""
    layers = evidence.config[find_field("num_layers", evidence.config) or ""]
    for field, other in cls.switched.items():
        added = {n: t for n, t in other.tensors.items() if n not in cls.tensors}
        shapes = [info.shape for info in added.values()]
        if shapes == [(layers + 1,)] and cls.tensors.keys() <= other.tensors.keys():
            return field, next(iter(added))
    return ()
