"""`adapter_config.json`: the settings of low-rank updates in PEFT's format.

Format: huggingface/peft, tuners/lora/config.py.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inarch.errors import ConfigError
from inarch.json_fields import COUNT, NUMBER, OBJECT, TEXTS, read_field, read_object
from inarch.paths import resolve_inside
from inarch.validation import Validator, shown

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
# Fields by which an update is computed here.
COMPUTED = (
    "alpha_pattern", "lora_alpha", "r", "rank_pattern", "target_modules", "use_rslora",
)  # fmt: skip
# Fields that change no number of a trained adapter: what it was made of and how it was trained.
IGNORED = (
    "auto_mapping", "base_model_name_or_path", "corda_config", "ensure_weight_tying", "eva_config",
    "exclude_modules", "fan_in_fan_out", "inference_mode", "layers_pattern", "layers_to_transform",
    "lora_dropout", "megatron_config", "megatron_core", "modules_to_save", "peft_type",
    "peft_version", "qalora_group_size", "revision", "task_type",
)  # fmt: skip
# Initial values that leave the base's kernels as they are; others, such as "pissa", change them.
INITIAL = (True, False, None, "gaussian", "eva", "orthogonal")
POSITIVE = Validator("a number above 0", lambda value: NUMBER.fits(value) and value > 0)
NEUTRAL: tuple[Any, ...] = (None, False, {}, [], "none")


@dataclass(frozen=True)
class AdapterConfig:
    """Settings of an adapter.

    Attributes:
        rank: of the updates that no pattern is for.
        alpha: likewise.
        alphas: alpha by the end of a module's name.
        is_root: whether updates are scaled by `alpha / sqrt(rank)`.
        targets: names of the updated modules, or ends of them; none where they aren't listed.
    """

    rank: int
    alpha: float
    alphas: Mapping[str, float]
    is_root: bool
    targets: tuple[str, ...]

    def scale(self, module: str, rank: int) -> float:
        """Return the scale of a module's update of this rank."""
        alpha = next((a for end, a in self.alphas.items() if _ends(module, end)), self.alpha)
        return alpha / (math.sqrt(rank) if self.is_root else rank)

    def requires(self, module: str) -> bool:
        """Return whether the settings say that a module has an update."""
        return any(_ends(module, target) for target in self.targets)


def _ends(name: str, end: str) -> bool:
    return name == end or name.endswith(f".{end}")


def read_config(folder: Path) -> AdapterConfig:
    """Read the settings of an adapter.

    Raises:
        CheckpointFileError: the file isn't there, or is damaged.
        ConfigError: it is of another kind of adapter, or a field that changes its numbers has a
            value that isn't computed here.
    """
    path = resolve_inside(folder, CONFIG)
    config = read_object(path)
    kind = config.get("peft_type")
    if kind != "LORA":
        raise ConfigError(f"{path}: peft_type is {shown(kind)}; computed here: 'LORA'")
    initial = config.get("init_lora_weights")
    if not any(initial is value or initial == value for value in INITIAL):
        raise ConfigError(
            f"{path}: init_lora_weights is {shown(initial)}, which changes the kernels of the base "
            "too; have PEFT convert the adapter (save_pretrained with "
            "path_initial_model_for_weight_conversion)"
        )
    known = {*COMPUTED, *IGNORED, "init_lora_weights"}
    for name, value in config.items():
        if name not in known and not any(value == neutral for neutral in NEUTRAL):
            raise ConfigError(
                f"{path}: {name} is {shown(value)}, which isn't computed here; have PEFT merge "
                "the adapter (merge_and_unload), and load the result"
            )
    alphas = read_field(config, "alpha_pattern", OBJECT, {}, where=path)
    for end, alpha in alphas.items():
        if not POSITIVE.fits(alpha) or not end.replace(".", "").replace("_", "").isalnum():
            raise ConfigError(
                f"{path}: alpha_pattern has {shown(alpha)} for {shown(end)}; computed here: a "
                "number above 0 for a module's name or the end of one"
            )
    listed = config.get("target_modules")
    is_limited = any(config.get(n) for n in ("layers_to_transform", "exclude_modules"))
    targets: list[str] = listed if isinstance(listed, list) and TEXTS.fits(listed) else []
    return AdapterConfig(
        read_field(config, "r", COUNT, 8, where=path),
        read_field(config, "lora_alpha", POSITIVE, 8, where=path),
        alphas,
        bool(config.get("use_rslora")),
        () if is_limited else tuple(targets),
    )


def config_to_write(
    scales: Mapping[str, tuple[int, float]], whole: Sequence[str], in_first: bool
) -> dict[str, Any]:
    """Return the content of the file for modules with ranks and alphas.

    Args:
        scales: rank and alpha by module.
        whole: names of the modules that were trained whole.
        in_first: whether the kernels of all of them have their inputs first, as GPT-2's have.
    """
    ranks = Counter(rank for rank, _ in scales.values())
    alphas = Counter(alpha for _, alpha in scales.values())
    rank, alpha = ranks.most_common(1)[0][0], alphas.most_common(1)[0][0]
    return {
        "alpha_pattern": {name: _plain(a) for name, (_, a) in scales.items() if a != alpha},
        "base_model_name_or_path": None,
        "bias": "none",
        "fan_in_fan_out": in_first,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": _plain(alpha),
        "lora_dropout": 0.0,
        "modules_to_save": list(whole) or None,
        "peft_type": "LORA",
        "r": rank,
        "rank_pattern": {name: r for name, (r, _) in scales.items() if r != rank},
        "target_modules": sorted(scales),
        "task_type": None,
        "use_dora": False,
        "use_rslora": False,
    }


def _plain(number: float) -> float | int:
    return int(number) if number == int(number) else float(number)
