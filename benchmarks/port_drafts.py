"""Measure the drafts of `inarch port new`: of architectures that are here, and of others.

For an architecture that is here, its own folder is hidden, and each entry of its maps is compared
with the draft's. For any other, the draft is compared with a tiny model of transformers: tensors
that the map leaves out are counted, and each layer and each head is verified.

    python benchmarks/port_drafts.py draft bert gptj > rows    # or no names: all
    python benchmarks/port_drafts.py check > rows                  # golden files, on one backend
    python docs/drafts.py docs/drafts.md rows
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from inarch.backend import import_keras

import_keras()

import transformers  # noqa: E402

import inarch.models  # noqa: E402
from inarch.checkpoints.maps.entries import Derived, Rule, Unused  # noqa: E402
from inarch.checkpoints.maps.fields import Constant, Field, Ignored, MustBe  # noqa: E402
from inarch.checkpoints.maps.source import Head, Source  # noqa: E402
from inarch.errors import InarchError  # noqa: E402
from inarch.models import registry  # noqa: E402
from inarch.port.folder import mounted, write_folder  # noqa: E402
from inarch.port.header import Header  # noqa: E402
from inarch.port.model_steps import export  # noqa: E402
from inarch.port.new import draft_of  # noqa: E402
from inarch.port.outcome import Outcome, Tally  # noqa: E402
from inarch.port.patterns import index_names  # noqa: E402
from inarch.port.reference import find_evidence  # noqa: E402
from inarch.port.subjects import GOLDENS, Subjects  # noqa: E402
from inarch.port.write_files import decisions_of, files_of  # noqa: E402
from inarch.workflows.verification import verify_golden  # noqa: E402

OTHERS = ["convbert", "xlm", "phi",
    "falcon", "gptj", "gpt_neo", "codegen", "stablelm", "starcoder2", "biogpt", "ernie",
    "roformer", "rembert", "splinter", "camembert", "data2vec-text", "xmod", "nystromformer",
    "layoutlm", "openai-gpt", "xglm", "olmo", "granite", "cohere", "gemma",
    "glm", "persimmon", "helium", "exaone4", "arcee", "seed_oss", "ernie4_5",
    "squeezebert", "mobilebert", "ibert", "yoso", "mra", "luke", "blenderbot", "blenderbot-small",
    "plbart", "umt5", "led", "prophetnet"]  # fmt: skip
# Switches of published checkpoints that aren't the defaults, and fields that only their files have.
GIVEN: dict[str, dict[str, Any]] = {
    "esm": {"position_embedding_type": "rotary", "emb_layer_norm_before": False,
        "pad_token_id": 1, "mask_token_id": 32, "vocab_size": 33, "token_dropout": True},
    "deberta": {"relative_attention": True, "pos_att_type": "c2p|p2c",
        "position_biased_input": False},
    "deberta-v2": {"relative_attention": True, "pos_att_type": "p2c|c2p",
        "position_biased_input": False, "position_buckets": 256, "share_att_key": True,
        "norm_rel_ebd": "layer_norm"},
    "gte": {
        "auto_map": {"AutoModel": "modeling.NewModel"}, "layer_norm_type": "layer_norm",
        "logn_attention_clip1": False, "logn_attention_scale": False, "pack_qkv": True,
        "position_embedding_type": "rope", "unpad_inputs": False,
        "use_memory_efficient_attention": False},
    "nomic_bert": {
        "auto_map": {"AutoModel": "modeling_hf_nomic_bert.NomicBertModel"},
        "activation_function": "swiglu", "causal": False, "dense_seq_output": True,
        "embd_pdrop": 0.0, "fused_bias_fc": True, "fused_dropout_add_ln": True,
        "max_trained_positions": 2048, "mlp_fc1_bias": False, "mlp_fc2_bias": False,
        "pad_vocab_size_multiple": 64, "parallel_block": False, "parallel_block_tied_norm": False,
        "prenorm": False, "qkv_proj_bias": False, "reorder_and_upcast_attn": False,
        "rotary_emb_fraction": 1.0, "rotary_emb_interleaved": False, "rotary_emb_scale_base": None,
        "rotary_scaling_factor": None, "scale_attn_by_inverse_layer_idx": False,
        "scale_attn_weights": True, "summary_activation": None, "summary_first_dropout": 0.0,
        "summary_proj_to_labels": True, "summary_type": "cls_index", "summary_use_proj": True,
        "use_flash_attn": True, "use_rms_norm": False, "use_xentropy": True},
}  # fmt: skip
# Values of all arguments that aren't constants: off, and on, also where they are words.
SWITCHED = ("", "gated_on")
# Names of ours that differ between folders and mean the same.
ALIKE = {"pre_classifier": "pooled_dense", "summary": "pooled_dense"}


def hidden(folder: str | None) -> None:
    """Make all architectures but one those that are here."""
    (real, *_) = REAL
    home = Path(tempfile.mkdtemp())
    for path in Path(real).iterdir():
        if path.name not in (folder, "__pycache__"):
            (home / path.name).symlink_to(path)
    inarch.models.__path__ = [str(home)]
    registry.architectures.cache_clear()


def rules(source: Source) -> dict[tuple[str, ...], tuple[Any, ...]]:
    """Return the variables, pattern and condition of each rule, by the names of its tensors."""
    found = {}
    given = {e.ours: e.value for e in source.config if isinstance(e, Constant)}
    switched = [defaultdict(lambda value=value: value, given) for value in SWITCHED]
    for place, entry in _placed(source):
        holds = [entry.when is None or bool(entry.when(values)) for values in switched]
        if not any(holds):
            continue  # of another architecture of the same folder
        if isinstance(entry, Rule):
            ours = tuple("/".join(ALIKE.get(p, p) for p in name.split("/")) for name in entry.ours)
            found[*entry.theirs, place] = (ours, entry.pattern.replace(" ", ""), all(holds))
        elif isinstance(entry, Derived | Unused):
            continue  # of files of former versions, which nothing today shows
        else:
            found[*entry.theirs, place] = (type(entry).__name__, getattr(entry, "to", ""))
    return found


def _placed(source: Source) -> Iterator[tuple[str, Any]]:
    """Iterate over the entries of a format, each with where it is: a head's tied ones or others."""
    for entries in (source.weights, *source.optional_layers.values()):
        yield from (("", entry) for entry in entries)
    for head in _known_heads(source):
        for place in ("weights", "tied", "untied"):
            yield from ((place, entry) for entry in getattr(head, place))


def _known_heads(source: Source) -> Iterator[Head]:
    """Iterate over the heads of classes that transformers has; nothing shows others to a draft."""
    for head in source.heads.values():
        if any(hasattr(transformers, name) for name in head.architectures):
            yield head


def fields(source: Source) -> dict[str, tuple[Any, ...]]:
    """Return the kind and the value of each entry of the config map, by field."""
    found: dict[str, tuple[Any, ...]] = {}
    for entry in (*source.config, *(e for h in _known_heads(source) for e in h.config)):
        if isinstance(entry, Ignored):
            found |= dict.fromkeys(entry.theirs, ("ignored",))
        elif isinstance(entry, MustBe):
            found[entry.theirs] = ("fixed", repr(entry.values[:1]))
        elif isinstance(entry, Field):
            found[entry.theirs] = ("mapped", repr(entry.default))
        else:
            assert isinstance(entry, Constant)
    return found


def agreement(mine: Mapping[Any, Any], theirs: Mapping[Any, Any]) -> tuple[int, int, list[Any]]:
    """Return how many entries are there and right, of how many, and the wrong ones."""
    wrong = [name for name, entry in theirs.items() if mine.get(name) != entry]
    return len(theirs) - len(wrong), len(theirs), wrong


def measure(model_type: str) -> dict[str, Any]:
    """Return the figures of a model type's draft."""
    inarch.models.__path__ = REAL
    registry.architectures.cache_clear()
    known = [a for a in registry.architectures().values() if model_type in a.model_types]
    true = known[0].sources[known[0].model_types.index(model_type)] if known else None
    hidden(known[0].name if known else None)
    config = {"model_type": model_type, **GIVEN.get(model_type, {})}
    start = time.perf_counter()
    row: dict[str, Any] = {"model_type": model_type}
    try:
        draft = draft_of("drafted", Header(model_type, config, {}))
    except InarchError as e:
        return row | {"refused": str(e)}
    if draft.evidence is None:  # no tensors without a reference that runs
        return row | {"refused": _reason(model_type, config)}
    row["seconds"] = round(time.perf_counter() - start)
    lines = decisions_of(draft)
    row |= {kind: sum(one.kind == kind for one in lines) for kind in ("DECIDE", "GUESS")}
    settled = {one.subject for one in lines if one.kind == "SETTLED"}
    row["verified"] = sorted(settled)
    row["open"] = [one.in_words()[:150] for one in lines if one.kind != "SETTLED"]
    with tempfile.TemporaryDirectory() as folder:
        write_folder(Path(folder), "drafted", files_of(draft))
        try:
            with mounted(Path(folder), "drafted") as architecture:
                row |= compared(architecture.sources[0], true, draft)
        except InarchError as e:
            row["imports"] = str(e)
    return row


def _reason(model_type: str, config: Mapping[str, Any]) -> str:
    """Return why no tiny reference runs, since a draft from a config alone has no tensors."""
    try:
        find_evidence(model_type, config)
    except InarchError as e:
        return str(e)
    return ""


def compared(source: Source, true: Source | None, draft: Any) -> dict[str, Any]:
    """Return how much of the maps is right, or how many tensors the map has."""
    if true is not None:
        map_right, map_all, wrong = agreement(rules(source), rules(true))
        own = {*draft.usual, *draft.given}
        known = {
            name: entry
            for name, entry in fields(true).items()
            if entry != ("ignored",) or name in own  # fields of files of former versions
        }
        config_right, config_all, odd = agreement(fields(source), known)
        return {
            "map": f"{map_right}/{map_all}", "config": f"{config_right}/{config_all}",
            "wrong_map": [" + ".join(w).rstrip(" +") for w in wrong], "wrong_config": odd,
        }  # fmt: skip
    if draft.evidence is None:
        return {}
    names = {index_names(name) for name in draft.evidence.tensors}
    entries = [*source.weights, *(e for part in source.optional_layers.values() for e in part)]
    mapped = {index_names(name) for entry in entries for name in entry.theirs}
    return {"tensors": f"{len(names & mapped)}/{len(names)}", "left_out": sorted(names - mapped)}


def check(backend: str, names: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Iterate over the noise ratio of each golden file, and the exports of each folder.

    Args:
        backend: the one that Keras runs on; exports are looked at on JAX alone.
        names: of golden files and of folders; by default all.
    """
    for name in names or registry.goldens():
        report = verify_golden(GOLDENS / f"{name}.safetensors", measures_coverage=False)
        worst = max(measure.worst for measure in report.measures)
        yield {"golden": name, "backend": backend, "noise": float(f"{worst:.2g}")}
    folders = [n for n in registry.architectures() if not names or n in names]
    for name in folders if backend == "jax" else ():
        with tempfile.TemporaryDirectory() as work:
            outcome = export(Subjects(name, Path(work)), Tally())
            yield {"folder": name, "export": _words(outcome)}


def _words(outcome: Outcome) -> str:
    """Return how many tensors come back, or how many don't."""
    count = outcome.summary.partition(" ")[0]
    return f"{count} of {count}" if not outcome.faults else f"{len(outcome.faults)} don't"


REAL = list(inarch.models.__path__)

if __name__ == "__main__":
    command, *given = sys.argv[1:]
    if command == "check":
        for row in check(import_keras(), given):
            print(json.dumps(row), flush=True)
        raise SystemExit
    here = [a.sources[0].model_type for a in registry.goldens().values()]
    for name in given or [*here, *OTHERS]:
        try:
            print(json.dumps(measure(name)), flush=True)
        except Exception as e:
            print(json.dumps({"model_type": name, "error": repr(e)[:300]}), flush=True)
