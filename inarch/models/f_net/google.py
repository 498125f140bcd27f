"""FNet as its authors published it: a Flax checkpoint (google-research/f_net, models.py)."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from inarch.checkpoints.formats.flax_file import open_flax
from inarch.checkpoints.formats.weights import TensorInfo
from inarch.checkpoints.maps.author_formats import AuthorFormat, OpenedCheckpoint
from inarch.checkpoints.maps.config import constant, field, probability
from inarch.checkpoints.maps.rule import FLAX, rule
from inarch.checkpoints.maps.source import Head, Source
from inarch.errors import ConfigError

# The name under which it was published. A model that mixes nothing or at random has the very same
# tensors, and no config has which it is; so a checkpoint of another name isn't taken for an FNet.
MODEL = "f_net_checkpoint"
ROOT = "target/encoder"
OUTPUT = replace(FLAX, kernel="output_kernel", bias="output_bias", kernel_axes="o i -> i o")


# A table to be checked against the reference, line by line.
# fmt: off
def flax(pretrained: bool) -> Source:
    """Return the table for a checkpoint of pre-training, or of fine-tuned classification."""
    classes = OUTPUT.dense("target/classification",
        "next_sentence" if pretrained else "logits")
    return Source(
        model_type="fnet",
        architecture="EncoderModel",
        strict=True,
        prefix=f"{ROOT}/",
        config=[
            field("vocab_size", "vocabulary_size"),
            field("num_layers", "num_layers"),
            field("d_model", "hidden_dim"),
            field("d_ff", "intermediate_dim"),
            probability("dropout_rate", "dropout", 0.1),
            constant("activation", "gelu_approximate"),  # flax.linen.gelu's default
            constant("layer_norm_epsilon", 1e-12),
            field("max_seq_length", "max_sequence_length"),
            field("type_vocab_size", "num_segments"),
        ],
        weights=[
            FLAX.embedding("embedder/word", "embeddings/token_embedding"),
            rule("embedder/position/embedding", "embeddings/position_embedding/embeddings",
                "one v d -> (one v) d"),
            FLAX.embedding("embedder/type", "segment_embedding"),
            FLAX.norm("embedder/layer_norm", "embeddings_norm"),
            FLAX.dense("embedder/hidden_mapping_in", "embeddings_projection"),
            FLAX.under("encoder_{i}", "layer_{i}",
                FLAX.norm("mixing_layer_norm", "attention_norm"),
                FLAX.norm("output_layer_norm", "feed_forward_norm")),
            FLAX.under("feed_forward_{i}", "layer_{i}",
                FLAX.dense("intermediate", "feed_forward/up"),
                FLAX.dense("output", "feed_forward/down")),
            FLAX.dense("pooler", "pooler"),
        ],
        heads={
            "masked_lm": Head(
                ("PreTrainingModel",),
                weights=[
                    FLAX.dense("target/predictions_dense", "masked_lm_head/transform"),
                    FLAX.norm("target/predictions_layer_norm", "masked_lm_head/transform_norm"),
                    rule("target/predictions_output/output_bias", "masked_lm_head/output_bias",
                        "v -> v"),
                ],
            ),
            "next_sentence" if pretrained else "text_classifier": Head(
                ("PreTrainingModel" if pretrained else "SequenceClassificationModel",), classes
            ),
        },
        ignored_tensors={"state/*": "the optimizer's state; not saved"},
    )
# fmt: on


def _open(folder: Path) -> OpenedCheckpoint:
    weights = open_flax(folder / MODEL)
    pretrained = any(name.startswith("target/predictions_dense/") for name in weights.header)
    return OpenedCheckpoint(flax(pretrained), _config(folder / MODEL, weights.header), weights)


def _config(path: Path, header: Mapping[str, TensorInfo]) -> dict[str, int]:
    """Return the settings that the tensors' sizes show; no file has them."""
    places = {
        "vocab_size": ("embedder/word/embedding", -2),
        "d_emb": ("embedder/word/embedding", -1),
        "d_model": ("embedder/hidden_mapping_in/kernel", -1),
        "max_seq_length": ("embedder/position/embedding", -2),
        "type_vocab_size": ("embedder/type/embedding", -2),
        "d_ff": ("feed_forward_0/intermediate/kernel", -1),
    }
    found = {}
    for size, (name, axis) in places.items():
        info = header.get(f"{ROOT}/{name}")
        if info is None or len(info.shape) < 2:
            raise ConfigError(f"{path} has no table {ROOT}/{name}, so it is no FNet's checkpoint")
        found[size] = info.shape[axis]
    if found.pop("d_emb") != found["d_model"]:
        raise ConfigError(
            f"{path} has embeddings narrower or wider than its layers, which Hugging Face's format "
            "of FNet has no field for"
        )
    layers = {name.split("/")[2] for name in header if name.startswith(f"{ROOT}/encoder_")}
    return found | {"num_layers": len(layers)}


FORMAT = AuthorFormat("FNet, in Flax", (MODEL,), _open, flax(pretrained=True))
