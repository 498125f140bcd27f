"""Sequence-to-sequence presets in their published sizes, with random weights.

The sizes are those of the published configs. The largest takes 5.5 GiB as a file, and about four
times as much memory where its tokens are compared in float64.
"""

import pytest

from inarch.generation import BeamSearch, Greedy
from inarch.generation.repetition import NoRepeatNGram
from inarch.models import registry
from inarch.tasks import Seq2SeqLM

from .conftest import torch, transformers
from .test_equal_tokens import BEAMS, NEW, rounded, searched, searcher

pytestmark = [pytest.mark.reference, pytest.mark.exhaustive]


def bart(width, inner, heads, vocabulary, layers, *, decoder_layers=None, **others):
    return {
        "d_model": width, "vocab_size": vocabulary, "encoder_layers": layers,
        "decoder_layers": decoder_layers or layers, "encoder_ffn_dim": inner,
        "decoder_ffn_dim": inner, "encoder_attention_heads": heads,
        "decoder_attention_heads": heads, **others,
    }  # fmt: skip


def t5(width, inner, heads, vocabulary, layers, **others):
    return {
        "d_model": width, "d_ff": inner, "num_heads": heads, "d_kv": 64, "num_layers": layers,
        "num_decoder_layers": layers, "vocab_size": vocabulary, **others,
    }  # fmt: skip


MARIAN = {
    "activation_function": "swish", "scale_embedding": True, "max_position_embeddings": 512,
    "share_encoder_decoder_embeddings": True, "decoder_vocab_size": None,
}  # fmt: skip
RELU = {"activation_function": "relu", "scale_embedding": True}
GATED = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
PEGASUS = (1024, 4096, 16, 96103, 16)
SHAPES = {
    "bart_base_en": ("Bart", bart(768, 3072, 12, 50265, 6)),
    "bart_large_en": ("Bart", bart(1024, 4096, 16, 50265, 12)),
    "bart_large_en_cnn": ("Bart", bart(1024, 4096, 16, 50264, 12)),
    "distil_bart_en_cnn": ("Bart", bart(1024, 4096, 16, 50264, 12, decoder_layers=6)),
    "mbart_large_50_multi": ("MBart", bart(1024, 4096, 16, 250054, 12, **RELU)),
    "pegasus_large_en": ("Pegasus", bart(*PEGASUS, **RELU)),
    "pegasus_xsum_en": ("Pegasus", bart(*PEGASUS, **RELU, max_position_embeddings=512)),
    "opus_mt_en_de": ("Marian", bart(512, 2048, 8, 58101, 6, **MARIAN)),
    "opus_mt_fr_en": ("Marian", bart(512, 2048, 8, 59514, 6, **MARIAN)),
    "opus_mt_zh_en": ("Marian", bart(512, 2048, 8, 65001, 6, **MARIAN)),
    "m2m100_418m_multi": ("M2M100", bart(1024, 4096, 16, 128112, 12, **RELU)),
    "m2m100_1.2b_multi": ("M2M100", bart(1024, 8192, 16, 128112, 24, **RELU)),
    "nllb_200_distilled_600m_multi": ("M2M100", bart(1024, 4096, 16, 256206, 12, **RELU)),
    "nllb_200_distilled_1.3b_multi": ("M2M100", bart(1024, 8192, 16, 256206, 24, **RELU)),
    "t5_small_multi": ("T5", t5(512, 2048, 8, 32128, 6)),
    "t5_base_multi": ("T5", t5(768, 3072, 12, 32128, 12)),
    "t5_large_multi": ("T5", t5(1024, 4096, 16, 32128, 24)),
    "flan_small_multi": ("T5", t5(512, 1024, 6, 32128, 8, **GATED)),
    "flan_base_multi": ("T5", t5(768, 2048, 12, 32128, 12, **GATED)),
    "flan_large_multi": ("T5", t5(1024, 2816, 16, 32128, 24, **GATED)),
    "mt5_small_multi": ("MT5", t5(512, 1024, 6, 250112, 8, **GATED)),
    "mt5_base_multi": ("MT5", t5(768, 2048, 12, 250112, 12, **GATED)),
}
# Of the same sizes as another.
ALIKE = {
    "bart_large_en_mnli": "bart_large_en",
    "pegasus_cnn_dailymail_en": "pegasus_large_en",
    "opus_mt_en_fr": "opus_mt_fr_en",
    "opus_mt_es_en": "opus_mt_zh_en",
}
END = {"pad_token_id": 1, "eos_token_id": 2, "bos_token_id": 0, "decoder_start_token_id": 2}


def randomize(model):
    """Weights of order one that make no rounding larger from layer to layer."""
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=random)
            if weight.ndim < 2:
                noise = 1 + 0.3 * noise if "norm" in name and "bias" not in name else 0.1 * noise
            elif "bias" in name:
                noise *= 0.5
            elif "embed" in name or "shared" in name:  # so small that a token's own logit is, too
                noise *= 0.02
            else:
                noise *= 1.5 * weight.shape[1] ** -0.5
            weight.copy_(noise)
        for module in model.modules():
            if hasattr(module, "create_weight"):
                module.weight.copy_(module.create_weight())


@pytest.mark.parametrize("preset", SHAPES)
def test_tokens_are_those_of_transformers(preset, tmp_path):
    family, fields = SHAPES[preset]
    kind = "MarianMTModel" if family == "Marian" else f"{family}ForConditionalGeneration"
    cls = getattr(transformers, kind)
    model = cls(cls.config_class(**fields, **END)).eval()
    randomize(model)
    model.generation_config = transformers.GenerationConfig(**END)
    model.save_pretrained(tmp_path)
    task = Seq2SeqLM.from_preset(tmp_path, preprocessor=None)
    assert task.backbone.count_params() == registry.presets()[preset].parameters
    search = searcher(task)
    # Random models repeat themselves. Without that the order of many tokens counts; of beams with
    # the same tokens in another order, rounding would decide.
    once = {"logits_processors": [NoRepeatNGram(1, include_prompt=True)]}
    found = search(Greedy(), **once)
    assert all(len(set(row)) == NEW for row in found)
    assert_same(found, model, no_repeat_ngram_size=1)
    assert_same(search(BeamSearch(BEAMS)), model, num_beams=BEAMS)


def assert_same(ours, model, **options):
    """Check tokens after different sources, which count, against the reference's."""
    assert len({*map(tuple, ours)}) > 1
    assert rounded(ours, searched(model.float(), True, **options), model, True, **options) <= 1


def test_every_preset_is_here():
    found = registry.presets()
    kinds = registry.architectures()
    named = {name for kind in ("bart", "t5") for name in kinds[kind].presets}
    assert named == SHAPES.keys() | ALIKE.keys() | {"sentence_t5_base_en", "gtr_t5_base_en"}
    for name, other in ALIKE.items():
        assert found[name].parameters == found[other].parameters
