"""Cases to compare of every architecture that encodes text, found in its folder."""

from itertools import cycle

from inarch.checkpoints.maps.fields import Field
from inarch.models.registry import architectures
from inarch.tasks import MaskedLM, TextClassifier

from .conftest import transformers

HEADS = ("masked_lm", "text_classifier")
ENCODERS = {n: a for n, a in architectures().items() if "masked_lm" in a.sources[0].heads}


def bare():
    """Reference class without a head, of each architecture."""
    return [architecture.sources[0].architecture for architecture in ENCODERS.values()]


def headed():
    """Classes with a head, of each architecture; not all of them are transformers'."""
    heads = [head for a in ENCODERS.values() for head in a.sources[0].heads.values()]
    return list(dict.fromkeys(name for head in heads for name in head.architectures))


def compared(architecture):
    """Formats of which transformers has the classes."""
    return [s for s in architecture.sources if hasattr(transformers, s.architecture)]


def classes(architecture):
    """Classes that have a model or a task here: of the first format all, one of each other."""
    first, *others = compared(architecture)
    yield first.architecture
    for source, head in [*((first, h) for h in HEADS), *zip(others, cycle(HEADS))]:
        yield source.heads[head].architectures[0]


def usual_cases():
    """Class, task, output and config changes that nearly every architecture has."""
    for architecture in ENCODERS.values():
        for source in compared(architecture):
            field = {e.ours: e.theirs for e in source.config if isinstance(e, Field)}
            activation = field.get("activation")
            others = [{activation: name} for name in ("relu", "silu") if activation]
            if "layer_norm_epsilon" in field:
                others.append({field["layer_norm_epsilon"]: 1e-3})
            for changes in [{}, *others]:
                yield source.architecture, None, "last_hidden_state", changes
            masked_lm, classifier = (source.heads[name].architectures[0] for name in HEADS)
            for changes in [{}, {"tie_word_embeddings": False}]:
                yield masked_lm, MaskedLM, "logits", changes
            yield classifier, TextClassifier, "logits", {"num_labels": 3}
