"""Sequence-to-sequence language modeling: a text from a text, by an encoder and a decoder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from inarch.errors import InputError
from inarch.generation.generator import Generator
from inarch.generation.resolve_options import NOT_COMPUTED, OPTIONS
from inarch.generation.source_encoder import SourceEncoder
from inarch.generation.text_generator import TextGenerator
from inarch.models.backbone import Backbone
from inarch.models.loading import Checkpoint
from inarch.preprocessors.preprocessor import TextPreprocessor
from inarch.preprocessors.raw_texts import as_texts
from inarch.preprocessors.text_source import TextSource
from inarch.tasks import inference
from inarch.tasks.prompts import chosen_prompt
from inarch.tasks.task import Task
from inarch.tasks.text_generation import (
    TextGeneration,
    check_stream_of_many,
    encode_whole,
)
from inarch.tasks.text_pairs import TextPairs
from inarch.training.objective import Objective, token_objective

# Fields that older checkpoints have in config.json, where there is no generation_config.json.
SPECIAL_IDS = ("decoder_start_token_id", "bos_token_id", "eos_token_id", "pad_token_id")


class Seq2SeqLM(TextPairs, TextGeneration, Task):
    """Logits `[batch, length, vocabulary]` of the token after each of `decoder_token_ids`.

    Raw examples are pairs of texts, `fit(sources, targets)` or `fit([(source, target), ...])`. The
    decoder reads a target after the start token, and each token is predicted from those before it
    and the source. Padding has no weight.

    The start token is `decoder_start_token_id` of `generation`, or of the checkpoint's config.

    Args:
        backbone: an encoder-decoder.
        preprocessor: text to inputs; None to feed prepared arrays. Its `default_prompt_name` is
            that of the text put before each source, where none is named.
        tie_word_embeddings: whether the output embeddings are the input embeddings.
        generation: the content of generation_config.json, defaults of `generate`.
    """

    head = "seq2seq_lm"
    pipeline_tag = "text2text-generation"
    required_input = "encoder_token_ids"
    verb = "generate"
    has_token_outputs = True
    has_token_targets = True

    def __init__(
        self,
        backbone: Backbone,
        preprocessor: TextPreprocessor | None = None,
        tie_word_embeddings: bool = True,
        generation: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ):
        super().__init__(
            backbone,
            lambda outputs: backbone.seq2seq_lm(outputs, tie_word_embeddings),
            preprocessor,
            **kwargs,
        )
        self.tie_word_embeddings = tie_word_embeddings
        self.generation = generation

    @classmethod
    def arguments_of(cls, checkpoint: Checkpoint, given: dict[str, Any]) -> dict[str, Any]:
        found = super().arguments_of(checkpoint, given)
        if not found["generation"] and "generation" not in given:
            known = (*OPTIONS, *NOT_COMPUTED, *SPECIAL_IDS)
            config = checkpoint.config
            found["generation"] = {name: config[name] for name in known if name in config}
        return found

    @classmethod
    def preprocessor_of(
        cls, checkpoint: Checkpoint, arguments: Mapping[str, Any], source: TextSource
    ) -> TextPreprocessor:
        made = super().preprocessor_of(checkpoint, arguments, source)
        found = {n: task.get("prefix") for n, task in task_params(checkpoint.config).items()}
        prefixes = {name: prefix for name, prefix in found.items() if isinstance(prefix, str)}
        made.prompts = {**prefixes, **made.prompts}
        return made

    def head_fields(self, config: Mapping[str, Any]) -> dict[str, Any]:
        if self.layout:
            return {}
        found = {name: self._token_id(name) for name in SPECIAL_IDS}
        return {name: index for name, index in found.items() if index is not None}

    # --- training ------------------------------------------------------------------------------

    def encode_targets(self, targets: Sequence[str]) -> list[Any]:
        """Return the token ids of texts that the decoder is to give, truncated, unpadded."""
        given = inference.preprocessor_of(self)
        own = getattr(given.tokenizer, "target", None)
        if own is None:
            return list(super().encode_targets(targets))
        # Marian has other pieces for the texts that it gives.
        settings = (given.sequence_length, given.allow_special, given.lowercase)
        return list(TextPreprocessor(own, *settings).encode(targets))

    def objective(self) -> Objective:
        return token_objective()

    # --- generating ----------------------------------------------------------------------------

    def generate(
        self,
        texts: str | Sequence[str],
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        seed: int | None = None,
        batch_size: int = 8,
        **options: Any,
    ) -> Any:
        """Return the text that the model gives for each text.

        It ends before the end token, before a stop string, after `max_new_tokens` tokens, or at
        the last position of the model. It doesn't depend on the other texts.

        Args:
            texts: one text, or a list of them. None is truncated.
            prompt_name: name of the preprocessor's prompt to put before each, such as
                "summarization" of T5; its default one where not given.
            prompt: a text to put before each, in place of a named one.
            seed: of sampling, for the same texts again; drawn where not given. Each text of a call
                has numbers of its own.
            batch_size: texts of a batch; beam search computes `num_beams` sequences for each.
            options: fields of `inarch.generation.GenerationOptions`, which have the names and the
                meaning that transformers gives them; the prompt is the decoder's start token.
                Defaults are those of `generation`, else transformers' own.

        Returns:
            A text for one text, a list of texts for a list. With `num_return_sequences` above 1
            each is a list of texts.

        Raises:
            InputError, InputTypeError: a text is longer than the model's positions, or an option is
                unknown, can't be used, or contradicts another.
            ConfigError: `generation` has a field that can't be used.
        """
        given, is_one = as_texts("texts", texts)
        rows = self._rows_of(given, prompt_name, prompt)
        found = self.generate_texts(given, rows, seed, batch_size, options)
        return found[0] if is_one else found

    def stream(  # type: ignore[override]  # of one text its pieces
        self,
        text: str | Iterable[str],
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> Iterator[Any]:
        """Return an iterator of what `generate` returns for one text, piece by piece as it comes.

        A piece has whole characters, and nothing of a stop string. Of many texts it is an iterator
        of what the model gives for each.

        Args:
            text: one text; or an iterable of texts, in any number.
            prompt_name, prompt: as of `generate`.
            seed: as of `generate`, for one text alone.
            options: as of `generate`; of one text for one sequence, by greedy search or sampling;
                of many texts those of `Task.stream`, too.

        Raises:
            InputError, InputTypeError, ConfigError: as of `generate`, or several sequences of one
                text are to be given.
        """
        if not isinstance(text, str):
            check_stream_of_many("text", text, seed)
            return super().stream(text, prompt_name=prompt_name, prompt=prompt, **options)
        return self.stream_text(text, self._rows_of([text], prompt_name, prompt), seed, options)

    def make_generator(self) -> TextGenerator:
        layers = {layer.name: layer for layer in self.layers}
        bias = {"logits_bias": layers["logits_bias"]} if "logits_bias" in layers else {}
        head = None if self.tie_word_embeddings else layers["logits"]
        stack: Any = self.backbone.decoder_stack(head, **bias)  # type: ignore[operator]
        tokenizer = inference.preprocessor_of(self).tokenizer
        filler, limit = tokenizer.pad_token_id or 0, self.backbone.max_length
        encoder = SourceEncoder(self.backbone.encoder(), stack, self.start_ids, filler, limit)
        return TextGenerator(Generator(stack, end_id=0), tokenizer.output_tokenizer, encoder)

    def _rows_of(
        self, texts: Sequence[str], prompt_name: str | None, prompt: str | None
    ) -> list[list[int]]:
        """Return the encoder's token ids of texts after their prompt, not truncated."""
        prefix = chosen_prompt(self, prompt_name, prompt)
        return [e.ids for e in encode_whole(self, [prefix + text for text in texts])]

    # --- token ids -----------------------------------------------------------------------------

    @property
    def start_ids(self) -> list[int]:
        """Ids of the tokens that the decoder begins with.

        Raises:
            InputError: neither `generation` nor the config has a start token.
        """
        start = self._token_id("decoder_start_token_id")
        if start is None:
            raise InputError(
                "neither generation nor the config has a decoder_start_token_id, which the decoder "
                "begins with; set generation={'decoder_start_token_id': ...}"
            )
        return [start]

    def _token_id(self, name: str) -> int | None:
        """Return the id of a special token by generation, the config or the tokenizer."""
        tokenizer = self.preprocessor.tokenizer if self.preprocessor else None
        places = (self.generation, self.layout.config if self.layout else {})
        found = [place[name] for place in places if isinstance(place.get(name), int)]
        return found[0] if found else getattr(tokenizer, name, None)


def task_params(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the settings of tasks by name, of `task_specific_params` of a config."""
    given = config.get("task_specific_params")
    tasks = given.items() if isinstance(given, Mapping) else ()
    return {name: task for name, task in tasks if isinstance(task, Mapping)}
