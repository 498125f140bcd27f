"""Translation: texts of one language into another, by an encoder-decoder."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from inarch.errors import InputError, InputTypeError
from inarch.models.arguments import MutableArgument
from inarch.models.backbone import Backbone
from inarch.models.loading import Checkpoint
from inarch.preprocessors.preprocessor import TextPreprocessor, Tokens
from inarch.preprocessors.raw_texts import as_texts
from inarch.tasks import inference
from inarch.tasks.seq2seq_lm import Seq2SeqLM
from inarch.tasks.task import Task
from inarch.tasks.text_generation import check_stream_of_many, encode_whole
from inarch.text import Tokenizer
from inarch.text.discovery import has_tokenizer, read_folder
from inarch.text.families import find_family, named_class
from inarch.text.files import merged_config
from inarch.text.translation import LanguageTokens
from inarch.validation import listed, shown


def _checked_language(task: Any, language: Any) -> str | None:
    if language is not None and not isinstance(language, str):
        raise InputTypeError(f"a language is {shown(language)}; give its name as a text")
    return language


class Translator(Seq2SeqLM):
    """Translation of texts, by a model that was trained to translate.

    Languages have the names that the model's tokenizer gives them: `"en"` and `"fr"` of M2M100,
    `"eng_Latn"` of NLLB, `"en_XX"` of mBART. A Marian model translates from one language into
    another, or into several, which are its `languages` then. A model that reads the task in a text,
    as T5 does, has prompts such as `"translation_en_to_de"`.

    Args:
        backbone: an encoder-decoder.
        preprocessor, tie_word_embeddings, generation: as of `Seq2SeqLM`.
        source_language: language of the texts, where a call names no other; by default the
            tokenizer's.
        target_language: language to translate into, where a call names no other.
    """

    pipeline_tag = "translation"
    verb = "translate"
    saved_settings = ("source_language", "target_language")
    source_language = MutableArgument(_checked_language)
    target_language = MutableArgument(_checked_language)

    def __init__(
        self,
        backbone: Backbone,
        preprocessor: TextPreprocessor | None = None,
        tie_word_embeddings: bool = True,
        generation: Mapping[str, Any] | None = None,
        source_language: str | None = None,
        target_language: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(backbone, preprocessor, tie_word_embeddings, generation, **kwargs)
        self.source_language = source_language
        self.target_language = target_language

    @classmethod
    def is_declared_by(cls, checkpoint: Checkpoint) -> bool:
        """Return whether the tokenizer of a checkpoint is that of a translation model."""
        if not has_tokenizer(checkpoint.folder):
            return False
        named = named_class(merged_config(read_folder(checkpoint.folder)), checkpoint.config)
        family = find_family(named, checkpoint.config.get("model_type"))
        return family is not None and family.languages is not None

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages that the tokenizer has tokens of; of Marian those to translate into."""
        form = self._language_tokens
        return () if form is None else form.known(self._tokenizer.get_vocabulary())

    # --- translating ---------------------------------------------------------------------------

    def translate(
        self,
        texts: str | Sequence[str],
        source_language: str | None = None,
        target_language: str | None = None,
        *,
        seed: int | None = None,
        batch_size: int = 8,
        **options: Any,
    ) -> Any:
        """Return the translation of each text. It doesn't depend on the other texts.

        Args:
            texts: one text, or a list of them. None is truncated.
            source_language: of the texts; `self.source_language` where not given.
            target_language: to translate into; `self.target_language` where not given.
            seed, batch_size, options: as of `generate`.

        Returns:
            A text for one text, a list of texts for a list. With `num_return_sequences` above 1
            each is a list of texts.

        Raises:
            InputError, InputTypeError: the model doesn't know a language, or needs one and none is
                given; or as of `generate`.
        """
        given, is_one = as_texts("texts", texts)
        rows, language = self._prepared(given, source_language, target_language)
        found = self.generate_texts(given, rows, seed, batch_size, language | options)
        return found[0] if is_one else found

    def stream(  # type: ignore[override]
        self,
        text: str | Iterable[str],
        source_language: str | None = None,
        target_language: str | None = None,
        *,
        seed: int | None = None,
        **options: Any,
    ) -> Iterator[Any]:
        """Return an iterator of the translation of one text, piece by piece as it comes.

        Of many texts it is an iterator of the translation of each.

        Args:
            text: one text; or an iterable of texts, in any number.
            source_language, target_language: as of `translate`.
            seed, options: as of `Seq2SeqLM.stream`.
        """
        languages: dict[str, Any] = {
            "source_language": source_language, "target_language": target_language,
        }  # fmt: skip
        if not isinstance(text, str):
            check_stream_of_many("text", text, seed)
            return Task.stream(self, text, **languages, **options)
        rows, language = self._prepared([text], **languages)
        return self.stream_text(text, rows, seed, language | options)

    def _prepared(
        self, texts: Sequence[str], source_language: str | None, target_language: str | None
    ) -> tuple[Sequence[Sequence[int]], dict[str, Any]]:
        """Return the encoder's tokens of texts, and the options that set the target's language."""
        source = _checked_language(self, source_language) or self.source_language
        target = _checked_language(self, target_language) or self.target_language
        form = self._language_tokens
        if form is None:
            named = source is not None or target is not None
            return self._rows_of(
                texts, f"translation_{source}_to_{target}" if named else None, None
            ), {}
        rows = [e.ids for e in encode_whole(self, texts)]
        if form.of_target:
            return self._to_target(form, rows, source, target), {}
        return self._in_language(form, rows, source), self._forced(form, target)

    def encode_sources(self, sources: Sequence[str], prompt_name: str | None = None) -> list[Any]:
        """Return the token ids of texts in `source_language`, truncated, unpadded."""
        form, found = self._language_tokens, super().encode_sources(sources, prompt_name)
        if form is None:
            return found
        rows, languages = [row.ids for row in found], (self.source_language, self.target_language)
        if form.of_target:
            return [Tokens(row) for row in self._to_target(form, rows, *languages)]
        return [Tokens(row) for row in self._in_language(form, rows, self.source_language)]

    def encode_targets(self, targets: Sequence[str]) -> list[Any]:
        """Return the token ids of texts in `target_language`, truncated, unpadded."""
        form, found = self._language_tokens, super().encode_targets(targets)
        if form is None or form.of_target:
            return found
        rows = self._in_language(form, [row.ids for row in found], self.target_language)
        return [Tokens(row) for row in rows]

    # --- languages -----------------------------------------------------------------------------

    @property
    def _tokenizer(self) -> Tokenizer:
        return inference.preprocessor_of(self).tokenizer

    @property
    def _language_tokens(self) -> LanguageTokens | None:
        """Return how the tokenizer writes languages; None where it has no tokens of them."""
        family = find_family(named_class(self._tokenizer.config, {}))
        return family.languages if family else None

    def _in_language(
        self, form: LanguageTokens, rows: Sequence[Sequence[int]], language: str | None
    ) -> list[list[int]]:
        """Return the tokens of texts with the token of their language in place of the usual one."""
        if language is None:
            return [list(row) for row in rows]
        token = self._language_id(form, language)
        before, _ = form.around(language, "", self._tokenizer.config)
        return [[token, *row[1:]] if before else [*row[:-1], token] for row in rows]

    def _to_target(
        self,
        form: LanguageTokens,
        rows: Sequence[Sequence[int]],
        source: str | None,
        target: str | None,
    ) -> list[list[int]]:
        """Return the tokens of texts after the token of the language to translate into, if any."""
        if source is not None:
            raise InputError(
                f"source_language is {source!r}, which the model doesn't read. Leave it out."
            )
        if target is None and not self.languages:
            return [list(row) for row in rows]
        token = self._language_id(form, self._needed(target))
        return [[token, *row] for row in rows]

    def _forced(self, form: LanguageTokens, language: str | None) -> dict[str, Any]:
        """Return the option that has a translation begin with the token of its language."""
        language = language or self._tokenizer.config.get("tgt_lang")
        if language is None and (self.generation or {}).get("forced_bos_token_id") is not None:
            return {}
        return {"forced_bos_token_id": self._language_id(form, self._needed(language))}

    def _needed(self, language: str | None) -> str:
        if language is None:
            raise InputError(
                "target_language=None, and the model translates into several languages. Give one "
                f"of {listed(self.languages)}."
            )
        return language

    def _language_id(self, form: LanguageTokens, language: str) -> int:
        """Return the id of the token of a language."""
        token = form.token(language)
        if not re.fullmatch(form.codes, language) or not self._tokenizer.has_token(token):
            raise InputError(
                f"the model has no language {language!r}. Give one of {listed(self.languages)}."
                if self.languages
                else f"target_language is {language!r}, and the model translates from one language "
                "into another. Leave it out."
            )
        return self._tokenizer.token_to_id(token)
