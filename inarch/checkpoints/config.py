"""Config maps: their `config.json` as our constructor's arguments, and back.

A field is mapped, fixed to the one value that our graph computes, or declared to have no part
in the numbers. Anything else is refused by name, because a field that is silently dropped is how
a ReLU model ends up computed with GELU.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from inarch.errors import ConfigError

_REQUIRED = object()

# Fields of transformers' configs that describe files, training or generation, and can't change
# what a forward pass computes.
GENERIC = frozenset(
    [
        "_attn_implementation",
        "_attn_implementation_autoset",
        "_commit_hash",
        "_name_or_path",
        "_num_labels",
        "architectures",
        "attn_implementation",
        "auto_map",
        "bos_token_id",
        "cls_token_id",
        "custom_pipelines",
        "decoder_start_token_id",
        "dtype",
        "eos_token_id",
        "experts_implementation",
        "finetuning_task",
        "forced_bos_token_id",
        "forced_eos_token_id",
        "gradient_checkpointing",
        "id2label",
        "initializer_range",
        "keys_to_ignore_at_inference",
        "label2id",
        "language",
        "license",
        "mask_token_id",
        "model_name",
        "model_type",
        "name_or_path",
        "num_labels",
        "output_attentions",
        "output_hidden_states",
        "output_past",
        "pad_token_id",
        "prefix",
        "problem_type",
        "return_dict",
        "return_dict_in_generate",
        "sep_token_id",
        "task_specific_params",
        "tie_encoder_decoder",
        "tie_word_embeddings",
        "tie_weights_",
        "tokenizer_class",
        "torch_dtype",
        "torchscript",
        "transformers_version",
        "unk_token_id",
        "use_bfloat16",
        "use_cache",
        "vocab_file",
    ]
)

# Text generation settings that older versions of transformers wrote into every config.
GENERATION = frozenset(
    [
        "bad_words_ids",
        "begin_suppress_tokens",
        "diversity_penalty",
        "do_sample",
        "early_stopping",
        "encoder_no_repeat_ngram_size",
        "exponential_decay_length_penalty",
        "length_penalty",
        "max_length",
        "min_length",
        "no_repeat_ngram_size",
        "num_beam_groups",
        "num_beams",
        "num_return_sequences",
        "output_scores",
        "remove_invalid_values",
        "repetition_penalty",
        "suppress_tokens",
        "temperature",
        "top_k",
        "top_p",
        "typical_p",
    ]
)


@dataclass(frozen=True)
class Field:
    """Their field `theirs` is our argument `ours`.

    `values` translates a choice; the first of several spellings is the one written back. `least`
    is the smallest whole number it can be, unless its default is smaller, and `most` the largest
    number. Where theirs counts the rows of a table of which the first aren't used, up to and
    including the row that another field `after` names, ours counts the rest.
    """

    theirs: str
    ours: str
    default: Any = _REQUIRED
    values: Mapping[Any, Any] | None = field(default=None, hash=False)
    least: int = 1
    most: float = math.inf
    after: Field | None = None

    def read(self, config: Mapping[str, Any]) -> Any:
        value = config.get(self.theirs, self.default)
        if value is _REQUIRED:
            raise ConfigError(f"the config has no {self.theirs!r}")
        if self.values is not None:
            try:
                return self.values[value]
            except (KeyError, TypeError):
                known = ", ".join(map(repr, self.values))
                raise ConfigError(
                    f"config field {self.theirs!r} is {value!r}; computed here: {known}"
                ) from None
        if not _fits(value, self.default, self.least, self.most):
            bound = "" if self.most == math.inf else f"; it must be from 0 to {self.most}"
            raise ConfigError(
                f"config field {self.theirs!r} has the unusable value {value!r}{bound}"
            )
        if self.after is None:
            return value
        rows = value - self.after.read(config) - 1
        if rows < 1:
            raise ConfigError(
                f"config field {self.theirs!r} is {value!r}, of which {self.after.theirs!r} "
                "leaves no row to be used"
            )
        return rows

    def write(self, value: Any, config: Mapping[str, Any]) -> Any:
        if self.after is not None:
            return value + self.after.read(config) + 1
        if self.values is None:
            return value
        for theirs, ours in self.values.items():
            if ours == value:
                return theirs
        known = ", ".join(sorted({repr(ours) for ours in self.values.values()}))
        raise ConfigError(
            f"{self.ours}={value!r} can't be written as their {self.theirs!r}; known: {known}"
        )


@dataclass(frozen=True)
class Only:
    """A field that must have a value of `values` (the default when absent) to be computed here."""

    theirs: str
    values: tuple[Any, ...]

    def check(self, config: Mapping[str, Any]) -> None:
        value = config.get(self.theirs, self.values[0])
        if not any(value == allowed and type(value) is type(allowed) for allowed in self.values):
            raise ConfigError(
                f"config field {self.theirs!r} is {value!r}; only "
                f"{' or '.join(map(repr, self.values))} is computed here"
            )


@dataclass(frozen=True)
class Inert:
    """Fields that have no part in the numbers, with the reason."""

    theirs: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Constant:
    """Our argument `ours` is a constant of their code, of which no field speaks."""

    ours: str
    value: Any

    def read(self, config: Mapping[str, Any]) -> Any:
        return self.value


ConfigEntry = Field | Only | Inert | Constant


def same(theirs: str, ours: str, default: Any = _REQUIRED) -> Field:
    """The value of `theirs` is the argument `ours`; `default` is what the original assumes."""
    return Field(theirs, ours, default)


def rate(theirs: str, ours: str, default: float | None) -> Field:
    """A rate of dropout, from 0 to 1."""
    return Field(theirs, ours, default, most=1)


def token(theirs: str, ours: str, default: int) -> Field:
    """The id of a token, from 0 on."""
    return Field(theirs, ours, default, least=0)


def rows_after(theirs: str, after: Field, ours: str, default: Any = _REQUIRED) -> Field:
    """`theirs` counts the rows of a table, `ours` those after the row that `after` names."""
    return Field(theirs, ours, default, after=after)


def constant(ours: str, value: Any) -> Constant:
    """An argument of ours that is a constant of their code."""
    return Constant(ours, value)


def choice(theirs: str, ours: str, values: Mapping[Any, Any], default: Any = _REQUIRED) -> Field:
    """One of several known values, translated by `values` (theirs to ours)."""
    return Field(theirs, ours, default, values)


def only(theirs: str, *values: Any) -> Only:
    """A field refused by name unless it has one of `values`; the first is assumed when absent."""
    return Only(theirs, values)


def inert(reason: str, *theirs: str) -> Inert:
    """Fields that are known and do nothing, with the reason."""
    return Inert(theirs, reason)


# Their activation names (transformers' ACT2FN) and ours.
ACTIVATIONS: dict[str, str] = {
    "gelu": "gelu",
    "gelu_new": "gelu_approximate",
    "gelu_pytorch_tanh": "gelu_approximate",
    "gelu_fast": "gelu_approximate",
    "gelu_python": "gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "linear": "linear",
}


# What transformers' models can be switched to and none of ours computes.
PLAIN: tuple[Only, ...] = (
    only("is_decoder", False),
    only("add_cross_attention", False),
    only("chunk_size_feed_forward", 0),
    only("pruned_heads", {}),
    only("cross_attention_hidden_size", None),
)
ENCODER_ONLY: tuple[Only, ...] = (*PLAIN, only("is_encoder_decoder", False))


@dataclass(frozen=True)
class ConfigMap:
    """A list of entries that accounts for every field of a config.

    Args:
        entries: fields of the model itself.
        elsewhere: fields that a head maps; known here and left alone.
    """

    entries: tuple[ConfigEntry, ...]
    elsewhere: tuple[ConfigEntry, ...] = ()

    def arguments(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Our constructor's arguments from their config.

        Raises:
            ConfigError: fields that are unknown, missing or of a value not computed here; all
                unknown ones are named at once.
        """
        unknown = {k: v for k, v in config.items() if k not in self._known()}
        if unknown.get("quantization_config") is not None:
            raise ConfigError(
                "the config has 'quantization_config', and quantized checkpoints aren't read. "
                "Load the one that it was made from, or bring it back to floats by the library "
                "that wrote it"
            )
        if unknown:
            listed = ", ".join(f"{k}={v!r}" for k, v in unknown.items())
            raise ConfigError(
                f"the config has fields that could change the numbers and aren't mapped: {listed}. "
                "Remove those that do nothing in the original, or add them to the config map"
            )
        # First what is read, so that what other fields imply is told from values that are usable.
        arguments = read_fields(self.entries, config)
        for entry in self.entries:
            if isinstance(entry, Only):
                entry.check(config)
        return arguments

    def _known(self) -> set[str]:
        known = set(GENERIC | GENERATION)
        for entry in (*self.entries, *self.elsewhere):
            if isinstance(entry, Constant):
                continue
            known.update(entry.theirs if isinstance(entry, Inert) else (entry.theirs,))
        return known


def tied(config: Mapping[str, Any]) -> bool:
    """Whether output and input embeddings are one, as they are where a config doesn't say.

    Raises:
        ConfigError: the field is neither true nor false, which transformers refuses too.
    """
    value = config.get("tie_word_embeddings", True)
    if not isinstance(value, bool):
        raise ConfigError(
            f"config field 'tie_word_embeddings' is {value!r}; it must be true or false"
        )
    return value


def read_fields(entries: Iterable[ConfigEntry], config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that the mapped fields of `config` give."""
    read = (entry for entry in entries if isinstance(entry, Field | Constant))
    return {entry.ours: entry.read(config) for entry in read}


def write_fields(
    entries: Iterable[ConfigEntry],
    arguments: Mapping[str, Any],
    config: dict[str, Any],
    complete: bool = False,
) -> None:
    """Bring `config` up to `arguments`, leaving the spelling of unchanged fields as it is.

    A field that is absent and has its default is written only if `complete`.
    """
    for entry in entries:
        if not isinstance(entry, Field) or entry.ours not in arguments:
            continue
        value = arguments[entry.ours]
        implied = entry.theirs in config or (not complete and entry.default is not _REQUIRED)
        if not implied or entry.read(config) != value:
            config[entry.theirs] = entry.write(value, config)


def _fits(value: Any, default: Any, least: int, most: float) -> bool:
    """Whether a value is one that a field with this default can have."""
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if default is None or isinstance(default, float):
        number = isinstance(value, int | float) and math.isfinite(value) and 0 <= value <= most
        return number or (default is None and value is None)
    if default is _REQUIRED or isinstance(default, int):
        least = min(least, default) if isinstance(default, int) else least
        return isinstance(value, int) and value >= least
    return isinstance(value, type(default))
