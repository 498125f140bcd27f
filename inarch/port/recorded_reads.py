"""Fields of its config that an installed reference reads, with any of its heads."""

from __future__ import annotations

from typing import Any

import numpy as np

from inarch.checkpoints.maps.config import ENCODER_DECODER, ENCODER_ONLY
from inarch.checkpoints.maps.source import Head, Source
from inarch.port.evidence import Evidence
from inarch.port.heads import DECODERS, ENCODERS, PAIRS, purpose_of
from inarch.port.tiny_inputs import main_input
from inarch.verify.config_reads import ConfigReads, record_reads

# Fields whose values a kind of model has in common.
FIXED: dict[str, Any] = {ENCODERS: ENCODER_ONLY, DECODERS: (), PAIRS: ENCODER_DECODER}


def record(
    evidence: Evidence, config: Any, model: Any, torch: Any, transformers: Any
) -> ConfigReads:
    """Return the fields that the classes read, whether or not those of heads can be run.

    Args:
        evidence: without the reads.
        config, model: the tiny ones.
    """
    heads = {
        name: Head((head.name,))
        for head in evidence.heads
        if (name := purpose_of(head.name, evidence.kind)) is not None
    }
    source = Source(
        model_type=evidence.model_type, architecture=evidence.base, prefix=evidence.prefix,
        config=FIXED[evidence.kind], weights=(), heads=heads,
    )  # fmt: skip
    mask = np.ones((2, 7), "int64")
    mask[1, 5:] = 0
    ids = np.arange(1, 15).reshape(2, 7)
    if evidence.is_pair and isinstance(end := config.eos_token_id, int):  # one in each text
        ids = np.where(ids == end, 15, ids)
        ids[0, 6] = ids[1, 4] = end
    inputs = {n: x.numpy() for n, x in main_input(model, torch.tensor(ids)).items()}
    inputs |= {"input_ids": ids * mask, "attention_mask": mask, "token_type_ids": 0 * mask}
    inputs |= {f"decoder_{name}": inputs[name] for name in ("input_ids", "attention_mask")}
    # Without fields that its class lacks, so that the defaults of those show.
    fields = config.to_dict()
    plain = {name: value for name, value in fields.items() if name in evidence.defaults}
    config = config if plain.keys() == fields.keys() else type(config)(**plain)
    return record_reads(source, config, {"": inputs}, torch, transformers, every_head=False)
