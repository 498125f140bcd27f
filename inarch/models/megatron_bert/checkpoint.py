"""MegatronBERT as transformers stores it (models/megatron_bert/modeling_megatron_bert.py)."""

from inarch.checkpoints.maps.config import with_defaults
from inarch.checkpoints.maps.rule import dense, embedding, norm, under
from inarch.checkpoints.maps.source import Head, Source
from inarch.models.bert import checkpoint as bert

BERT = bert.HUGGING_FACE.heads

# A table to be checked against the reference, line by line.
# fmt: off
HUGGING_FACE = Source(
    model_type="megatron-bert",
    architecture="MegatronBertModel",
    prefix="bert.",
    config=[
        with_defaults(bert.HUGGING_FACE.config, vocab_size=29056, num_hidden_layers=24,
            num_attention_heads=16, hidden_size=1024, intermediate_size=4096),
    ],
    weights=[
        embedding("embeddings.word_embeddings", "embeddings/token_embedding"),
        embedding("embeddings.position_embeddings", "embeddings/position_embedding"),
        embedding("embeddings.token_type_embeddings", "segment_embedding"),
        under("encoder.layer.{i}", "layer_{i}",
            dense("attention.self.query", "attention/query"),
            dense("attention.self.key", "attention/key"),
            dense("attention.self.value", "attention/value"),
            dense("attention.output.dense", "attention/output"),
            norm("attention.ln", "attention_norm"),
            dense("intermediate.dense", "feed_forward/up"),
            dense("output.dense", "feed_forward/down"),
            norm("ln", "feed_forward_norm")),
        norm("encoder.ln", "final_norm"),
        bert.POSITION_IDS,
    ],
    optional_layers={"pooler": dense("pooler.dense", "pooler")},
    heads={
        "masked_lm": Head(
            ("MegatronBertForMaskedLM", "MegatronBertForPreTraining"), BERT["masked_lm"].weights,
            tied=BERT["masked_lm"].tied, untied=BERT["masked_lm"].untied,
        ),
        "next_sentence": Head(
            ("MegatronBertForNextSentencePrediction", "MegatronBertForPreTraining"),
            BERT["next_sentence"].weights,
        ),
        "text_classifier": Head(
            ("MegatronBertForSequenceClassification",),
            weights=dense("classifier", "logits"),
            requires=("pooler",),
        ),
        "multiple_choice": Head(
            ("MegatronBertForMultipleChoice",),
            weights=dense("classifier", "logits"),
        ),
        "token_classifier": Head(
            ("MegatronBertForTokenClassification",),
            weights=dense("classifier", "logits"),
        ),
        "question_answering": Head(
            ("MegatronBertForQuestionAnswering",),
            weights=dense("qa_outputs", "logits"),
        ),
    },
)
