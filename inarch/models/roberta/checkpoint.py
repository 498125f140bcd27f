"""RoBERTa as transformers stores it (models/roberta/modeling_roberta.py)."""

from dataclasses import replace

from inarch.checkpoints.maps.config import (
    ACTIVATIONS,
    ENCODER_ONLY,
    choice,
    field,
    probability,
    table_rows,
    token_id,
)
from inarch.checkpoints.maps.rule import dense, norm, rule, tied, unused
from inarch.checkpoints.maps.source import Head, Source
from inarch.models.bert import checkpoint as bert

PADDING = token_id("pad_token_id", "padding_id", 1)

# A table to be checked against the reference, line by line.
# fmt: off
ROBERTA = Source(
    model_type="roberta",
    architecture="RobertaModel",
    prefix="roberta.",
    config=[
        field("vocab_size", "vocabulary_size", 50265),
        field("num_hidden_layers", "num_layers", 12),
        field("num_attention_heads", "num_heads", 12),
        field("hidden_size", "hidden_dim", 768),
        field("intermediate_size", "intermediate_dim", 3072),
        probability("hidden_dropout_prob", "dropout", 0.1),
        probability("attention_probs_dropout_prob", "attention_dropout", 0.1),
        choice("hidden_act", "activation", "gelu", values=ACTIVATIONS),
        field("layer_norm_eps", "layer_norm_epsilon", 1e-12),
        PADDING,
        table_rows("max_position_embeddings", "max_sequence_length", 512, after=PADDING),
        field("type_vocab_size", "num_segments", 2),
        ENCODER_ONLY,
    ],
    weights=bert.HUGGING_FACE.weights,  # the encoder's tensors have BERT's names
    optional_layers=bert.HUGGING_FACE.optional_layers,
    heads={
        "masked_lm": Head(
            ("RobertaForMaskedLM",),
            weights=[
                dense("lm_head.dense", "masked_lm_head/transform"),
                norm("lm_head.layer_norm", "masked_lm_head/transform_norm"),
            ],
            tied=[
                rule("lm_head.bias", "masked_lm_head/output_bias", "v -> v"),
                tied("lm_head.decoder.weight", ".embeddings.word_embeddings.weight"),
                tied("lm_head.decoder.bias", "lm_head.bias"),
            ],
            untied=[
                rule("lm_head.decoder.weight", "masked_lm_head/output_kernel", "v d -> d v"),
                rule("lm_head.decoder.bias", "masked_lm_head/output_bias", "v -> v"),
                unused("lm_head.bias", reason="the untied decoder has its own bias",
                    like="lm_head.decoder.bias"),
            ],
        ),
        "text_classifier": Head(
            ("RobertaForSequenceClassification",),
            weights=[
                dense("classifier.dense", "pooled_dense"),
                dense("classifier.out_proj", "logits"),
            ],
            config=[probability("classifier_dropout", "dropout", None)],
        ),
        "token_classifier": Head(
            ("RobertaForTokenClassification",), dense("classifier", "logits"),
            config=[probability("classifier_dropout", "dropout", None)],
        ),
        "multiple_choice": Head(("RobertaForMultipleChoice",), dense("classifier", "logits")),
        "question_answering": Head(
            ("RobertaForQuestionAnswering",), dense("qa_outputs", "logits")
        ),
    },
)


def named(model_type: str, family: str) -> Source:
    """Return the same format under the names of a descendant."""
    heads = {
        name: replace(h, architectures=tuple(a.replace("Roberta", family) for a in h.architectures))
        for name, h in ROBERTA.heads.items()
    }
    config = (field("vocab_size", "vocabulary_size", 30522), *ROBERTA.config[1:])
    return replace(
        ROBERTA, model_type=model_type, architecture=f"{family}Model", config=config, heads=heads
    )


XLM_ROBERTA = named("xlm-roberta", "XLMRoberta")
CAMEMBERT = named("camembert", "Camembert")
