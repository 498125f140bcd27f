"""Architectures of transformers that aren't here are explained, from their shapes alone."""

import pytest
import torch
import transformers
from transformers import AutoConfig

from inarch.checkpoints.formats.weights import TensorInfo
from inarch.port.header import Header
from inarch.port.inspection import inspect_header

# What no layer here computes, of each.
MODELS = {
    "AlbertForMaskedLM": [],
    "BartForConditionalGeneration": [],
    "BloomForCausalLM": [],
    "GPTNeoXForCausalLM": [],
    "MixtralForCausalLM": [],
    "Qwen2MoeForCausalLM": ["mixture of experts, shared experts"],
    "OPTForCausalLM": [],
    "Phi3ForCausalLM": [],
    "RoFormerForMaskedLM": [],
    "T5ForConditionalGeneration": [],
    "Wav2Vec2ForCTC": [],
    "XLNetLMHeadModel": [],
}


@pytest.mark.parametrize("name", MODELS)
def test_tensors_are_explained_and_missing_layers_named(name):
    cls = getattr(transformers, name)
    config = cls.config_class()
    with torch.device("meta"):
        state = cls(config).state_dict()
    tensors = {key: TensorInfo("F32", tuple(value.shape)) for key, value in state.items()}
    found = inspect_header(Header(name, config.to_dict(), tensors))
    assert found.unexplained == ()
    assert not any(part.by == "shape" for part in found.parts)
    assert [brick.kind for brick in found.new_layers] == MODELS[name]
    assert found.nearest is not None
    assert AutoConfig.for_model(found.model_type)
