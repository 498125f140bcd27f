"""Write the entries of a drafted config map that encoder-decoders alone have."""

from __future__ import annotations

from collections.abc import Mapping

from inarch.checkpoints.maps.config import ACTIVATIONS
from inarch.port.arguments import find_field
from inarch.port.code import call, choice_lines, code
from inarch.port.decisions import Decision, decide
from inarch.port.draft import Draft
from inarch.port.known_arguments import GATING


def decoder_lines(draft: Draft) -> tuple[list[str], set[str], list[Decision]]:
    """Return the line of the decoder's layers, as many as the encoder's where none are given."""
    field = find_field("num_decoder_layers", draft.usual) or ""
    line = f'fallback("{field}", "num_decoder_layers", other=LAYERS.read, is_count=True),'
    return [line], {field}, []


def gating_lines(draft: Draft) -> tuple[list[str], set[str], list[Decision]]:
    """Return the lines of the field that names an activation and whether there is a gate."""
    usual = draft.usual[GATING]
    lines = [
        f'choice("{GATING}", "activation", {code(usual)}, values=FEED_FORWARDS,',
        '    reason="the config\'s class makes dense_act_fn and is_gated_act of it"),',
        'must_match("dense_act_fn", lambda config:',
        f'    ACTING[config.get("{GATING}", {code(usual)})]),',
        'must_match("is_gated_act", lambda config:',
        f'    "gated" in config.get("{GATING}", {code(usual)})),',
    ]
    way = "with" if usual.startswith("gated-") else "without"
    text = f"only networks {way} a gate are drafted"
    noted = [] if draft.graph.gating else [decide(GATING, text)]
    return lines, {GATING, "dense_act_fn", "is_gated_act"}, noted


def gated_lines(draft: Draft) -> list[str]:
    """Return the lines of that field where only the file's value is known, which has a gate."""
    value = draft.usual[GATING]
    ours = ACTIVATIONS[draft.usual["dense_act_fn"]]
    return choice_lines(GATING, "activation", value, {value: ours})


def gating_constants(draft: Draft) -> list[str]:
    """Return the lines of the constants that the entries of `gating_lines` name."""
    found = _feed_forwards(draft)
    ours = [
        f'"{name}": "{"gated_" * draft.graph.gating * gated}{ACTIVATIONS[acting]}"'
        for name, (acting, gated) in found.items()
    ]
    acting = [f'"{name}": "{value}"' for name, (value, _) in found.items()]
    return [
        *call("FEED_FORWARDS = {", *ours, end="}", width=96),
        *call("ACTING = {", *acting, end="}", width=96),
    ]


def _feed_forwards(draft: Draft) -> Mapping[str, tuple[str, bool]]:
    """Return the values of the field that are drafted."""
    every = draft.evidence.feed_forwards if draft.evidence else {}
    own = every.get(draft.usual[GATING], ("", False))[1]
    return {
        name: (acting, gated)
        for name, (acting, gated) in every.items()
        if acting in ACTIVATIONS and (draft.graph.gating or gated == own)
    }
