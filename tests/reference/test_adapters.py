"""Adapters in PEFT's format give the reference's model what they give ours, and the reverse."""

import json
from pathlib import Path

import numpy as np
import pytest
from keras import ops

from inarch import Backbone
from inarch.keras_private import all_layers
from inarch.models import registry
from inarch.models.lora_layers import layers_of, updated_layers
from inarch.tasks import TextClassifier
from inarch.verify.golden import Golden
from inarch.verify.inputs import make_inputs, reference_inputs

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = [pytest.mark.reference, pytest.mark.turns(3)]

GOLDEN = Path(__file__).parent.parent / "golden"
ARCHITECTURES = registry.architectures()
PREFIX = "base_model.model."


def unpack(name, folder):
    Golden.read(GOLDEN / f"{name}.safetensors").unpack(folder)
    return folder


def trained(model, seed=0):
    random = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(0.3 * random.normal(size=variable.shape))
    return model


def ours(model, inputs):
    outputs = model(inputs)
    if isinstance(outputs, dict):  # in no order that backends share
        outputs = outputs.get("decoder_sequence_output", outputs.get("sequence_output"))
    return ops.convert_to_numpy(outputs)


def theirs(model, inputs, architecture):
    tensors = reference_inputs(inputs, architecture.inputs)
    with torch.no_grad():
        outputs = model.eval()(**{n: torch.as_tensor(v) for n, v in tensors.items()})
    for name in ("logits", "last_hidden_state"):
        if outputs.get(name) is not None:
            return outputs[name].numpy()
    raise AssertionError(outputs.keys())


def merge_by_hand(model, folder):
    """Add each product of two factors to the weight of the module that it names, as PEFT does."""
    from safetensors.torch import load_file

    config = json.loads((folder / "adapter_config.json").read_text())
    tensors = load_file(folder / "adapter_model.safetensors")
    for name in [n for n in tensors if n.endswith("lora_A.weight")]:
        module = name.removeprefix(PREFIX).removesuffix(".lora_A.weight")
        rank = config["rank_pattern"].get(module, config["r"])
        alpha = config["alpha_pattern"].get(module, config["lora_alpha"])
        a, b = tensors.pop(name), tensors.pop(name.replace("lora_A", "lora_B"))
        assert a.shape[0] == rank
        weight = model.get_submodule(module).weight
        product = alpha / rank * b @ a
        weight.data += product.T if config["fan_in_fan_out"] else product
    rest = {name.removeprefix(PREFIX): value for name, value in tensors.items()}
    assert not model.load_state_dict(rest, strict=False).unexpected_keys
    return model


def check(one, two, inputs, model):
    *_, mask = (values for name, values in inputs.items() if name.endswith("padding_mask"))
    if one.ndim == 3:  # what is at padding is nobody's
        mask = getattr(model, "backbone", model).position_mask(mask).astype(bool)
        one, two = one[mask], two[mask]
    np.testing.assert_allclose(one, two, rtol=1e-4, atol=2e-5 * np.abs(two).max())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_adapter_of_any_architecture_names_the_modules_of_the_reference(name, tmp_path):
    folder = unpack(name, tmp_path)
    model = Backbone.from_preset(folder)
    inputs = make_inputs(model)
    before = ours(model, inputs)
    kinds = {path.rpartition("/")[0].rpartition("/")[2] for path in layers_of(model)}
    for layer in all_layers(model):
        kinds -= {*getattr(layer, "parts_within", ())}  # of no module of the reference's own
    model.enable_lora(2, sorted(kinds & {"query", "value", "up", "output"}), alpha=3)
    for _, layer in [*updated_layers(model)][:1]:
        layer.lora_alpha = 5  # one of another scale than the rest
    trained(model).save_adapter(tmp_path / "adapter")
    expected = ours(model, inputs)
    assert np.abs(expected - before).max() > 1e-3
    reference = transformers.AutoModel.from_pretrained(folder)
    found = theirs(merge_by_hand(reference, tmp_path / "adapter"), inputs, ARCHITECTURES[name])
    check(found, expected, inputs, model)


@pytest.mark.parametrize("name", ["bert", "modern_bert", "gpt2"])
def test_peft_loads_ours_and_ours_loads_what_peft_saved(name, tmp_path):
    """Cover one projection of the reference for three of ours, and a classifier's head."""
    peft = pytest.importorskip("peft")
    folder = unpack(name, tmp_path)
    architecture = ARCHITECTURES[name]
    source = architecture.sources[0]
    model = TextClassifier.from_preset(folder, preprocessor=None)
    inputs = make_inputs(model)
    model.enable_lora(2, ["query", "value"])
    trained(model).save_adapter(tmp_path / "ours")
    kind = getattr(transformers, source.heads["text_classifier"].architectures[0])
    load = lambda: kind.from_pretrained(folder, num_labels=model.num_classes)  # noqa: E731
    loaded = peft.PeftModel.from_pretrained(load(), tmp_path / "ours")
    check(theirs(loaded, inputs, architecture), ours(model, inputs), inputs, model)

    targets = sorted({n.rpartition(".")[2] for n in json.loads(
        (tmp_path / "ours" / "adapter_config.json").read_text())["target_modules"]})  # fmt: skip
    config = peft.LoraConfig(
        r=3, lora_alpha=5, target_modules=targets, task_type="SEQ_CLS", use_rslora=True
    )
    made = peft.get_peft_model(load(), config)
    generator = torch.Generator().manual_seed(0)
    for parameter in made.parameters():
        if parameter.requires_grad:
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    made.save_pretrained(tmp_path / "theirs")
    again = TextClassifier.from_preset(folder, preprocessor=None)
    again.load_adapter(tmp_path / "theirs")
    check(ours(again, inputs), theirs(made, inputs, architecture), inputs, again)
