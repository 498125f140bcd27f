"""Config maps: their `config.json` as our constructor's arguments, and back."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from inarch.checkpoints.maps.common_fields import COMMON
from inarch.checkpoints.maps.config import ConfigEntry, Constant, Field, Ignored, MustBe
from inarch.checkpoints.maps.foreign_fields import changes_numbers, is_nothing
from inarch.errors import ConfigError
from inarch.json_fields import REQUIRED

# Fields of transformers' configs that describe files, training or generation, and can't change
# what a forward pass computes.
KNOWN = frozenset(name for entry in COMMON for name in entry.theirs)


@dataclass(frozen=True)
class ConfigMap:
    """A list of entries that accounts for every field of a config.

    A field that no entry knows can't change the reference's numbers if the reference is the
    model that `model_type` names, since its reads are recorded and the entries are held to them.
    So it is accepted, unless code of another architecture reads it in a way that changes numbers
    (`foreign_fields`). A config that names another model type or none, or code of its own
    (`auto_map`), may mean anything by it: there every unknown field is refused.

    Args:
        entries: fields of the model itself.
        elsewhere: fields that a head maps; known here and left alone.
        model_type: that a config must have for fields that nobody reads to be accepted.
    """

    entries: tuple[ConfigEntry, ...]
    elsewhere: tuple[ConfigEntry, ...] = ()
    model_type: str | None = None

    def arguments(
        self,
        config: Mapping[str, Any],
        *,
        strict: bool | None = None,
        ignored: Collection[str] = (),
    ) -> dict[str, Any]:
        """Our constructor's arguments from their config.

        Args:
            strict: whether every unknown field is refused; by default as `is_strict` says.
            ignored: names of fields that are taken as absent.

        Raises:
            ConfigError: fields that are unknown, missing or of a value not computed here; all
                unknown ones are named at once.
        """
        config = {name: value for name, value in config.items() if name not in ignored}
        self._check_unknown(config, self.is_strict(config) if strict is None else strict)
        # First what is read, so that what other fields imply is told from values that are usable.
        arguments = read_fields(self.entries, config)
        for entry in self.entries:
            if isinstance(entry, MustBe):
                entry.check(config)
        return arguments

    def is_strict(self, config: Mapping[str, Any]) -> bool:
        """Whether every field must be known: the config names code of its own or another type."""
        return (
            self.model_type is None
            or config.get("model_type") != self.model_type
            or names_own_code(config)
        )

    def ignored_fields(
        self,
        config: Mapping[str, Any],
        *,
        strict: bool | None = None,
        ignored: Collection[str] = (),
    ) -> dict[str, Any]:
        """The fields that nothing computed here depends on and no entry knows, with their values.

        Those that `arguments` refuses are not among them, those of `ignored` are. Fields that all
        configs of transformers may have, such as `transformers_version`, are known.
        """
        strict = self.is_strict(config) if strict is None else strict
        refused = self._refused(config, strict)
        return {
            name: value
            for name, value in config.items()
            if name in ignored or (name not in self._known() and name not in refused)
        }

    def unknown_fields(self, config: Mapping[str, Any]) -> list[str]:
        """Return the names of the fields that no entry knows."""
        known = self._known()
        return [name for name in config if name not in known]

    def _check_unknown(self, config: Mapping[str, Any], strict: bool) -> None:
        refused = self._refused(config, strict)
        for name, way_out in FILLED.items():
            if name in refused:
                raise ConfigError(f"the config has {name!r}, {way_out}")
        if not refused:
            return
        listed = ", ".join(f"{k}={v!r}" for k, v in refused.items())
        if names_own_code(config):
            raise ConfigError(
                "the config names code of the repository's own (auto_map), which isn't run here, "
                f"and has fields that this code may read: {listed}. Ignore those that do nothing "
                f"in it ({_format_ignore_options(refused)}), or remove them"
            )
        raise ConfigError(
            f"the config has fields that could change the numbers and aren't mapped: {listed}. "
            "Ignore those that do nothing in the original "
            f"({_format_ignore_options(refused)}), remove them, or add them to the config map"
        )

    def _refused(self, config: Mapping[str, Any], strict: bool) -> dict[str, Any]:
        """The unknown fields that aren't accepted."""
        unknown = {name: config[name] for name in self.unknown_fields(config)}
        own = (*self.entries, *self.elsewhere)
        return {
            name: value
            for name, value in unknown.items()
            if (
                not is_nothing(value)
                if name in FILLED
                else strict or changes_numbers(name, value, own, config)
            )
        }

    def _known(self) -> set[str]:
        known = set(KNOWN)
        for entry in (*self.entries, *self.elsewhere):
            if isinstance(entry, Constant):
                continue
            known.update(entry.theirs if isinstance(entry, Ignored) else (entry.theirs,))
            known.update(entry.aliases if isinstance(entry, Field) else ())
        return known


# Fields that are nothing where they are empty, and else mean other tensors, with the way out.
FILLED = {
    "quantization_config": "and quantized checkpoints aren't read. Load the one that it was made "
    "from, or bring it back to floats by the library that wrote it",
    "adapters": "and adapters aren't read. Merge them into the weights first, by the library that "
    "wrote them, or remove them and the field",
}


def names_own_code(config: Mapping[str, Any]) -> bool:
    """Whether a config names classes of the repository's own code, by a filled `auto_map`."""
    return not is_nothing(config.get("auto_map"))


def tied(config: Mapping[str, Any]) -> bool:
    """Whether output and input embeddings are one, as they are where a config doesn't say.

    Raises:
        ConfigError: the field is neither true nor false, which transformers refuses too.
    """
    value = config.get("tie_word_embeddings", True)
    if not isinstance(value, bool):
        raise ConfigError(
            f"config field 'tie_word_embeddings' is {value!r}; it must be true or false"
        )
    return value


def read_fields(entries: Iterable[ConfigEntry], config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that the mapped fields of `config` give."""
    read = (entry for entry in entries if isinstance(entry, Field | Constant))
    return {entry.ours: entry.read(config) for entry in read}


def write_fields(
    entries: Iterable[ConfigEntry],
    arguments: Mapping[str, Any],
    config: dict[str, Any],
    complete: bool = False,
) -> None:
    """Bring `config` up to `arguments`, leaving the spelling of unchanged fields as it is.

    A field that is absent and has its default is written only if `complete`.
    """
    for entry in entries:
        if not isinstance(entry, Field) or entry.ours not in arguments:
            continue
        value = arguments[entry.ours]
        there = entry.names_in(config)
        implied = there or (not complete and entry.default is not REQUIRED)
        if not implied or entry.read(config) != value:
            config |= dict.fromkeys(there or [entry.theirs], entry.write(value, config))


def _format_ignore_options(names: Iterable[str]) -> str:
    """Return the argument and the command-line options that ignore fields."""
    options = " ".join(f"--ignore-field {name}" for name in names)
    return f"ignore_fields={[*names]}, or {options}"
