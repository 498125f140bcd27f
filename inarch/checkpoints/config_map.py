"""Config maps: their `config.json` as our constructor's arguments, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from inarch.checkpoints.config import REQUIRED, ConfigEntry, Constant, Field, Inert, Only
from inarch.errors import ConfigError

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
        implied = entry.theirs in config or (not complete and entry.default is not REQUIRED)
        if not implied or entry.read(config) != value:
            config[entry.theirs] = entry.write(value, config)
