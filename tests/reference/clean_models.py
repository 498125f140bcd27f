"""Right models by the hundred: how large noise ratios get where nothing is wrong.

`python tests/reference/clean_models.py` prints the figures behind the threshold for the backend
that KERAS_BACKEND names.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from inarch.checkpoints.maps.config_map import write_fields
from inarch.checkpoints.maps.fields import Field
from inarch.checkpoints.maps.per_layer import PerLayer
from tests.reference.encoders import ENCODERS, classes

CONFIGS, SEEDS = 20, 5
ACTIVATIONS = ("gelu", "gelu_approximate", "relu", "silu")
KINDS = {name: tuple(classes(found)) for name, found in ENCODERS.items()}


def config_of(architecture, number):
    """A class of transformers, and a random config of it: whatever of this its fields vary."""
    random = np.random.default_rng([number, len(architecture), 1])
    # Few sizes, so that a backend that compiles every shape has few to compile.
    dim, heads = [(12, 1), (12, 2), (12, 3), (20, 5)][random.integers(4)]
    varied = {
        "vocabulary_size": 31, "hidden_dim": dim, "num_heads": heads,
        "num_layers": int(random.integers(1, 4)),
        "intermediate_dim": int(random.choice([10, 24, 40])),
        "max_sequence_length": int(random.choice([9, 14, 24])),
        "activation": str(random.choice(ACTIVATIONS)),
        "layer_norm_epsilon": float(random.choice([1e-12, 1e-5, 1e-3])),
        "num_segments": int(random.integers(1, 4)),
        "padding_id": int(random.integers(0, 3)),
    }  # fmt: skip
    found = ENCODERS[architecture]
    source = found.sources[0]
    known = {entry.ours for entry in source.config if isinstance(entry, Field)}
    config = dict(source.published)
    sizes = {**found.tiny, **{name: value for name, value in varied.items() if name in known}}
    for entry in source.config:
        if isinstance(entry, PerLayer):
            sizes[entry.ours] = np.resize(sizes[entry.ours], sizes[entry.layers.ours]).tolist()
    write_fields(source.config, sizes, config, complete=True)
    config |= OWN.get(architecture, lambda random: {})(random)
    kinds = KINDS[architecture]
    if "MaskedLM" in kinds[number % len(kinds)]:
        config["tie_word_embeddings"] = bool(random.integers(0, 2))
    return kinds[number % len(kinds)], config


def deberta(random):
    """Fields of DeBERTa that switch on other parts of its attention."""
    terms = ["c2p|p2c", "c2p|p2c", "c2p", ["p2c"], None]
    return {
        "relative_attention": bool(random.integers(0, 5)),
        "position_buckets": int(random.choice([-1, 4, 6, 9])),
        "pos_att_type": terms[random.integers(len(terms))],
        "share_att_key": bool(random.integers(0, 2)),
        "norm_rel_ebd": str(random.choice(["none", "layer_norm"])),
        "position_biased_input": bool(random.integers(0, 2)),
        "type_vocab_size": int(random.integers(0, 3)),
        "conv_kernel_size": int(random.choice([0, 3])),
        "max_relative_positions": int(random.choice([-1, 11])),
        "pooler_hidden_act": str(random.choice(["gelu", "gelu_new", "relu", "silu"])),
    }


def first_deberta(random):
    """Fields of DeBERTa's first version that switch on other parts of its attention."""
    shared = ("relative_attention", "pos_att_type", "position_biased_input", "type_vocab_size")
    shared += ("max_relative_positions", "pooler_hidden_act")
    return {name: value for name, value in deberta(random).items() if name in shared}


# Further fields that are varied, of those that have any.
OWN = {
    "albert": lambda random: {
        "num_hidden_layers": 3,
        "num_hidden_groups": int(random.integers(1, 4)),
    },
    "deberta": first_deberta,
    "deberta_v3": deberta,
    # Ids of special tokens that a small vocabulary has.
    "modern_bert": lambda random: dict.fromkeys(
        (f"{name}_token_id" for name in ("pad", "bos", "eos", "cls", "sep")), 0
    ),
    # A padding that a small vocabulary has, and keys for any number of heads.
    "eurobert": lambda random: {
        "pad_token_id": 0,
        "num_key_value_heads": 1,
        "classifier_pooling": str(random.choice(["bos", "mean", "late"])),
    },
    "distil_bert": lambda random: {"sinusoidal_pos_embds": bool(random.integers(0, 2))},
}


def reports(architecture, number, seeds=SEEDS):
    """The verification of one random config with several sets of random weights."""
    import transformers

    from inarch.workflows.verification import verify_checkpoint

    kind, sizes = config_of(architecture, number)
    cls = getattr(transformers, kind)
    with tempfile.TemporaryDirectory() as folder:
        transformers.logging.disable_progress_bar()
        cls(cls.config_class(**sizes)).save_pretrained(folder)
        for seed in range(seeds):
            yield verify_checkpoint(Path(folder), perturb=seed)


def main():
    from rich.progress import track

    for architecture in KINDS:
        free, local, alarms = [], [], 0
        for number in track(range(CONFIGS), architecture, disable=not sys.stderr.isatty()):
            for report in reports(architecture, number):
                free += [m.ratio for m in report.measures]
                local += [m.local_ratio for m in report.measures]
                alarms += not report.passed
        for name, ratios in {"same inputs": free, "reference's inputs": local}.items():
            median, high, most = np.percentile(ratios, [50, 99.9, 100])
            print(
                f"{architecture}, {name}: {len(ratios)} tensors, median {median:.2f}, "
                f"99.9 % below {high:.2f}, largest {most:.2f}; false alarms {alarms}"
            )


if __name__ == "__main__":
    main()
