"""Whisper's control tokens by name, and what a transcript begins with (whisper/tokenizer.py)."""

from functools import cached_property

from inarch.errors import InputError
from inarch.text import whisper_json
from inarch.text.languages import LANGUAGES, language_code

# The size of the English-only vocabulary; that of many languages has one or two tokens more.
ENGLISH_SIZE = 51864


class ControlTokens:
    """The ids of a tokenizer's control tokens, which its files give."""

    _ids: dict[str, int]

    @property
    def end_of_text(self) -> int:
        """The id of `<|endoftext|>`, which ends a transcript."""
        return self._ids[whisper_json.END]

    @property
    def start_of_transcript(self) -> int:
        """The id of `<|startoftranscript|>`."""
        return self._ids[whisper_json.START]

    @property
    def transcribe(self) -> int:
        """The id of the task to transcribe."""
        return self._ids[whisper_json.TRANSCRIBE]

    @property
    def translate(self) -> int:
        """The id of the task to translate to English."""
        return self._ids[whisper_json.TRANSLATE]

    @property
    def start_of_lm(self) -> int:
        """The id of `<|startoflm|>`."""
        return self._ids[whisper_json.START_OF_LM]

    @property
    def start_of_prev(self) -> int:
        """The id of `<|startofprev|>`, which begins the text of the windows before."""
        return self._ids[whisper_json.START_OF_PREV]

    @property
    def no_speech(self) -> int:
        """The id of `<|nospeech|>`, in older files `<|nocaptions|>`."""
        return next(self._ids[token] for token in whisper_json.NO_SPEECH if token in self._ids)

    @property
    def no_timestamps(self) -> int:
        """The id of `<|notimestamps|>`, after which no times are written."""
        return self._ids[whisper_json.NO_TIMESTAMPS]

    @property
    def timestamp_begin(self) -> int:
        """The id of `<|0.00|>`; each id after it is 20 ms later, to `<|30.00|>`."""
        return self._ids[whisper_json.TIMESTAMPS[0]]

    @property
    def _times(self) -> range:
        return range(self.timestamp_begin, self.timestamp_begin + len(whisper_json.TIMESTAMPS))

    @cached_property
    def languages(self) -> dict[str, int]:
        """Code of a language to the id of its token, in the order of the ids."""
        tokens = {code: whisper_json.language_token(code) for code in LANGUAGES}
        ids = {code: self._ids[token] for code, token in tokens.items() if token in self._ids}
        return dict(sorted(ids.items(), key=lambda item: item[1]))

    @property
    def is_multilingual(self) -> bool:
        """True where the model has more languages than English.

        English-only vocabularies have tokens of languages too, and are known by their size.
        """
        return bool(self.languages) and self._times.stop != ENGLISH_SIZE

    def start_sequence(
        self, language: str | None = None, task: str = "transcribe", timestamps: bool = True
    ) -> tuple[int, ...]:
        """Return the ids that a transcript begins with.

        Args:
            language: code, English name or alias, such as "en", "english" or "castilian". An
                English-only model needs none.
            task: "transcribe", or "translate" into English.
            timestamps: whether the model is to write times.

        Raises:
            InputError: a language or task that isn't known, or none to this model.
        """
        if task not in whisper_json.TASKS:
            raise InputError(f'task is {task!r}; give "transcribe" or "translate".')
        start = [self.start_of_transcript]
        if self.is_multilingual:
            start += [self._language_id(language), self._ids[whisper_json.TASKS[task]]]
        else:
            _check_english(language, task)
        return (*start, *([] if timestamps else [self.no_timestamps]))

    def _language_id(self, language: str | None) -> int:
        if language is None:
            raise InputError(
                "language is None, and the model has many. Give one, such as "
                f'"en" or "english"; languages lists its {len(self.languages)}.'
            )
        code = language_code(language)
        if code not in self.languages:
            raise InputError(
                f"language is {language!r} ({LANGUAGES[code]}, {code!r}), which isn't one of the "
                f"{len(self.languages)} that this model has. Choose one of its `languages`, or a "
                "model that has it."
            )
        return self.languages[code]


def _check_english(language: str | None, task: str) -> None:
    """Refuse a task or language that an English-only model doesn't have."""
    if task == "translate":
        raise InputError(
            'task is "translate", and this is an English-only model (its name ends in .en). Leave '
            "the task out, or load the multilingual model of that size."
        )
    if language is not None and language_code(language) != "en":
        raise InputError(
            f"language is {language!r}, and this is an English-only model (its name ends in .en). "
            "Leave the language out, or load the multilingual model of that size."
        )
