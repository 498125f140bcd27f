"""RoBERTa as transformers stores it (models/roberta/modeling_roberta.py)."""

from dataclasses import replace

from inarch.checkpoints.maps.config import (
    ACTIVATIONS,
    ENCODER_ONLY,
    choice,
    rate,
    rows_after,
    same,
    token,
)
from inarch.checkpoints.maps.rule import dense, norm, rule, tied, unused
from inarch.checkpoints.maps.source import Head, Source
from inarch.models.bert import checkpoint as bert

PADDING = token("pad_token_id", "padding_id", 1)

# A table to be read, and checked against the original with a finger.
# fmt: off
ROBERTA = Source(
    model_type="roberta",
    architecture="RobertaModel",
    prefix="roberta.",
    config=[
        same("vocab_size", "vocabulary_size", 50265),
        same("num_hidden_layers", "num_layers", 12),
        same("num_attention_heads", "num_heads", 12),
        same("hidden_size", "hidden_dim", 768),
        same("intermediate_size", "intermediate_dim", 3072),
        rate("hidden_dropout_prob", "dropout", 0.1),
        rate("attention_probs_dropout_prob", "attention_dropout", 0.1),
        choice("hidden_act", "activation", ACTIVATIONS, "gelu"),
        same("layer_norm_eps", "layer_norm_epsilon", 1e-12),
        PADDING,
        rows_after("max_position_embeddings", PADDING, "max_sequence_length", 512),
        same("type_vocab_size", "num_segments", 2),
        *ENCODER_ONLY,
    ],
    weights=bert.HUGGING_FACE.weights,  # the encoder's tensors have BERT's names
    parts=bert.HUGGING_FACE.parts,
    heads={
        "masked_lm": Head(
            ("RobertaForMaskedLM",),
            weights=[
                *dense("lm_head.dense", "masked_lm_head/transform"),
                *norm("lm_head.layer_norm", "masked_lm_head/transform_norm"),
            ],
            tied=[
                *rule("lm_head.bias", "masked_lm_head/output_bias", "v -> v"),
                *tied("lm_head.decoder.weight", ".embeddings.word_embeddings.weight"),
                *tied("lm_head.decoder.bias", "lm_head.bias"),
            ],
            untied=[
                *rule("lm_head.decoder.weight", "masked_lm_head/output_kernel", "v d -> d v"),
                *rule("lm_head.decoder.bias", "masked_lm_head/output_bias", "v -> v"),
                *unused("lm_head.bias", "the untied decoder has a bias of its own",
                    like="lm_head.decoder.bias"),
            ],
        ),
        "text_classifier": Head(
            ("RobertaForSequenceClassification",),
            weights=[
                *dense("classifier.dense", "pooled_dense"),
                *dense("classifier.out_proj", "logits"),
            ],
            config=[rate("classifier_dropout", "dropout", None)],
        ),
        "token_classifier": Head(("RobertaForTokenClassification",), dense("classifier", "logits")),
        "multiple_choice": Head(("RobertaForMultipleChoice",), dense("classifier", "logits")),
        "question_answering": Head(
            ("RobertaForQuestionAnswering",), dense("qa_outputs", "logits")
        ),
    },
)


def named(model_type: str, family: str) -> Source:
    """The same format under the names of a descendant."""
    heads = {
        name: replace(h, architectures=tuple(a.replace("Roberta", family) for a in h.architectures))
        for name, h in ROBERTA.heads.items()
    }
    config = [same("vocab_size", "vocabulary_size", 30522), *ROBERTA.config[1:]]
    return replace(
        ROBERTA, model_type=model_type, architecture=f"{family}Model", config=config, heads=heads
    )


XLM_ROBERTA = named("xlm-roberta", "XLMRoberta")
CAMEMBERT = named("camembert", "Camembert")
