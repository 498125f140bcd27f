"""Generation of text as `CausalLM` and `Seq2SeqLM` have it in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from inarch.errors import InputError, InputTypeError
from inarch.generation.options import GenerationOptions
from inarch.generation.resolve_options import GENERATION_FILE, resolve_options
from inarch.generation.text_generator import TextGenerator
from inarch.json_fields import json_text, read_object
from inarch.models.arguments import MutableArgument
from inarch.models.loading import Checkpoint
from inarch.preprocessors.preprocessor import TextPreprocessor
from inarch.tasks import inference
from inarch.tasks.speech_arguments import checked_generation
from inarch.tasks.task_mixin import TaskMixin
from inarch.text import Encoding
from inarch.validation import check_count, shown


class TextGeneration(TaskMixin):
    """Methods of a task that generates text; mixed in before `Task`.

    A task makes its generator (`make_generator`) and gives the token ids of each text.
    """

    generation = MutableArgument(checked_generation)
    _engine: tuple[TextGenerator, tuple[int, ...]] | None = None

    @classmethod
    def arguments_of(cls, checkpoint: Checkpoint, given: dict[str, Any]) -> dict[str, Any]:
        declared = {"generation": checkpoint.read_sidecar(GENERATION_FILE)}
        return declared | super().arguments_of(checkpoint, given)

    def argument_changed(self, name: str) -> None:
        super().argument_changed(name)
        if name in ("preprocessor", "generation"):
            object.__setattr__(self, "_engine", None)

    def write_files(self, folder: Path) -> None:
        super().write_files(folder)
        path = folder / GENERATION_FILE  # where it is there already, as it was loaded
        if path.exists() and read_object(path) == self.generation:
            return
        path.unlink(missing_ok=True)
        if self.generation:
            path.write_text(json_text(self.generation), "utf-8")

    @property
    def generation_defaults(self) -> Mapping[str, Any]:
        """Options of generation where a call gives no others."""
        return self.generation

    def make_generator(self) -> TextGenerator:
        """Return a generator of this model's texts; it is kept until weights are replaced."""
        raise NotImplementedError

    @property
    def generator(self) -> TextGenerator:
        """The generator of texts, compiled for the variables that the model has now."""
        # LoRA and quantization bring others.
        variables = tuple(map(id, self.variables))
        if self._engine is None or self._engine[1] != variables:
            # Not tracked by Keras: its layers are those of this model.
            object.__setattr__(self, "_engine", (self.make_generator(), variables))
        assert self._engine is not None
        return self._engine[0]

    def generate_texts(
        self,
        texts: Sequence[Any],
        rows: Sequence[Sequence[int]],
        seed: int | None,
        batch_size: int,
        options: Mapping[str, Any],
    ) -> list[Any]:
        """Return what is generated for each text, a list where several are to be returned.

        Args:
            texts: as an error shows them.
            rows: token ids of each text.
            seed, batch_size, options: as of `generate`.
        """
        check_count("batch_size", batch_size)
        resolved = self.resolve_options(options, seed)
        self.generator.check_room(rows, texts, resolved)
        found: list[Any] = self.generator.generate(rows, resolved, seed, batch_size)
        return found if resolved.num_return_sequences > 1 else [text for (text,) in found]

    def stream_text(
        self, text: Any, rows: Sequence[Sequence[int]], seed: int | None, options: Mapping[str, Any]
    ) -> Iterator[str]:
        """Return an iterator of the pieces of what is generated for one text.

        Raises:
            InputError: several sequences are to be given.
        """
        resolved = self.resolve_options(options, seed)
        if resolved.num_beams > 1 or resolved.num_return_sequences > 1:
            raise InputError(
                f"num_beams is {resolved.num_beams} and num_return_sequences "
                f"{resolved.num_return_sequences}; a stream is of one sequence: give 1 for both, "
                "or call generate"
            )
        self.generator.check_room(rows, [text], resolved)
        return self.generator.stream(rows[0], resolved, seed)

    def resolve_options(self, given: Mapping[str, Any], seed: int | None) -> GenerationOptions:
        """Return the options of a call, with `generation_defaults`."""
        if seed is not None:
            check_count("seed", seed, 0)
        config = self.layout.config if self.layout else {}
        tokenizer = inference.preprocessor_of(self).tokenizer.output_tokenizer
        ends = config.get("eos_token_id"), tokenizer.eos_token_id
        own = self.backbone.argument("decoder_vocabulary_size")
        size = own or self.backbone.arguments["vocabulary_size"]
        return resolve_options(given, self.generation_defaults, ends, size)


def encode_whole(task: Any, texts: Sequence[str]) -> list[Encoding]:
    """Return the encodings of texts, not truncated.

    Raises:
        InputError: there is no preprocessor, or a token is beyond the model's vocabulary.
    """
    given = inference.preprocessor_of(task)
    whole = TextPreprocessor(given.tokenizer, 2**31 - 1, given.allow_special, given.lowercase)
    encodings = whole.encode(texts)
    inference.check_vocabulary(task, encodings)
    return encodings


def check_stream_of_many(name: str, texts: Any, seed: int | None) -> None:
    """Raise InputError, InputTypeError where a stream of many texts can't be given."""
    if not isinstance(texts, Iterable):
        raise InputTypeError(f"{name} is {shown(texts)}; give a text, or texts")
    if seed is not None:
        raise InputError(
            f"seed is {shown(seed)}; texts of a stream would draw the same numbers again: "
            "leave it out, or call generate with a list"
        )
