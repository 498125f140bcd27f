"""Files of sentence-transformers' CrossEncoder of a causal language model.

Source: sentence-transformers, cross_encoder/modules/logit_score.py. A transformer gives the logits
of the token after a pair, and `LogitScore` takes the score from those of one token or of two.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inarch.errors import ConfigError
from inarch.file_names import MODULES
from inarch.json_fields import json_text, read_object
from inarch.models.loading import Checkpoint
from inarch.preprocessors.text_source import tokenizer_of
from inarch.sentence_transformers import sentence_fields
from inarch.sentence_transformers.module_files import (
    TRANSFORMER_FILES,
    TextConfig,
    list_modules,
    modules_list,
    read_fields,
    read_transformer,
    write_texts,
)

KINDS = ["Transformer", "LogitScore"]
PATH = "1_LogitScore"
_TYPES = {
    "": "sentence_transformers.base.modules.transformer.Transformer",
    PATH: "sentence_transformers.cross_encoder.modules.logit_score.LogitScore",
}
YES, NO = "yes", "no"
# What a template has that reads the content of messages as a list of parts.
_PARTS = ("content[0]", ".type", "'type'", '"type"', "message.content[")


@dataclass(frozen=True)
class ScoreConfig:
    """Settings of such a folder, besides those of its texts.

    Args:
        true_token_id, false_token_id: of the logits whose difference is the score.
        message_format: as of `PairPreprocessor`.
        template_variables: as of `PairPreprocessor`.
    """

    true_token_id: int
    false_token_id: int | None
    message_format: str | None = None
    template_variables: dict[str, Any] = field(default_factory=dict)


def is_declared(folder: Path) -> bool:
    """Return whether a folder lists a transformer and `LogitScore`."""
    return [module.kind for module in list_modules(folder) or ()] == KINDS


def has_modules(folder: Path) -> bool:
    """Return whether a folder lists modules of sentence-transformers."""
    return list_modules(folder) is not None


def read(checkpoint: Checkpoint) -> ScoreConfig:
    """Return the tokens of a folder; of one that declares none, "yes" and "no" as CrossEncoder has.

    Raises:
        ConfigError: a field isn't computed here, or there are no such tokens.
    """
    folder, tokenizer = checkpoint.folder, tokenizer_of(checkpoint)
    if is_declared(folder):
        module = (list_modules(folder) or [])[1]
        fields = read_fields(folder / module.config, sentence_fields.LOGIT_SCORE)
        true, false = fields.get("true_token_id"), fields.get("false_token_id")
        if true is None:
            raise ConfigError(f"{folder / module.config} has no true_token_id; add the token's id")
    else:
        for token in (YES, NO):
            if not tokenizer.has_token(token):
                raise ConfigError(
                    f"{folder} declares no tokens whose logits make a score, and its tokenizer has "
                    f"no {token!r}; give true_token_id and false_token_id"
                )
        true, false = tokenizer.token_to_id(YES), tokenizer.token_to_id(NO)
    return ScoreConfig(true, false)


def read_messages(folder: Path, templates: dict[str, str]) -> tuple[str | None, dict[str, Any]]:
    """Return the format of messages, None for texts, and the variables of their template.

    A folder that declares neither has messages where the tokenizer has a chat template.
    """
    _, files = read_transformer(folder, "", TextConfig(), sentence_fields.CAUSAL_TRANSFORMER)
    declared: dict[str, Any] = next(iter(files.values()), {})
    variables = (declared.get("processing_kwargs") or {}).get("chat_template", {})
    modalities = declared.get("modality_config")
    if modalities is None:
        modalities = {"message": {}} if templates else {}
    if "message" not in modalities:
        return None, variables
    given = modalities["message"].get("format", "auto")
    if given == "auto":
        text = next(iter(templates.values()), "")
        given = "structured" if not text or any(part in text for part in _PARTS) else "flat"
    return given, variables


def write(folder: Path, score: ScoreConfig, templates: dict[str, str]) -> None:
    """Write the files of a transformer and `LogitScore` that a folder lacks, or that differ.

    Args:
        templates: the chat templates of the tokenizer.
    """
    there = {module.kind: module for module in list_modules(folder) or ()}
    path = there["LogitScore"].path if "LogitScore" in there else PATH
    files: dict[str, Any] = {
        f"{path}/config.json": {
            "true_token_id": score.true_token_id,
            "false_token_id": score.false_token_id,
            "module_input_name": "causal_logits",
        }
    }
    if not there:
        files[MODULES] = modules_list(_TYPES)
    name = next((n for n in TRANSFORMER_FILES if (folder / n).is_file()), TRANSFORMER_FILES[0])
    declared = read_object(folder / name) if (folder / name).is_file() else {}
    messages = (score.message_format, score.template_variables)
    if not declared or read_messages(folder, templates) != messages:
        files[name] = declared | _transformer(*messages)
    write_texts(folder, {name: json_text(value) for name, value in files.items()})


def _transformer(message_format: str | None, variables: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a transformer whose logits are read."""
    by_forward = {"method": "forward", "method_output_name": "logits"}
    message = {**by_forward, "format": message_format}
    return {
        "transformer_task": "text-generation",
        "modality_config": {"text": by_forward} | ({"message": message} if message_format else {}),
        "module_output_name": "causal_logits",
        "processing_kwargs": {"chat_template": variables} if variables else {},
    }
