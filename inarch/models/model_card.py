"""Model cards: the README.md of a saved model, with the front matter that the hub reads.

Format: huggingface.co/docs/hub/model-cards.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from inarch.files import read_file
from inarch.models import registry
from inarch.models.origin import backbone_of, head_name, origin_of, source_of

CARD = "README.md"
# How the front matter is parted from the text, and how a card of ours is known: by the digest of
# all else, so that one that somebody has edited is theirs, as the hub's form edits front matter.
_FENCE = "---"
_MARK = "<!-- Written by inarch, which writes it anew unless it is edited: {} -->\n"
_MARKED = re.compile(_MARK.format(r"(\w{64})"))


def model_card(model: Any, name: str = "FOLDER") -> str:
    """Return the text of a model's card.

    Args:
        model: a backbone or a task.
        name: what it is loaded by: a folder, or a hub id.
    """
    body = _body(model, name)
    fields = "\n".join(f"{key}: {value}" for key, value in _front_matter(model).items())
    front = f"{_FENCE}\n{fields}\n{_FENCE}\n"
    return f"{front}{_MARK.format(_digest(front + body))}{body}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def may_write_card(path: Path) -> bool:
    """Return whether there is no card, or one that was written here and that nobody has edited.

    Raises:
        CheckpointFileError: there is a file that can't be read.
    """
    if not path.is_file():
        return True
    text = read_file(path).decode(errors="replace").replace("\r\n", "\n")
    found = _MARKED.search(text)
    if found is None:
        return False
    return _digest(text[: found.start()] + text[found.end() :]) == found[1]


def write_card(model: Any, fresh: Path, folder: Path) -> None:
    """Write the card of a model into the `fresh` files for `folder`, unless it has its own."""
    if may_write_card(folder / CARD):
        (fresh / CARD).write_text(model_card(model, folder.name), "utf-8")


def _front_matter(model: Any) -> dict[str, str]:
    fields = {"library_name": getattr(model, "library_name", "transformers")}
    if tag := getattr(model, "pipeline_tag", None):
        fields["pipeline_tag"] = tag
    if base := base_model(model):
        fields["base_model"] = base
        licences = {preset.hub: preset.licence for preset in registry.presets().values()}
        fields |= {"license": licences[base]} if base in licences else {}
    return {**fields, "tags": "[inarch, keras]"}


def base_model(model: Any) -> str | None:
    """Return the hub id of the checkpoint that a model was loaded from, if it came from a hub."""
    old = origin_of(model).layout
    return old.origin if old else None


def _body(model: Any, name: str) -> str:
    backbone, source, head = backbone_of(model), source_of(model), head_name(model)
    kind = type(model).__name__
    theirs = source.heads[head].architectures[0] if head else source.architecture
    package, load = "transformers", f"{theirs}.from_pretrained"
    if (own := getattr(model, "library_class", None)) is not None:
        package, load, theirs = model.library_name.replace("-", "_"), own, own
    lines = [f"# {kind} of {type(backbone).__name__}", ""]
    if base := base_model(model):
        lines += [f"Made from [{base}](https://huggingface.co/{base}).", ""]
    lines += [
        f"- architecture: {source.model_type}, {backbone.num_layers} layers of width "
        f"{backbone.hidden_dim}, {backbone.count_params():,} parameters",
        f"- task: {kind}",
    ]
    if labels := model.arguments.get("labels"):
        lines.append(f"- labels: {', '.join(f'`{_quoted(label)}`' for label in labels)}")
    path = json.dumps(name)
    lines += [
        "", "## Load it", "", "```python", "import inarch", "", f"model = inarch.load({path})",
        "```", "", "```python", f"from {package} import {theirs}", "",
        f"model = {load}({path})", "```", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _quoted(label: str) -> str:
    """Return a label as JSON text, which is one line, without what would end a code span."""
    return json.dumps(label, ensure_ascii=False).replace("`", "'")
