"""GTE as its authors publish it, against the class of transformers that computes the same.

Their NTK scaling is in no class of transformers: by `factor`, of heads of width `d`, it is the base
times `factor` and a linear scaling by `factor ** (2 / d)`.
"""

import json

import pytest

from inarch.tasks import MaskedLM, TextClassifier, TokenClassifier

from .test_against_transformers import inputs_of, load, noise_ratio, our_outputs, tensors

pytestmark = [pytest.mark.reference, pytest.mark.turns(3)]

FACTOR, BASE, WIDTH = 8.0, 50.0, 6
LINEAR = {"rope_type": "linear", "factor": FACTOR ** (2 / WIDTH), "rope_theta": BASE * FACTOR}
AUTHORS = {"rope_scaling": {"type": "ntk", "factor": FACTOR}, "rope_theta": BASE,
    "position_embedding_type": "rope", "pack_qkv": True, "layer_norm_type": "layer_norm",
    "logn_attention_scale": False, "auto_map": {"AutoModel": "modeling.NewModel"}}  # fmt: skip


def rewrite(folder):
    """Change a folder of transformers into what the authors' code writes."""
    from safetensors.torch import load_file, save_file

    path = folder / "config.json"
    config = json.loads(path.read_text())
    config.pop("rope_parameters")
    config["architectures"] = [n.replace("Gte", "New") for n in config["architectures"]]
    path.write_text(json.dumps(config | AUTHORS | {"model_type": "new"}))
    path = folder / "model.safetensors"
    state = {n.replace("gte.", "new."): tensor for n, tensor in load_file(path).items()}
    save_file(state, path, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("kind", "task", "name", "changes"),
    [
        ("GteModel", None, "last_hidden_state", {"type_vocab_size": 0}),
        ("GteForMaskedLM", MaskedLM, "logits", {"type_vocab_size": 1}),
        ("GteForSequenceClassification", TextClassifier, "logits", {"num_labels": 1}),
        ("GteForTokenClassification", TokenClassifier, "logits", {"num_labels": 3}),
    ],
)
def test_numbers_of_the_authors_files_are_the_references(
    kind, task, name, changes, write, tmp_path
):
    written = write(kind, rope_parameters=LINEAR, **changes)
    rewrite(written.folder)
    model = load(written.folder, task)
    inputs = inputs_of(written, model)
    single, double = (written.outputs(inputs, name, double) for double in (False, True))
    ours = our_outputs(model, inputs)
    real = inputs["padding_mask"].astype(bool) if ours.ndim == 3 else slice(None)
    assert noise_ratio(ours[real], single[real], double[real]) <= 4
    model.save_to_preset(tmp_path / "out")
    assert tensors(tmp_path / "out") == tensors(written.folder)
