"""Options of generation checked, of a call and of generation_config.json."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from inarch.errors import ConfigError, InputError
from inarch.generation.options import GenerationOptions, as_ids
from inarch.validation import AT_LEAST_0, COUNT, NATURAL, SHARE, Validator, shown

GENERATION_FILE = "generation_config.json"


def _token_ids(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(NATURAL.accepts, value))
    return NATURAL.accepts(value)


def _single_tokens(value: Any) -> bool:
    return all(isinstance(word, list | tuple) and len(word) == 1 for word in value) and all(
        NATURAL.accepts(index) for (index,) in value
    )


def _stop_strings(value: Any) -> bool:
    strings = [value] if isinstance(value, str) else value
    return all(isinstance(text, str) and text for text in strings)


FLAG = Validator("True or False", types=(bool,))
TOKENS = Validator("a list of token ids, which are at least 0", _token_ids, (list, tuple))
ENDS = "a token id, or a list of them, at least 0"
# The options that are computed, and what each of them can be.
OPTIONS: dict[str, Validator] = {
    "max_new_tokens": COUNT,
    "max_length": COUNT,
    "min_new_tokens": NATURAL,
    "min_length": NATURAL,
    "do_sample": FLAG,
    "temperature": AT_LEAST_0,
    "top_k": NATURAL,
    "top_p": SHARE,
    "min_p": SHARE,
    "repetition_penalty": Validator(
        "a number above 0", lambda value: 0 < value < math.inf, (Real,)
    ),
    "no_repeat_ngram_size": NATURAL,
    "bad_words_ids": Validator(
        "a list of lists of one token id each; longer ones aren't computed here",
        _single_tokens,
        (list, tuple),
    ),
    "forced_bos_token_id": NATURAL,
    "forced_eos_token_id": Validator(ENDS, _token_ids, (Integral, list, tuple)),
    "suppress_tokens": TOKENS,
    "begin_suppress_tokens": TOKENS,
    "num_beams": COUNT,
    "num_return_sequences": COUNT,
    "length_penalty": Validator("a number", math.isfinite, (Real,)),
    "early_stopping": Validator(
        "True, False or 'never'", lambda value: value in (True, False, "never"), (bool, str)
    ),
    "eos_token_id": Validator(ENDS, _token_ids, (Integral, list, tuple)),
    "renormalize_logits": FLAG,
    "stop_strings": Validator(
        "a text, or a list of texts, that aren't empty", _stop_strings, (str, list, tuple)
    ),
}
# Fields of the reference that would change the tokens and aren't computed, and the values with
# which they don't.
NOT_COMPUTED: dict[str, tuple[Any, ...]] = {
    "typical_p": (1.0,),
    "epsilon_cutoff": (0.0,),
    "eta_cutoff": (0.0,),
    "encoder_repetition_penalty": (1.0,),
    "encoder_no_repeat_ngram_size": (0,),
    "diversity_penalty": (0.0,),
    "num_beam_groups": (1,),
    "guidance_scale": (1.0,),
    "penalty_alpha": (0.0,),
    "token_healing": (False,),
    "use_mtp": (False,),
    **dict.fromkeys(
        (
            "top_h", "force_words_ids", "constraints", "sequence_bias",
            "exponential_decay_length_penalty",
            "watermarking_config", "dola_layers", "max_time", "prompt_lookup_num_tokens",
            "assistant_early_exit", "speculation_type",
        ),
        (),
    ),
}  # fmt: skip
SAMPLING = ("temperature", "top_k", "top_p", "min_p")
BEAMS = ("length_penalty", "early_stopping")


def resolve_options(
    given: Mapping[str, Any],
    declared: Mapping[str, Any],
    end_ids: Sequence[Any],
    vocabulary_size: int,
) -> GenerationOptions:
    """Return the options of a call, with defaults of the checkpoint where it has any.

    Args:
        given: of the call; None stands for an option that isn't given.
        declared: content of generation_config.json. Fields without influence on the tokens, and
            fields that the reference doesn't know, are passed over.
        end_ids: the end token by other files or None, of which the first one counts, where
            `declared` has none.
        vocabulary_size: number of tokens of the model.

    Raises:
        InputError, InputTypeError: an option of the call is unknown, can't be used, or contradicts
            another.
        ConfigError: a field of the file isn't of its kind, or would change the tokens and isn't
            computed here.
    """
    given = {name: value for name, value in given.items() if value is not None}
    for name, value in given.items():
        if name not in OPTIONS:
            raise InputError(_unknown(name, value))
        OPTIONS[name].check(name, value)
    values = _declared(declared, given)
    ends = [end for end in end_ids if OPTIONS["eos_token_id"].accepts(end)]
    if ends and "eos_token_id" not in {**values, **given}:
        values["eos_token_id"] = ends[0]
    for name in ("eos_token_id", "suppress_tokens", "begin_suppress_tokens"):
        if name in given and (wrong := [i for i in as_ids(given[name]) if i >= vocabulary_size]):
            raise InputError(
                f"{name} has token id {wrong[0]}, and the model has {vocabulary_size} tokens; give "
                "ids of its own tokenizer"
            )
        if name in values:  # where a file has others, they never come
            values[name] = [i for i in as_ids(values[name]) if i < vocabulary_size]
    if "bad_words_ids" in values:
        words = values["bad_words_ids"]
        values["bad_words_ids"] = [word for word in words if word[0] < vocabulary_size]
    # A limit of the call goes before one of the file, whichever of the two it is.
    if "max_length" in given and "max_new_tokens" not in given:
        values.pop("max_new_tokens", None)
    options = GenerationOptions(**values | given)
    _check_together(options, given)
    return options


def _declared(declared: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a checkpoint declares, checked, without those that a call gives."""
    found = {}
    for name, value in declared.items():
        if value is None or name in given:
            continue
        if name in OPTIONS:
            if not OPTIONS[name].accepts(value):
                raise ConfigError(
                    f"{GENERATION_FILE}: {name!r} is {shown(value)}; it must be "
                    f"{OPTIONS[name].words}"
                )
            found[name] = value
        elif name in NOT_COMPUTED and value not in NOT_COMPUTED[name]:
            raise ConfigError(
                f"{GENERATION_FILE}: {name!r} is {shown(value)}, which changes the text and isn't "
                "computed here; take it out of the file, or set the attribute `generation` of the "
                "task to the other fields"
            )
    return found


def _unknown(name: str, value: Any) -> str:
    if name in NOT_COMPUTED:
        return f"{name} is {shown(value)}; it isn't computed here: leave it out"
    near = difflib.get_close_matches(name, OPTIONS, 1)
    known = f"did you mean {near[0]}?" if near else f"the options are {', '.join(OPTIONS)}"
    return f"{name} is {shown(value)}, and there is no such option; {known}"


def _check_together(options: GenerationOptions, given: Mapping[str, Any]) -> None:
    """Raise InputError where options contradict one another."""
    several = options.num_beams > 1
    if "max_length" in given and "max_new_tokens" in given:
        raise InputError(
            f"max_length is {options.max_length} and max_new_tokens {options.max_new_tokens}; give "
            "one of them"
        )
    if options.max_new_tokens is not None and options.min_new_tokens > options.max_new_tokens:
        raise InputError(
            f"min_new_tokens is {options.min_new_tokens} and max_new_tokens "
            f"{options.max_new_tokens}; give a larger max_new_tokens"
        )
    if options.do_sample and not options.temperature:
        raise InputError(
            "temperature is 0 and do_sample True; give do_sample=False for the likeliest tokens, "
            "or a temperature above 0"
        )
    if options.do_sample and several:
        raise InputError(
            f"do_sample is True and num_beams {options.num_beams}; give do_sample=False for beam "
            "search, or num_beams=1 to draw tokens"
        )
    for name in [] if options.do_sample else [name for name in SAMPLING if name in given]:
        raise InputError(
            f"{name} is {shown(given[name])} and do_sample False, with which it does nothing; give "
            "do_sample=True"
        )
    for name in [] if several else [name for name in BEAMS if name in given]:
        raise InputError(
            f"{name} is {shown(given[name])} and num_beams 1, with which it does nothing; give "
            "num_beams=2 or more"
        )
    most = options.num_beams if several else 1
    if options.num_return_sequences > most and not options.do_sample:
        raise InputError(
            f"num_return_sequences is {options.num_return_sequences}, of {most} that there are; "
            f"give do_sample=True, or num_beams={options.num_return_sequences}"
        )
    for name, values in {"stop_strings": options.stops, "eos_token_id": options.end_ids}.items():
        if several and len(values) > (name == "eos_token_id"):
            raise InputError(
                f"{name} is {shown(list(values))} and num_beams {options.num_beams}; beam search "
                f"takes {'one' if name == 'eos_token_id' else 'none'}: give num_beams=1"
            )
