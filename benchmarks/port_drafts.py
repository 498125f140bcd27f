"""Measure the drafts of `inarch port new`: of architectures that are here, and of others.

For an architecture that is here, its own folder is hidden, and each entry of its maps is compared
with the draft's. For any other, the draft is compared with a tiny model of transformers: tensors
that the map leaves out are counted, and each layer and each head is verified.

    python benchmarks/port_drafts.py bert opt gpt_neox > rows      # or no names: all of the list
    python benchmarks/port_drafts.py --page < rows > docs/drafts.md
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inarch.backend import import_keras

import_keras()

import inarch.models  # noqa: E402
from inarch.checkpoints.maps.entries import Derived, Rule, Unused  # noqa: E402
from inarch.checkpoints.maps.fields import Constant, Field, Ignored, MustBe  # noqa: E402
from inarch.checkpoints.maps.source import Source  # noqa: E402
from inarch.errors import InarchError  # noqa: E402
from inarch.models import registry  # noqa: E402
from inarch.port.folder import mounted, write_folder  # noqa: E402
from inarch.port.header import Header  # noqa: E402
from inarch.port.nearest import all_entries  # noqa: E402
from inarch.port.new import draft_of  # noqa: E402
from inarch.port.write_files import decisions_of, files_of  # noqa: E402

HERE = ["bert", "distilbert", "roberta", "mpnet", "electra", "gpt2", "llama", "mistral", "qwen2",
    "qwen3", "smollm3", "modernbert", "albert", "fnet", "deberta-v2"]  # fmt: skip
OTHERS = ["opt", "esm", "nomic_bert", "gte", "megatron-bert", "convbert", "xlm", "bloom", "phi",
    "falcon", "gpt_neox", "gptj", "gpt_neo", "codegen", "stablelm", "starcoder2", "biogpt", "ernie",
    "roformer", "rembert", "splinter", "camembert", "data2vec-text", "xmod", "nystromformer",
    "layoutlm", "openai-gpt", "xglm", "olmo", "olmo2", "granite", "cohere", "gemma", "gemma2",
    "phi3", "glm", "persimmon", "helium", "exaone4", "arcee", "seed_oss", "ernie4_5", "eurobert",
    "squeezebert", "mobilebert", "ibert", "yoso", "mra", "luke"]  # fmt: skip
# Switches of published checkpoints that aren't the defaults.
GIVEN = {"esm": {"position_embedding_type": "rotary", "emb_layer_norm_before": False,
    "pad_token_id": 1, "mask_token_id": 32, "vocab_size": 33, "token_dropout": True}}  # fmt: skip
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
    switched = [defaultdict(lambda value=value: value, given) for value in (False, True)]
    for entry in all_entries(source):
        holds = [entry.when is None or bool(entry.when(values)) for values in switched]
        if not any(holds):
            continue  # of another architecture of the same folder
        if isinstance(entry, Rule):
            ours = tuple("/".join(ALIKE.get(p, p) for p in name.split("/")) for name in entry.ours)
            found[entry.theirs] = (ours, entry.pattern.replace(" ", ""), all(holds))
        elif isinstance(entry, Derived | Unused):
            continue  # of files of former versions, which nothing today shows
        else:
            found[entry.theirs] = (type(entry).__name__, getattr(entry, "to", ""))
    return found


def fields(source: Source) -> dict[str, tuple[Any, ...]]:
    """Return the kind and the value of each entry of the config map, by field."""
    found: dict[str, tuple[Any, ...]] = {}
    for entry in (*source.config, *(e for h in source.heads.values() for e in h.config)):
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
            "wrong_map": [" + ".join(w) for w in wrong], "wrong_config": odd,
        }  # fmt: skip
    if draft.evidence is None:
        return {}
    names = {n.replace(".0.", ".{i}.") for n in draft.evidence.tensors if ".1." not in n}
    mapped = {name for entry in source.weights for name in entry.theirs}
    mapped |= {n for entries in source.optional_layers.values() for e in entries for n in e.theirs}
    return {"tensors": f"{len(names & mapped)}/{len(names)}", "left out": sorted(names - mapped)}


PAGE = """# What a draft gets right

`python benchmarks/port_drafts.py` drafts each of these architectures of transformers by
[`inarch port new`](contribute/wanted.md#a-draft-of-the-folder) from its `model_type` alone, while
the folder that is here is hidden. Nothing is edited. *Graph* and *heads* are what computes the
reference's values, layer by layer, in a tiny model with random weights.

"""
COMPARED = """## Architectures that are here

*Map* and *config*: of the entries of the folder that is here, those that the draft has too, with
the same names, axes, kinds and defaults. Fields that do nothing and that only files of former
versions have aren't counted.

| model_type | graph | heads | map | config | DECIDE | GUESS |
|---|---|---|---|---|---|---|
"""
NEW = """
## Architectures that aren't

*Tensors* counts those of the model without a head that the map has.

| model_type | graph | heads | tensors | DECIDE | GUESS | what is missing |
|---|---|---|---|---|---|---|
"""


def page(rows: list[dict[str, Any]]) -> str:
    """Return the page with the tables of rows."""
    here = [row for row in rows if "map" in row]
    new = [row for row in rows if "map" not in row]
    return (
        PAGE + COMPARED + "\n".join(map(_row, here)) + "\n" + NEW + "\n".join(map(_row, new)) + "\n"
    )


def _row(row: dict[str, Any]) -> str:
    settled = row.get("verified", [])
    heads = [n for n in settled if n in ("masked_lm", "causal_lm", "text_classifier")]
    cells = [row["model_type"], "yes" if "graph" in settled else "no", ", ".join(heads) or "–"]
    if "map" in row:
        cells += [row["map"], row["config"], row["DECIDE"], row["GUESS"]]
    else:
        cause = row.get("refused") or row.get("error") or ""
        cause = cause or next((one for one in row.get("open", ()) if one.startswith("graph")), "")
        words = cause.removeprefix("graph: the draft doesn't compute what the reference does, ")
        words = words.replace("|", "/").replace("\n", " ")[:110]
        counts = [row.get(n, "–") for n in ("tensors", "DECIDE", "GUESS")]
        cells += [*counts, words or "–"]
    return f"| {' | '.join(map(str, cells))} |"


REAL = list(inarch.models.__path__)

if __name__ == "__main__":
    if sys.argv[1:] == ["--page"]:
        print(page([json.loads(line) for line in sys.stdin if line.startswith("{")]), end="")
        raise SystemExit
    for name in sys.argv[1:] or HERE + OTHERS:
        try:
            print(json.dumps(measure(name)), flush=True)
        except Exception as e:
            print(json.dumps({"model_type": name, "error": repr(e)[:300]}), flush=True)
