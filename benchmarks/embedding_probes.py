"""Probes of sentence vectors: `python embedding_probes.py FUNCTION ARGUMENTS`."""

from __future__ import annotations

import os
import tempfile

from probe import report, timed

SENTENCE = "A shoot is grafted onto a new root while it still lives on its old one."
WORDS = """
the of and to a in that is was he for it with as his on be at by had not are but from or
have an they which one you were her all she there would their we him been has when who will
more no if out so said what up its about into than them can only other new some could time
these two may then do first any now such like our over man even most made after also did
many before must through back years where much way well down should because each just people
those state house world school government between water number system public general
national important graft root branch orchard season harvest weather market history language
reading writing
"""


def first_vector_inarch(folder: str) -> dict[str, float]:
    from inarch import TextEmbedder

    TextEmbedder.from_preset(folder).embed([SENTENCE])
    return {}


def first_call(folder: str, kept: str = "") -> dict[str, float]:
    """Time loading and one vector above the imports.

    Args:
        folder: of the checkpoint.
        kept: folder of programs that a former process compiled; by default there are none.
    """
    with tempfile.TemporaryDirectory() as empty:
        os.environ["INARCH_CACHE"] = kept or empty
        from inarch import TextEmbedder

        _, seconds = timed(lambda: TextEmbedder.from_preset(folder).embed([SENTENCE]))
    return {"seconds": seconds}


def first_vector_transformers(folder: str) -> dict[str, float]:
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    inputs = tokenizer([SENTENCE], return_tensors="pt")
    with torch.inference_mode():
        tokens = model(**inputs).last_hidden_state
    mask = inputs["attention_mask"][..., None]
    vector = (tokens * mask).sum(1) / mask.sum(1)
    torch.nn.functional.normalize(vector).numpy()
    return {}


if __name__ == "__main__":
    report(globals())
