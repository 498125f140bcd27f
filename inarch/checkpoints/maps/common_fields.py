"""Fields that transformers' configs share and that have no part in a forward pass's numbers."""

from __future__ import annotations

from inarch.checkpoints.maps.config import ignored
from inarch.checkpoints.maps.fields import Ignored

# Whatever reads these, no number of a forward pass depends on them.
ANYWHERE: tuple[Ignored, ...] = (
    ignored(
        "_commit_hash", "_name_or_path", "architectures", "auto_map", "custom_pipelines",
        "finetuning_task", "language", "license", "model_name", "model_type", "name_or_path",
        "task_specific_params", "tokenizer_class", "torchscript", "transformers_version",
        "use_bfloat16", "vocab_file", reason="names, files and versions",
    ),
    ignored("dtype", "torch_dtype", reason="the precision, which the caller chooses"),
    ignored(
        "_attn_implementation", "_attn_implementation_autoset", "attn_implementation",
        "chunk_size_feed_forward", "experts_implementation",
        reason="another way to the same numbers",
    ),
    ignored(
        "keys_to_ignore_at_inference", "output_attentions", "output_cross_attentions",
        "output_hidden_states", "output_past", "return_dict", "tie_last_hidden_states",
        "use_cache", reason="what a call returns, not its values",
    ),
    ignored("gradient_checkpointing", "initializer_range",
        reason="initial weights and the memory of training"),
    ignored(
        "_num_labels", "id2label", "label2id", "num_labels", "problem_type",
        reason="labels and losses, which the tasks read",
    ),
    ignored(
        "sbert_ce_default_activation_function", "sentence_transformers",
        reason="how sentence-transformers makes scores of logits, which the classifier reads",
    ),
    ignored("tie_encoder_decoder", "tie_weights_", "tie_word_embeddings",
        reason="ties, which the weight map reads"),
    ignored(
        "vision_aspect_ratio", "vision_feature_layer", "vision_feature_select_strategy",
        reason="arguments of models that see, which ours don't have",
    ),
)  # fmt: skip

# Ids of tokens that go into the inputs; a model whose graph reads one has an entry for it.
TOKENS = ignored(
    "bos_token_id", "cls_token_id", "decoder_start_token_id", "eos_token_id",
    "forced_bos_token_id", "forced_eos_token_id", "mask_token_id", "pad_token_id", "prefix",
    "sep_token_id", "unk_token_id", reason="tokens of the inputs",
)  # fmt: skip

# Text generation settings that older versions of transformers wrote into every config.
GENERATING = ignored(
    "assistant_confidence_threshold", "assistant_lookbehind", "bad_words_ids",
    "begin_suppress_tokens", "diversity_penalty", "do_sample", "early_stopping",
    "encoder_no_repeat_ngram_size", "encoder_repetition_penalty", "epsilon_cutoff", "eta_cutoff",
    "exponential_decay_length_penalty", "length_penalty", "max_length", "min_length",
    "no_repeat_ngram_size", "num_assistant_tokens", "num_assistant_tokens_schedule",
    "num_beam_groups", "num_beams", "num_return_sequences", "output_scores",
    "remove_invalid_values", "repetition_penalty", "return_dict_in_generate", "suppress_tokens",
    "target_lookbehind", "temperature", "top_k", "top_p", "typical_p", reason="text generation",
)  # fmt: skip

COMMON: tuple[Ignored, ...] = (*ANYWHERE, TOKENS, GENERATING)
