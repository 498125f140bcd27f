"""RoBERTa as its authors published it: a fairseq checkpoint (fairseq/models/roberta/model.py).

XLM-R and CamemBERT came in the same files, with a SentencePiece model next to them.
"""

import argparse
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inarch.checkpoints.formats.torch_file import TorchFile, plain
from inarch.checkpoints.formats.torch_parts import NAMESPACE
from inarch.checkpoints.formats.weights import Weights
from inarch.checkpoints.maps.author_formats import AuthorFormat, OpenedCheckpoint
from inarch.checkpoints.maps.config import constant, field, must_be, probability
from inarch.checkpoints.maps.entries import Entry
from inarch.checkpoints.maps.fields import MustBe
from inarch.checkpoints.maps.rule import dense, embedding, norm, rule, tied, under, unused, zeros
from inarch.checkpoints.maps.source import ConfigEntries, Head, Source
from inarch.errors import CheckpointError, CheckpointFileError
from inarch.models.roberta.text import DICTIONARY, FIRST, LAST, PIECES, parse_dictionary
from inarch.text.files import read_text

MODEL = "model.pt"
CLASSES = "classification_heads."
SEVERAL = "one of several classification heads; not saved"

# Arguments of fairseq that are read by the model and the encoder that it builds, and have the one
# value that is computed here. The others are about training and data.
SETTLED: tuple[MustBe, ...] = (
    must_be("activation_fn", "gelu"),  # the masked language model's too, in Hugging Face's format
    must_be("pooler_activation_fn", "tanh"),
    must_be("encoder_normalize_before", False),
    must_be("layernorm_embedding", True),
    must_be("no_scale_embedding", True),
    must_be("encoder_learned_pos", True),
    must_be("no_token_positional_embeddings", False),
    must_be("adaptive_input", False),
    must_be("encoder_layers_to_keep", None),
    must_be("quant_noise_pq", 0, 0.0),
    must_be("quant_noise_scalar", 0, 0.0),
    must_be("spectral_norm_classification_head", False),
    must_be("encoder_xformers_att_config", None),
    must_be("mha_heads_to_keep", -1),
    must_be("ffn_blocks_to_remove", -1),
)
# What a checkpoint holds besides its model (fairseq/checkpoint_utils.py, trainer.py, state_dict).
SETTINGS = ("args", "cfg")
NOT_SAVED = {
    "criterion": "the state of the loss, which training alone reads; not saved",
    "optimizer_history": "the optimizers of training; not saved",
    "last_optimizer_state": "the optimizer's state; not saved",
    "task_state": "the state of the training's task; not saved",
    "extra_state": "how far training had come; not saved",
    # as they were until 2018
    "epoch": "how far training had come; not saved",
    "batch_offset": "how far training had come; not saved",
    "val_loss": "how far training had come; not saved",
    "best_loss": "how far training had come; not saved",
}
UNTIE = f"{MODEL} should have 'untie_weights_roberta': True in its 'args', or in 'model' of 'cfg'"
TRAINING = ("dropout", "attention_dropout", "pooler_dropout")
SIZES = ("encoder_layers", "encoder_embed_dim", "encoder_ffn_embed_dim", "encoder_attention_heads")
BASE = dict(zip(SIZES, (12, 768, 3072, 12), strict=True))
# What an architecture's name implies where an argument is absent.
ARCHITECTURES: dict[str, dict[str, int]] = {
    "roberta": BASE,
    "roberta_base": BASE,
    "roberta_large": dict(zip(SIZES, (24, 1024, 4096, 16), strict=True)),
    "xlm": dict(zip(SIZES, (16, 1280, 5120, 16), strict=True)),
}


# A table to be checked against the reference, line by line.
# fmt: off
CONFIG: ConfigEntries = [
    field("vocab_size", "vocabulary_size"),
    field("encoder_layers", "num_layers"),
    field("encoder_attention_heads", "num_heads"),
    field("encoder_embed_dim", "hidden_dim"),
    field("encoder_ffn_embed_dim", "intermediate_dim"),
    probability("dropout", "dropout", 0.1),
    probability("attention_dropout", "attention_dropout", 0.1),
    constant("activation", "gelu"),
    constant("layer_norm_epsilon", 1e-5),
    constant("padding_id", FIRST.index("<pad>")),
    field("max_positions", "max_sequence_length"),
    constant("num_segments", 1),
    SETTLED,
]


def table(model_type: str, root: str, first_norm: str, fused: bool, classifier: str) -> Source:
    """Return the table for a file's spellings.

    Args:
        root: `encoder`, or `decoder` as it was called until 2020.
        first_norm: `layernorm_embedding`, or `emb_layer_norm` until 2021.
        fused: whether query, key and value are one tensor, as they were until 2019.
        classifier: the classification head, `classification_heads.` and the name it was given.
    """
    encoder = f"{root}.sentence_encoder"
    return Source(
        model_type=model_type,
        architecture="RobertaModel",
        strict=True,
        prefix=f"{encoder}.",
        config=CONFIG,
        weights=[
            embedding("embed_tokens", "embeddings/token_embedding"),
            embedding("embed_positions", "embeddings/position_embedding"),
            zeros("segment_embedding/embeddings", "num_segments", "hidden_dim",
                reason="RoBERTa has no segments"),
            norm(first_norm, "embeddings_norm"),
            under("layers.{i}", "layer_{i}",
                _query_key_value(fused),
                dense("self_attn.out_proj", "attention/output"),
                norm("self_attn_layer_norm", "attention_norm"),
                dense("fc1", "feed_forward/up"),
                dense("fc2", "feed_forward/down"),
                norm("final_layer_norm", "feed_forward_norm")),
            unused("version", reason="fairseq's version of the encoder's tensors"),
        ],
        heads={
            "text_classifier": Head(
                ("RobertaClassificationHead",),
                weights=[
                    dense(f"{classifier}.dense", "pooled_dense"),
                    dense(f"{classifier}.out_proj", "logits"),
                ],
                config=[probability("pooler_dropout", "dropout", 0.0)],  # before each of the two
            ),
            "masked_lm": Head(
                ("RobertaLMHead",),
                weights=[
                    dense(f"{root}.lm_head.dense", "masked_lm_head/transform"),
                    norm(f"{root}.lm_head.layer_norm", "masked_lm_head/transform_norm"),
                    rule(f"{root}.lm_head.bias", "masked_lm_head/output_bias", "v -> v"),
                ],
                tied=tied(f"{root}.lm_head.weight", ".embed_tokens.weight"),
                untied=rule(f"{root}.lm_head.weight", "masked_lm_head/output_kernel", "v d -> d v"),
            ),
        },
        ignored_tensors={"classification_heads.*": SEVERAL},
    )


def _query_key_value(fused: bool) -> list[Entry]:
    names = [f"attention/{name}" for name in ("query", "key", "value")]
    if not fused:
        theirs = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
        return [entry for pair in zip(theirs, names, strict=True) for entry in dense(*pair)]
    return [
        rule("self_attn.in_proj_weight", [f"{name}/kernel" for name in names],
            "(o + o + o) i -> i o, i o, i o"),
        rule("self_attn.in_proj_bias", [f"{name}/bias" for name in names],
            "(o + o + o) -> o, o, o"),
    ]
# fmt: on


def _open(folder: Path, with_pieces: bool) -> OpenedCheckpoint:
    path = folder / MODEL
    reader = TorchFile(path, inside="model", allow=(NAMESPACE,))
    weights = Weights([reader.shard], [reader])
    weights.format = "fairseq checkpoint"
    if not weights.header:
        raise CheckpointFileError(f"{path} holds no tensors in 'model', as fairseq's files do")
    ignored_tensors = _ignored_tensors(path, reader)
    names = list(weights.header)
    tokens, overwriting = parse_dictionary(read_text(folder / DICTIONARY)[0], folder / DICTIONARY)
    pieced = "camembert" if overwriting else "xlm-roberta"
    old_norm = any(".emb_layer_norm." in name for name in names)
    classifiers = {n.rpartition(".")[0].rpartition(".")[0] for n in names if n.startswith(CLASSES)}
    source = table(
        pieced if with_pieces else "roberta",
        root="encoder" if any(name.startswith("encoder.") for name in names) else "decoder",
        first_norm="emb_layer_norm" if old_norm else "layernorm_embedding",
        fused=any(name.endswith(".in_proj_weight") for name in names),
        classifier=classifiers.pop() if len(classifiers) == 1 else f"{CLASSES}NAME",
    )
    dropped = (
        dict.fromkeys((n for n in names if n.startswith(CLASSES)), SEVERAL) if classifiers else {}
    )
    count = len(FIRST) + len(tokens) + (LAST not in tokens)
    embeddings = weights.header.get(f"{source.prefix}embed_tokens.weight")
    if embeddings is not None and embeddings.shape[:1] != (count,):
        raise CheckpointError(
            f"{folder / DICTIONARY} makes {count} tokens with fairseq's own {len(FIRST)} and "
            f"{LAST}, and {MODEL} has embeddings {list(embeddings.shape)}; the two are of "
            "different models"
        )
    config = _config(path, reader.outside) | {"vocab_size": count}
    return OpenedCheckpoint(source, config, weights, dropped, ignored_tensors, untie=UNTIE)


def _ignored_tensors(path: Path, reader: TorchFile) -> dict[str, str]:
    """Return the contents that are ignored, with the reason.

    Raises:
        CheckpointError: an entry isn't known, and the model might need it.
    """
    unknown = [name for name in reader.outside if name not in SETTINGS and name not in NOT_SAVED]
    unknown += [f"model[{name!r}]" for name in reader.others]
    if unknown:
        raise CheckpointError(
            f"{path} has entries that aren't known, and that the model might need: "
            f"{', '.join(unknown)}. If they have no part in it, save the file without them"
        )
    return {name: why for name, why in NOT_SAVED.items() if name in reader.outside}


def _config(path: Path, outside: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that the model's code reads, of the many that a checkpoint keeps.

    `args` until 2020, `cfg` from then on; what neither has follows from the architecture's name.
    """
    cfg = outside.get("cfg")
    if isinstance(cfg, Mapping):
        settings = _named(cfg.get("task")) | _named(cfg.get("model"))
    else:
        settings = _named(outside.get("args"))
    if not settings:
        raise CheckpointFileError(
            f"{path} doesn't describe its model: it should have 'args' or 'cfg' next to 'model', "
            "as fairseq writes them"
        )
    known = [
        *SIZES,
        *TRAINING,
        "max_positions",
        *(entry.theirs for entry in SETTLED),
    ]
    arch = settings.get("arch") or settings.get("_name")
    config = dict(ARCHITECTURES.get(arch, {}) if isinstance(arch, str) else {})
    config |= {name: settings[name] for name in known if settings.get(name) is not None}
    if "max_positions" not in config and isinstance(settings.get("tokens_per_sample"), int):
        config["max_positions"] = settings["tokens_per_sample"]
    if settings.get("untie_weights_roberta"):
        config["tie_word_embeddings"] = False
    return config


def _named(arguments: Any) -> dict[str, Any]:
    return dict(plain(vars(arguments) if isinstance(arguments, argparse.Namespace) else arguments))


# As the authors' own downloads spell it.
PUBLISHED = table("roberta", "decoder", "emb_layer_norm", True, f"{CLASSES}NAME")

FAIRSEQ = AuthorFormat(
    "RoBERTa, in fairseq",
    (MODEL, DICTIONARY),
    functools.partial(_open, with_pieces=False),
    PUBLISHED,
)
FAIRSEQ_WITH_PIECES = AuthorFormat(
    "XLM-R and CamemBERT, in fairseq",
    (MODEL, DICTIONARY, PIECES),
    functools.partial(_open, with_pieces=True),
    PUBLISHED,
)
