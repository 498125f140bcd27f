"""The JSON files by which transformers generates and hears as the original does."""

from __future__ import annotations

from typing import Any

from inarch.audio import HOP, SAMPLE_RATE, WINDOW_FRAMES, WINDOW_SAMPLES
from inarch.text import WhisperTokenizer

GENERATION = "generation_config.json"
PREPROCESSOR = "preprocessor_config.json"


def generation_config(tokenizer: WhisperTokenizer | None, max_length: int) -> dict[str, Any]:
    """The content of generation_config.json, without lists of tokens to suppress.

    Args:
        tokenizer: the model's, where it is known.
        max_length: positions of the decoder.
    """
    if tokenizer is None:
        return {"max_length": max_length}
    config: dict[str, Any] = {
        "bos_token_id": tokenizer.end_of_text,
        "eos_token_id": tokenizer.end_of_text,
        "pad_token_id": tokenizer.end_of_text,
        "decoder_start_token_id": tokenizer.start_of_transcript,
        "prev_sot_token_id": tokenizer.start_of_prev,
        "no_timestamps_token_id": tokenizer.no_timestamps,
        "is_multilingual": tokenizer.is_multilingual,
        "max_initial_timestamp_index": 50,
        "max_length": max_length,
        "return_timestamps": False,
        "suppress_tokens": list(tokenizer.non_speech_tokens),
        "begin_suppress_tokens": list(tokenizer.suppress_blank),
    }
    if tokenizer.is_multilingual:
        config["lang_to_id"] = {f"<|{code}|>": i for code, i in tokenizer.languages.items()}
        config["task_to_id"] = {
            "transcribe": tokenizer.transcribe,
            "translate": tokenizer.translate,
        }
    return config


def preprocessor_config(num_mels: int) -> dict[str, Any]:
    """The content of preprocessor_config.json."""
    return {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "processor_class": "WhisperProcessor",
        "feature_size": num_mels,
        "sampling_rate": SAMPLE_RATE,
        "hop_length": HOP,
        "n_fft": 400,
        "chunk_length": WINDOW_SAMPLES // SAMPLE_RATE,
        "n_samples": WINDOW_SAMPLES,
        "nb_max_frames": WINDOW_FRAMES,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
    }
