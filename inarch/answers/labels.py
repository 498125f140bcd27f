"""Class names of a classifier, as a checkpoint's config gives them.

Source: transformers, configuration_utils.py, `PreTrainedConfig.__post_init__` and `num_labels`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inarch.checkpoints.maps.entries import Rule
from inarch.errors import ConfigError, InputError
from inarch.models.loading import Checkpoint
from inarch.user_warnings import warn
from inarch.validation import shown

WAY_OUT = "give the names yourself: labels=[...]"

# The most classes that a config may count: a larger number is a broken file, and would fill memory
# with names.
MAX_CLASSES = 1_000_000
# Arguments that count the classes; None is as good as absent.
COUNTED = ("labels", "num_classes")
# Heads whose classes a config names.
CLASSIFIERS = ("audio_classifier", "text_classifier", "token_classifier")


def numbered(count: int) -> list[str]:
    """Return the names of classes that nobody named."""
    return [f"LABEL_{i}" for i in range(count)]


def class_names(config: Mapping[str, Any], trained: int | None = None) -> list[str]:
    """Return the class names of a config in the order of the logits.

    Where `num_labels` and `id2label` give different counts, transformers 5 takes `num_labels`, with
    numbered names; transformers 4 takes `id2label`. So does this function if only that fits the
    trained head, which transformers 5 can't load.

    Args:
        config: the content of `config.json`.
        trained: number of classes of the checkpoint's trained head; None where there is none.

    Raises:
        ConfigError: a field that names or counts no classes.
    """
    count, names = _count(config), _names(config)
    if names is None:
        return numbered(2 if count is None else count)
    if count is None or count == len(names) or (trained == len(names) != count):
        _check_distinct(names)
        return names
    return numbered(count)


def _count(config: Mapping[str, Any]) -> int | None:
    count = config.get("num_labels")
    if count is None:
        return None
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MAX_CLASSES:
        raise ConfigError(
            f"config field 'num_labels' is {shown(count)}; it must be a whole number from 1 to "
            f"{MAX_CLASSES:,}. Give the number yourself: num_classes=..."
        )
    return count


def _names(config: Mapping[str, Any]) -> list[str] | None:
    """Return the values of `id2label`, a mapping from class numbers or a list; None if absent."""
    named = config.get("id2label")
    if named is None:
        return None
    if isinstance(named, list):
        named = dict(enumerate(named))
    try:
        by_number = {int(key): str(name) for key, name in named.items()}
    except (AttributeError, TypeError, ValueError):
        by_number = {}
    if not by_number or sorted(by_number) != list(range(len(named))):
        raise ConfigError(
            f"config field 'id2label' is {shown(config['id2label'])}; it must name the classes 0 "
            f"to n. Or {WAY_OUT}"
        )
    return [by_number[number] for number in sorted(by_number)]


def _check_distinct(names: Sequence[str]) -> None:
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise ConfigError(
            f"config field 'id2label' gives {count} classes the name {name!r}; an "
            f"answer would be ambiguous. Or {WAY_OUT}"
        )


def labels_for(num_classes: int, labels: Any) -> list[str]:
    """Return `num_classes` names, `LABEL_0` and so on where none are given.

    Raises:
        InputError: there are other than `num_classes` names, or they are no names.
    """
    if labels is None:
        return numbered(num_classes)
    check_labels(labels)
    if len(labels) != num_classes:
        raise InputError(f"there are {len(labels)} labels for {num_classes} classes")
    return list(labels)


def checked_labels(task: Any, labels: Any) -> list[str]:
    """Return the argument `labels` of a task with `num_classes`, checked."""
    return labels_for(task.num_classes, labels)


@dataclass(frozen=True)
class ClassArguments:
    """Arguments of a classifier, `num_classes` and `labels` among them.

    Attributes:
        arguments: those that are given, and those of the checkpoint.
        are_recorded: whether there are as many classes as the checkpoint has.
    """

    arguments: dict[str, Any]
    are_recorded: bool


def class_arguments(checkpoint: Checkpoint, head: str, given: Mapping[str, Any]) -> ClassArguments:
    """Return the arguments of a classifier: `given` ones before the checkpoint's.

    Raises:
        InputError: `labels` are given and are no names.
        ConfigError: as `recorded_names`, where no classes are given.
    """
    given = {n: v for n, v in given.items() if v is not None or n not in COUNTED}
    if "labels" in given:
        check_labels(given["labels"])
        given.setdefault("num_classes", len(given["labels"]))
    wanted = given.get("num_classes")
    trained = trained_classes(checkpoint, head)
    names = recorded_names(checkpoint, head, trained, required=wanted is None)
    found: dict[str, Any] = {}
    if wanted is None or ("labels" not in given and wanted == len(names)):
        found = {"num_classes": len(names), "labels": names}
    recorded = len(names) if trained is None else trained
    return ClassArguments(found | given, wanted in (None, recorded))


def classes_misfit(checkpoint: Checkpoint, head: str, labels: Sequence[str]) -> str | None:
    """Return why a classifier can't have the trained head of a checkpoint; None where it can.

    Raises:
        InputError: the head has the names of `labels` for other classes.
    """
    trained = trained_classes(checkpoint, head)
    if trained is None:
        return None
    if len(labels) != trained:
        return f"its {head} head has {trained} classes, not {len(labels)}"
    names = recorded_names(checkpoint, head, trained, required=False)
    check_order(labels, names, str(checkpoint.folder))
    return None


def recorded_names(
    checkpoint: Checkpoint, head: str, trained: int | None, required: bool
) -> list[str]:
    """Return the class names of a checkpoint; where they aren't `required`, [] if it has none.

    The names of another trained head are those of tokens where these are of texts, or the reverse;
    only their number counts.

    Raises:
        ConfigError: the config names no classes, or another number than the trained head has.
    """
    try:
        with checkpoint.config_path_in_errors():
            names = class_names(checkpoint.config, trained)
            if trained is not None and required and len(names) != trained:
                raise ConfigError(
                    f"the config has {len(names)} classes, and the trained head has {trained}; "
                    f"{WAY_OUT}"
                )
    except ConfigError:
        if required:
            raise
        return []
    if any(
        other in checkpoint.source.heads and checkpoint.has_head(other)
        for other in CLASSIFIERS
        if other != head
    ):
        return numbered(len(names))
    if required:
        _warn_of_contradictions(checkpoint.config, names)
    return names


def _warn_of_contradictions(config: Mapping[str, Any], taken: Sequence[str]) -> None:
    """Warn where fields of a config contradict the class names that are taken."""
    count, names = config.get("num_labels"), _names(config)
    if names is None:
        return
    if count is not None and count != len(names):
        warn(
            f"config.json has num_labels={count} and {len(names)} names in id2label; the "
            f"{len(taken)} classes are called {', '.join(taken[:3])}{', ...' * (len(taken) > 3)}. "
            "For other names give labels=[...]"
        )
    numbers = config.get("label2id")
    if not isinstance(numbers, Mapping) or {*map(str, numbers)} != {*taken}:
        return  # names of another set are left over from a checkpoint that this was made from
    wrong = [name for i, name in enumerate(taken) if str(numbers.get(name)) != str(i)]
    if wrong:
        warn(
            f"config.json has label2id {wrong[0]!r}: {numbers[wrong[0]]!r}, and id2label calls "
            f"class {taken.index(wrong[0])} so, which counts"
        )


def trained_classes(checkpoint: Checkpoint, head: str) -> int | None:
    """Return the number of classes of a checkpoint's trained head; None where it has none."""
    if not checkpoint.has_head(head):
        return None
    header = checkpoint.weights.header
    for entry in checkpoint.source.heads[head].weights:
        if isinstance(entry, Rule) and "logits/bias" in entry.variables:
            shapes = [header[name].shape for name in entry.theirs if name in header]
            return shapes[0][0] if shapes and shapes[0] else None
    return None


def label_fields(config: Mapping[str, Any], labels: Sequence[str]) -> dict[str, Any]:
    """Return the fields to write so that `config` names the classes so; {} if it does already."""
    try:
        if class_names(config, len(labels)) == list(labels):
            return {}
    except ConfigError:
        pass  # the caller named what the config doesn't
    fields: dict[str, Any] = {"id2label": {str(i): label for i, label in enumerate(labels)}}
    fields["label2id"] = {label: i for i, label in enumerate(labels)}
    # Where a file has the number too, it would count before the names.
    return fields | {n: len(labels) for n in ("num_labels", "_num_labels") if n in config}


def check_labels(labels: Any) -> None:
    """Raise InputError unless the caller's names are several different strings."""
    if isinstance(labels, str) or not isinstance(labels, Sequence):
        raise InputError(f"labels is {shown(labels)}; give a list of names")
    wrong = next((name for name in labels if not isinstance(name, str)), None)
    if wrong is not None:
        raise InputError(f"labels has {shown(wrong)}; give a name, a string, for each class")
    twice = sorted({name for name, count in Counter(labels).items() if count > 1})
    if twice:
        raise InputError(f"labels has {', '.join(map(repr, twice))} more than once")


def check_order(labels: Sequence[Any], trained: Sequence[str], where: str) -> None:
    """Refuse names that a trained head has for other classes.

    Each output would mean another class than it was trained to. Case is ignored here:
    ["pos", "neg"] is no new name for ["NEG", "POS"].

    Raises:
        InputError: a name is that of another class in `trained`.
    """
    known = {name.casefold(): i for i, name in enumerate(trained)}
    if list(labels) == list(trained) or len(known) < len(trained):
        return
    for i, label in enumerate(labels):
        if known.get(str(label).casefold(), i) != i:
            raise InputError(
                f"labels are {list(labels)}, and the head of {where} has them in the order "
                f"{list(trained)}: give them in that order, or give other names"
            )
