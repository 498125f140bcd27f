"""Causal language modeling: text that goes on, and how likely a text is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from inarch.data import pad
from inarch.errors import InputError
from inarch.generation.generator import Generator
from inarch.generation.text_generator import TextGenerator
from inarch.models.backbone import Backbone
from inarch.preprocessors.chats import as_prompts, split_chat_options
from inarch.preprocessors.preprocessor import TextPreprocessor, Tokens
from inarch.tasks import inference
from inarch.tasks.perplexity import Likelihood
from inarch.tasks.task import Task
from inarch.tasks.text_generation import TextGeneration, check_stream_of_many, encode_whole
from inarch.text import Encoding
from inarch.text.chat_template import is_chat
from inarch.training.objective import Objective, token_objective
from inarch.training.training_batches import Batch, MakeBatch


class CausalLM(Likelihood, TextGeneration, Task):
    """Logits `[batch, length, vocabulary]` of the token after each position.

    Training on raw text makes its own targets: each token is predicted from those before it, and
    at the end of a text, where it isn't truncated, the end token. Padding has no weight. `fit` and
    `evaluate` also take the path of a text file, or a `TextLines`, as `MaskedLM`'s do.

    Args:
        backbone: a decoder.
        preprocessor: text to inputs; None to feed prepared arrays.
        tie_word_embeddings: whether the output embeddings are the input embeddings.
        generation: the content of generation_config.json, defaults of `generate`.
    """

    head = "causal_lm"
    pipeline_tag = "text-generation"
    verb = "generate"
    has_token_outputs = True
    has_token_targets = True
    is_self_supervised = True

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
            lambda outputs: backbone.causal_lm(outputs, tie_word_embeddings),
            preprocessor,
            **kwargs,
        )
        self.tie_word_embeddings = tie_word_embeddings
        self.generation = generation
        self._scorer: Callable[[Mapping[str, np.ndarray]], Any] | None = None

    def head_fields(self, config: Mapping[str, Any]) -> dict[str, Any]:
        return {} if self.layout or not self.preprocessor else self._special_ids()

    # --- training ------------------------------------------------------------------------------

    def objective(self) -> Objective:
        return token_objective()

    def collate(self, texts: Sequence[Any], y: Any, sample_weight: Any) -> MakeBatch:
        if y is not None or sample_weight is not None:
            raise InputError("causal language modeling makes its own targets from text: give x")
        limit = inference.preprocessor_of(self).sequence_length
        end = self._special_ids().get("eos_token_id")
        rows = [Tokens(e.ids) for e in self.encode(texts)]
        if end is not None:
            rows = [row if len(row.ids) >= limit else Tokens([*row.ids, end]) for row in rows]
        if all(len(row.ids) < 2 for row in rows):
            raise InputError(
                f"none of {len(rows)} texts has two tokens, so there is nothing to predict; give "
                "texts, and a longer preprocessor.sequence_length where it cuts them"
            )

        def make(indices: np.ndarray, random: np.random.Generator) -> Batch:
            chosen = [rows[i] for i in indices]
            x = self.padded(chosen)
            shape = x["token_ids"].shape
            targets = pad([row.ids[1:] for row in chosen], *shape)
            weights = pad([[1] * (len(row.ids) - 1) for row in chosen], *shape)
            return x, targets, weights.astype(np.float32)

        return make

    # --- generating ----------------------------------------------------------------------------

    def generate(
        self,
        prompts: Any,
        *,
        seed: int | None = None,
        batch_size: int = 8,
        **options: Any,
    ) -> Any:
        """Return the text that follows each prompt, without the prompt.

        A text ends before the end token, before a stop string, after `max_new_tokens` tokens, or
        at the last position of the model. It doesn't depend on the other prompts.

        Args:
            prompts: one text, or a list of them; or one chat, a list of messages such as
                `{"role": "user", "content": "text"}`, or a list of chats. Of a chat the answer is
                returned, by the tokenizer's chat template.
            seed: of sampling, for the same texts again; drawn where not given. Each text of a call
                has numbers of its own.
            batch_size: texts of a batch; beam search computes `num_beams` sequences for each.
            options: fields of `inarch.generation.GenerationOptions`, which have the names and the
                meaning that transformers gives them. Defaults are those of `generation`, else
                transformers' own. Of chats also `tools`, `documents`, `chat_template`,
                `add_generation_prompt`, true where not given, and `template_variables`, a mapping,
                as of `Tokenizer.apply_chat_template`.

        Returns:
            A text for one prompt, a list of texts for a list. With `num_return_sequences` above 1
            each is a list of texts.

        Raises:
            InputError, InputTypeError: a prompt is empty or has no room after it, or an option is
                unknown, can't be used, or contradicts another.
            ConfigError: `generation` has a field that can't be used, or the template fails.
        """
        given, is_one = as_prompts(prompts)
        chat, options = split_chat_options(options, given)
        rows = self._rows_of(given, chat)
        found = self.generate_texts(given, rows, seed, batch_size, options)
        return found[0] if is_one else found

    def stream(  # type: ignore[override]  # of one text its pieces
        self, prompt: Any, *, seed: int | None = None, **options: Any
    ) -> Iterator[Any]:
        """Return an iterator of the text that follows one prompt, piece by piece as it comes.

        The pieces joined are what `generate` returns. A piece has whole characters, and nothing of
        a stop string. Of many prompts it is an iterator of the text that follows each.

        Args:
            prompt: one text or chat; or an iterable of them, in any number.
            seed: as of `generate`, for one text alone.
            options: as of `generate`; of one text for one sequence, by greedy search or sampling;
                of many texts those of `Task.stream`, too.

        Raises:
            InputError, InputTypeError, ConfigError: as of `generate`, or several sequences of one
                text are to be given.
        """
        if not isinstance(prompt, str) and not is_chat(prompt):
            check_stream_of_many("prompt", prompt, seed)
            return super().stream(prompt, **options)
        chat, options = split_chat_options(options, [prompt])
        return self.stream_text(prompt, self._rows_of([prompt], chat), seed, options)

    def make_generator(self) -> TextGenerator:
        head = None if self.tie_word_embeddings else self.get_layer("logits")
        generator = Generator(self.backbone.decoder_stack(head), end_id=0)
        return TextGenerator(generator, self._text().tokenizer)

    def _rows_of(self, prompts: Sequence[Any], chat: Mapping[str, Any]) -> list[list[int]]:
        if not prompts or not is_chat(prompts[0]):
            return [encoding.ids for encoding in self._whole(prompts)]
        tokenizer = self._text().tokenizer
        rows = [tokenizer.encode_chat(messages, **chat) for messages in prompts]
        inference.check_vocabulary(self, [Tokens(row) for row in rows])
        return rows

    # --- token ids -----------------------------------------------------------------------------

    def _text(self) -> TextPreprocessor:
        return inference.preprocessor_of(self)

    def _whole(self, texts: Sequence[str]) -> list[Encoding]:
        return encode_whole(self, texts)

    def _special_ids(self) -> dict[str, int]:
        """Return the ids of the tokens that begin and end a text, by the names of the config."""
        tokenizer = self.preprocessor.tokenizer if self.preprocessor else None
        names = ("bos_token_id", "eos_token_id")
        found = {name: getattr(tokenizer, name, None) for name in names}
        return {name: index for name, index in found.items() if index is not None}
