"""ELECTRA as transformers stores it (models/electra/modeling_electra.py)."""

from inarch.checkpoints.maps.config import (
    ACTIVATIONS,
    TEXT_ENCODER,
    choice,
    field,
    ignored,
    probability,
)
from inarch.checkpoints.maps.rule import dense, norm, rule, tied, when
from inarch.checkpoints.maps.source import Head, Source
from inarch.models.bert import checkpoint as bert

# A table to be checked against the reference, line by line.
# fmt: off
HUGGING_FACE = Source(
    model_type="electra",
    architecture="ElectraModel",
    prefix="electra.",
    config=[
        field("vocab_size", "vocabulary_size", 30522),
        field("num_hidden_layers", "num_layers", 12),
        field("num_attention_heads", "num_heads", 4),
        field("hidden_size", "hidden_dim", 256),
        field("embedding_size", "embedding_dim", 128),
        field("intermediate_size", "intermediate_dim", 1024),
        probability("hidden_dropout_prob", "dropout", 0.1),
        probability("attention_probs_dropout_prob", "attention_dropout", 0.1),
        choice("hidden_act", "activation", "gelu", values=ACTIVATIONS),
        field("layer_norm_eps", "layer_norm_epsilon", 1e-12),
        field("max_position_embeddings", "max_sequence_length", 512),
        field("type_vocab_size", "num_segments", 2),
        TEXT_ENCODER,
        ignored(
            "summary_activation", "summary_first_dropout", "summary_last_dropout",
            "summary_proj_to_labels", "summary_type", "summary_use_proj",
            reason="settings of the multiple choice head, for which there is no task",
        ),
    ],
    weights=[
        bert.HUGGING_FACE.weights,  # the encoder's tensors have BERT's names
        when(lambda arguments: arguments["embedding_dim"] != arguments["hidden_dim"],
            dense("embeddings_project", "embeddings_projection")),
    ],
    heads={
        "masked_lm": Head(
            ("ElectraForMaskedLM",),
            weights=[
                dense("generator_predictions.dense", "masked_lm_head/transform"),
                norm("generator_predictions.LayerNorm", "masked_lm_head/transform_norm"),
                rule("generator_lm_head.bias", "masked_lm_head/output_bias", "v -> v"),
            ],
            tied=tied("generator_lm_head.weight", ".embeddings.word_embeddings.weight"),
            untied=rule("generator_lm_head.weight", "masked_lm_head/output_kernel", "v d -> d v"),
        ),
        "text_classifier": Head(
            ("ElectraForSequenceClassification",),
            weights=[
                dense("classifier.dense", "pooled_dense"),
                dense("classifier.out_proj", "logits"),
            ],
            config=[probability("classifier_dropout", "dropout", None)],
        ),
        "replaced_tokens": Head(
            ("ElectraForPreTraining",),
            weights=[
                dense("discriminator_predictions.dense", "replaced_dense"),
                dense("discriminator_predictions.dense_prediction", "replaced"),
            ],
        ),
        "token_classifier": Head(
            ("ElectraForTokenClassification",), dense("classifier", "logits"),
            config=[probability("classifier_dropout", "dropout", None)],
        ),
        "multiple_choice": Head(
            ("ElectraForMultipleChoice",),
            weights=[
                dense("sequence_summary.summary", "summary"),
                dense("classifier", "logits"),
            ],
        ),
        "question_answering": Head(
            ("ElectraForQuestionAnswering",), dense("qa_outputs", "logits")
        ),
    },
)
