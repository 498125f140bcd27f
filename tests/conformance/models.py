"""Tiny models of every architecture, of the sizes that its folder gives, and inputs for them.

All have inputs of one shape, that of the golden files, so that one compilation serves many tests.
"""

import functools
import string

import numpy as np
from keras import ops

from inarch import workflows
from inarch.checkpoints.formats.files import open_weights
from inarch.models import registry
from inarch.port.tiny_models import randomized as randomized
from inarch.port.tiny_models import tiny_backbone as tiny
from inarch.port.tiny_models import tiny_task as task_of_head
from inarch.tasks import TextPreprocessor
from inarch.text import WordPieceTokenizer
from inarch.verify.golden import ROWS
from inarch.verify.inputs import make_inputs
from inarch.workflows.verification import GOLDEN_HEADS

ARCHITECTURES = registry.architectures()
# Those that encode text by themselves; an encoder-decoder has its own tests of its encoder alone.
TEXT_MODELS = [
    n for n, a in ARCHITECTURES.items()
    if "token_ids" in a.inputs and "encoder_token_ids" not in a.inputs
]  # fmt: skip
# Tasks whose heads came later are held to their laws beside their own tests.
TASKS = {head: workflows.tasks_by_head()[head] for head in (*GOLDEN_HEADS, "token_classifier")}


def heads():
    """Architecture, head and whether embeddings are tied, of every head that has a task."""
    for name, architecture in sorted(ARCHITECTURES.items()):
        for head, known in architecture.sources[0].heads.items():
            if head in TASKS:
                ties = (True, False) if known.untied else (True,)
                yield from ((name, head, tie) for tie in ties)


@functools.cache
def shared(name):
    """A tiny model that no test changes."""
    return tiny(ARCHITECTURES[name])


def tiny_task(architecture, head, **arguments):
    """A task on a tiny model that has the parts that the head needs and no others."""
    return task_of_head(architecture, TASKS[head], head, **arguments)


def inputs_for(model, lengths=ROWS, pads=0, seed=0):
    """Inputs of rows of these lengths, in positions, with `pads` more positions of padding."""
    arrays = ragged(getattr(model, "backbone", model), seed, lengths)
    backbone, longest = getattr(model, "backbone", model), max(lengths)
    pads = backbone.row_length(longest + pads) - backbone.row_length(longest)
    # One sound for all rows, so that what differs between them is their tokens.
    return {
        name: np.pad(a, ((0, 0), (0, pads))) if a.ndim == 2 else np.repeat(a[:1], len(a), axis=0)
        for name, a in arrays.items()
    }


def ragged(backbone, seed, lengths):
    """Inputs of rows of different lengths, also where the reference takes none."""
    arrays = make_inputs(backbone, seed, lengths, lengths, padding_side="right")
    if backbone.reference_reads_padding:
        ends = np.array([*map(backbone.row_length, lengths)])[:, None]
        for array in arrays.values():
            array *= (np.arange(array.shape[1]) < ends).astype(array.dtype)
    return arrays


def padding_masks(inputs):
    return [array for name, array in inputs.items() if name.endswith("padding_mask")]


def padding_mask(model, inputs):
    """The mask of the positions of `sequence`."""
    return model.position_mask(padding_masks(inputs)[-1])


def letters(architecture):
    """A preprocessor with one token for each letter, as many as a tiny model has."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = [*special, *string.ascii_lowercase][: architecture.tiny["vocabulary_size"]]
    length = shared(architecture.name).max_length or max(ROWS)
    return TextPreprocessor(WordPieceTokenizer(vocabulary), length)


def sequence(outputs):
    if isinstance(outputs, dict):
        outputs = outputs.get("sequence_output", outputs.get("decoder_sequence_output"))
    return ops.convert_to_numpy(ops.cast(outputs, "float32"))


@functools.cache
def expected(name):
    """The sequence of the shared model on the usual inputs."""
    model = shared(name)
    return sequence(model(inputs_for(model)))


def stored(folder):
    with open_weights(folder) as weights:
        return {n: (i, weights.read(n).tobytes()) for n, i in weights.header.items()}
