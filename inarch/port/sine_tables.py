"""Tables of a reference that its code computes, and never trains: sinusoids of positions."""

from __future__ import annotations

from typing import Any

import numpy as np

from inarch.layers.initializer import SinePositions
from inarch.port.patterns import index_names

# Ways to compute a table, as arguments of `SinePositions` in code: of most code, and of fairseq's.
PLAIN_SINES = "interleaved=False, reaches_maximum=False"
FAIRSEQ_SINES = "interleaved=False, single_precision=True"
WAYS = {
    PLAIN_SINES: SinePositions(interleaved=False, reaches_maximum=False),
    FAIRSEQ_SINES: SinePositions(interleaved=False, single_precision=True),
    "": SinePositions(),
}


def sine_tables(model: Any) -> dict[str, str]:
    """Return the tensors that aren't trained and hold sinusoids, with the way that they came about.

    Args:
        model: of transformers, with the values that a new one has.
    """
    found = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad or parameter.ndim != 2:
            continue
        value = parameter.detach().numpy()
        for code, way in WAYS.items():
            if np.allclose(value, way.table(*value.shape), atol=1e-6):
                found[index_names(name)] = code
                break
    return found
