"""Fifty random models of each family that generates: greedy and beam search as transformers does.

A row whose tokens aren't the reference's is a tie by rounding where they are the tokens of the
reference in float64, or where that reference itself finds others in float64 than in float32. Of a
hundred rows of a family at most one may be such a tie.
"""

import re

import numpy as np
import pytest

from inarch.generation import BeamSearch, Generator, Greedy
from inarch.generation.source_encoder import SourceEncoder
from inarch.models.variables import named_variables, set_value
from inarch.tasks import CausalLM, Seq2SeqLM
from inarch.verify.hooks import without_float32

from .conftest import torch, transformers
from .test_bart import END, IDS, PADDING
from .test_bart import write as write_seq2seq

pytestmark = [pytest.mark.reference, pytest.mark.turns(3)]

LLAMA3 = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8, "rope_theta": 20.0}  # fmt: skip
FAMILIES = {
    "BartForConditionalGeneration": {},
    "MBartForConditionalGeneration": {"scale_embedding": True},
    "PegasusForConditionalGeneration": {"scale_embedding": True},
    "MarianMTModel": {"share_encoder_decoder_embeddings": True, "decoder_vocab_size": None},
    "M2M100ForConditionalGeneration": {},
    "T5ForConditionalGeneration": {},
    "LlamaForCausalLM": {"rope_parameters": LLAMA3},
    "Qwen2ForCausalLM": {"tie_word_embeddings": True},
    "Qwen3ForCausalLM": {},
    "Gemma2ForCausalLM": {"num_hidden_layers": 2, "sliding_window": 3,
        "attn_logit_softcapping": 2.0, "final_logit_softcapping": 40.0},
    "Gemma3ForCausalLM": {"num_hidden_layers": 2, "sliding_window": 3},
    "BloomForCausalLM": {"n_head": 6},
    "GPT2LMHeadModel": {},
    "GPTNeoXForCausalLM": {"use_parallel_residual": False},
    "MixtralForCausalLM": {"sliding_window": 3},
    "Phi3ForCausalLM": {"sliding_window": 3},
    "OPTForCausalLM": {"tie_word_embeddings": True},
}  # fmt: skip
SEARCHES = [
    {"length_penalty": 1.0, "early_stopping": False},
    {"length_penalty": 2.0, "early_stopping": True},
    {"length_penalty": -0.5, "early_stopping": "never"},
]
MODELS, FEW, NEW, BEAMS, WORDS = 50, 3, 12, 4, 24
ROWS = [[7, 9, 20, 17, 8], [3], [11, 12, 13, 4, 15, 6, 7]]


def randomize(task, seed):
    """Every weight random, and blocks whose part in the logits is larger than the last token's."""
    random = np.random.default_rng(seed)
    for name, variable in named_variables(task).items():
        noise = random.standard_normal(tuple(variable.shape))
        if name.endswith("gamma"):
            noise = 1 + 0.3 * noise
        elif name.endswith("kernel"):
            noise = 3 * noise / len(noise) ** 0.5
        else:
            noise = 0.5 * noise
        set_value(variable, noise)


def searcher(task):
    """A function from a strategy to the tokens after `ROWS`, which keeps its programs."""
    layers = {layer.name: layer for layer in task.layers}
    head = None if task.tie_word_embeddings else layers["logits"]
    bias = {"logits_bias": layers["logits_bias"]} if "logits_bias" in layers else {}
    stack, encoder = task.backbone.decoder_stack(head, **bias), None
    if isinstance(task, Seq2SeqLM):
        encoder = SourceEncoder(task.backbone.encoder(), stack, task.start_ids, PADDING, None)
    generator = Generator(stack, END)

    def search(strategy, **options):
        prompts = ROWS if encoder is None else [encoder.start_ids] * len(ROWS)
        encoded = {} if encoder is None else encoder.encode(ROWS, max(map(len, ROWS)))
        given = {"strategy": strategy, "max_new_tokens": NEW, **encoded, **options}
        return generator.generate(prompts, **given).rows()

    return search


def searched(model, skipped, **options):
    """The reference's tokens after each of `ROWS`, one by one, without their end."""
    found = []
    for row in ROWS:
        ids = torch.tensor([row])
        given = {"attention_mask": torch.ones_like(ids), "max_new_tokens": NEW, "do_sample": False}
        with torch.inference_mode():
            tokens = model.generate(ids, **given, **options)[0].tolist()
        tokens = tokens[skipped or len(row) :]
        found.append(tokens[: tokens.index(END)] if END in tokens else tokens)
    return found


def rounded(ours, wanted, model, skipped, **options):
    """The number of rows whose tokens aren't the reference's; each has to be a tie by rounding."""
    if ours == wanted:
        return 0
    with without_float32(torch):
        exact = searched(model.double(), skipped, **options)
    rows = list(zip(ours, wanted, exact, strict=True))
    assert all(a in (b, c) or b != c for a, b, c in rows), options
    return sum(a != b for a, b, _ in rows)


@pytest.mark.parametrize(
    "seeds",
    [
        pytest.param(range(FEW), id="few"),
        pytest.param(range(FEW, MODELS), id="many", marks=pytest.mark.exhaustive),
    ],
)
@pytest.mark.parametrize("kind", FAMILIES)
def test_tokens_are_those_of_transformers(kind, seeds, write, tmp_path):
    is_causal = re.search("CausalLM|LMHead", kind) is not None
    changes = {"vocab_size": WORDS, **FAMILIES[kind]}
    if is_causal:
        folder, task_class = write(kind, **IDS, **changes).folder, CausalLM
    else:
        folder, task_class = write_seq2seq(tmp_path / "in", kind, **changes).folder, Seq2SeqLM
    task = task_class.from_preset(folder, preprocessor=None)
    search, cls = searcher(task), getattr(transformers, kind)
    ties = ended = 0
    seen = set()
    for seed in seeds:
        randomize(task, seed)
        task.save_to_preset(tmp_path / "out")
        model = cls.from_pretrained(tmp_path / "out").eval()
        # Nothing of what a class forces by default.
        model.generation_config = transformers.GenerationConfig(**IDS, decoder_start_token_id=END)
        options = SEARCHES[seed % len(SEARCHES)]
        for strategy, given in (
            (Greedy(), {}),
            (BeamSearch(BEAMS, **options), {"num_beams": BEAMS, **options}),
        ):
            ours, wanted = search(strategy), searched(model.float(), not is_causal, **given)
            ties += rounded(ours, wanted, model, not is_causal, **given)
            ended += sum(len(row) < NEW for row in ours)
            seen.update(map(tuple, ours))
    total = 2 * len(seeds) * len(ROWS)
    assert ties <= total // 100
    assert ended >= len(seeds) // 10  # the end has to be reached, too
    assert len(seen) > len(seeds) // 2  # texts that are all alike would show little
