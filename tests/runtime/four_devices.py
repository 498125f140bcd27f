"""One job on one device, and on four by data and by model parallelism: prints what each gives.

Started by `test_distribution.py` in a process of its own, with four virtual devices.
"""

import json
import sys
from pathlib import Path

import keras
import numpy as np

from inarch import Backbone, CausalLM, MaskedLM, TextClassifier
from inarch.layers.axes import logical_axes
from tests.conformance.models import ARCHITECTURES, letters, randomized, tiny

TEXTS = ["a b c", "c a d e f", "a", "b b b b", "c d", "e f a b c d", "f"]
CLASSES = [0, 1, 2, 0, 1, 2, 0]
# The last batch of an epoch has three texts, which four devices don't divide.
BATCH = 4


def make(folder):
    """Write the checkpoints of a classifier and of a generator, on one device."""
    bert, gpt2 = ARCHITECTURES["bert"], ARCHITECTURES["gpt2"]
    classifier = TextClassifier(tiny(bert, num_heads=2), num_classes=3, preprocessor=letters(bert))
    randomized(classifier).save_to_preset(folder / "classifier")
    randomized(CausalLM(tiny(gpt2), preprocessor=letters(gpt2))).save_to_preset(folder / "lm")
    words = MaskedLM(tiny(bert, num_heads=2), preprocessor=letters(bert), tie_word_embeddings=False)
    randomized(words).save_to_preset(folder / "words")


def run(folder, distribution):
    keras.distribution.set_distribution(distribution)
    keras.utils.set_random_seed(0)
    task = TextClassifier.from_preset(folder / "classifier")
    copy = folder / type(distribution).__name__
    task.save_to_preset(copy)
    same = (copy / "model.safetensors").read_bytes()
    found = {
        "saved": same == (folder / "classifier" / "model.safetensors").read_bytes(),
        "before": task.predict(TEXTS).tolist(),
        "rows": task.predict(task.padded(task.encode(TEXTS)), verbose=0).tolist(),
    }
    task.compile(keras.optimizers.SGD(1e-3))
    data = (TEXTS, CLASSES)
    history = task.fit(*data, batch_size=BATCH, epochs=2, verbose=0, validation_data=data)
    found |= history.history
    found["single step"] = task.train_on_batch(TEXTS[:3], CLASSES[:3])
    found["after"] = task.predict(TEXTS).tolist()
    found["generated"] = CausalLM.from_preset(folder / "lm").generate(TEXTS[:2], max_new_tokens=3)
    weights = {weight.path: weight.value.sharding for weight in task.backbone.weights}
    found["cut"] = sorted(path for path, s in weights.items() if "model" in getattr(s, "spec", ()))
    found["weights"] = len(logical_axes(task.backbone))
    return found


def run_head(folder, distribution):
    """The logits of a masked LM, and the weights of its head that are cut."""
    keras.distribution.set_distribution(distribution)
    task = MaskedLM.from_preset(folder / "words")
    logits = task.predict(TEXTS)
    shardings = {weight.path: weight.value.sharding for weight in task.weights}
    cut = [path for path, s in shardings.items() if "model" in getattr(s, "spec", ())]
    return {"logits": logits.tolist(), "cut heads": [p for p in cut if "head" in p]}


def main(folder):
    make(folder)
    mesh = keras.distribution.DeviceMesh((2, 2), ("batch", "model"))
    layout = Backbone.get_layout_map(folder / "classifier", mesh)
    ways = {
        "one": None,
        "data": keras.distribution.DataParallel(),
        "model": keras.distribution.ModelParallel(layout_map=layout),
    }
    found = {name: run(folder, way) for name, way in ways.items()}
    keras.distribution.set_distribution(None)
    layout = MaskedLM.get_layout_map(folder / "words", mesh)
    ways["model"] = keras.distribution.ModelParallel(layout_map=layout)
    for name, way in ways.items():
        found[name] |= run_head(folder, way)
    print(json.dumps(found))


if __name__ == "__main__":
    assert len(keras.distribution.list_devices()) == 4
    np.seterr(all="raise", under="ignore")
    main(Path(sys.argv[1]))
