"""Right models by the hundred: how large noise ratios get where nothing is wrong.

`python tests/reference/clean_models.py` prints the figures behind the threshold for the backend
that KERAS_BACKEND names.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.reference.encoders import ENCODERS, classes

CONFIGS, SEEDS = 20, 5
ACTIVATIONS = ("gelu", "gelu_new", "relu", "silu")
KINDS = {name: tuple(classes(found)) for name, found in ENCODERS.items()}


def config_of(architecture, number):
    """A class of transformers, and a random config of it."""
    random = np.random.default_rng([number, len(architecture)])
    # Few sizes, so that a backend that compiles every shape has few to compile.
    dim, heads = [(12, 1), (12, 2), (12, 3), (20, 5)][random.integers(4)]
    sizes = {
        "vocab_size": 31,
        "max_position_embeddings": int(random.choice([9, 24])),
    }
    layers, between = int(random.integers(1, 4)), int(random.choice([10, 40]))
    activation = str(random.choice(ACTIVATIONS))
    if architecture != "distil_bert":
        sizes |= {
            "hidden_size": dim, "num_hidden_layers": layers,
            "intermediate_size": between, "hidden_act": activation,
            "layer_norm_eps": float(random.choice([1e-12, 1e-5, 1e-3])),
            "type_vocab_size": int(random.integers(1, 4)),
        }  # fmt: skip
        if architecture != "f_net":
            sizes["num_attention_heads"] = heads
        if architecture == "roberta":
            sizes["pad_token_id"] = int(random.integers(0, 3))
        if architecture == "deberta_v3":
            sizes |= deberta(random)
    else:
        sizes |= {
            "dim": dim, "n_layers": layers, "n_heads": heads, "hidden_dim": between,
            "activation": activation, "sinusoidal_pos_embds": bool(random.integers(0, 2)),
        }  # fmt: skip
    kinds = KINDS[architecture]
    if "MaskedLM" in kinds[number % len(kinds)]:
        sizes["tie_word_embeddings"] = bool(random.integers(0, 2))
    return kinds[number % len(kinds)], sizes


def deberta(random):
    """What DeBERTa has beside BERT's fields."""
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
        "pooler_hidden_act": str(random.choice(ACTIVATIONS)),
    }


def reports(architecture, number, seeds=SEEDS):
    """The verification of one random config with several sets of random weights."""
    import transformers

    from inarch.tasks.verification import verify_checkpoint

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
