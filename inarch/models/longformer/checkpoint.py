"""Longformer as transformers stores it (models/longformer/modeling_longformer.py)."""

from dataclasses import replace

from inarch.checkpoints.maps.config import field, ignored, per_layer, with_defaults
from inarch.checkpoints.maps.rule import dense, under
from inarch.checkpoints.maps.source import Source
from inarch.models.roberta import checkpoint as roberta

# A table to be checked against the reference, line by line.
# fmt: off
LAYERS = field("num_hidden_layers", "num_layers", 12)
HUGGING_FACE = Source(
    model_type="longformer",
    architecture="LongformerModel",
    prefix="longformer.",
    config=[
        with_defaults(roberta.ROBERTA.config, vocab_size=30522),
        per_layer("attention_window", "attention_windows", 512, layers=LAYERS, may_be_one=True),
        field("sep_token_id", "separator_id", 2, least=0, nullable=True,
            reason="read where no global mask is given"),
        ignored("onnx_export", reason="another order of the same products"),
    ],
    weights=[
        roberta.ROBERTA.weights,  # the encoder's tensors have BERT's names
        under("encoder.layer.{i}", "layer_{i}",
            dense("attention.self.query_global", "attention/global_query"),
            dense("attention.self.key_global", "attention/global_key"),
            dense("attention.self.value_global", "attention/global_value")),
    ],
    optional_layers=roberta.ROBERTA.optional_layers,
    heads={
        name: replace(head, config=(), architectures=tuple(
            cls.replace("Roberta", "Longformer") for cls in head.architectures))
        for name, head in roberta.ROBERTA.heads.items()
    },
)
