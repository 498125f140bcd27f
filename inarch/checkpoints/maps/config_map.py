"""Config maps: their `config.json` as our constructor's arguments, and back."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from inarch.checkpoints.maps.common_fields import COMMON
from inarch.checkpoints.maps.fields import ConfigEntry, Constant, Field, Mapped, MustBe
from inarch.checkpoints.maps.foreign_fields import changes_numbers, is_nothing
from inarch.checkpoints.maps.nested import is_in, lookup, without
from inarch.errors import ConfigError
from inarch.validation import shown

# Fields of transformers' configs that describe files, training or generation, and can't change
# what a forward pass computes.
KNOWN = frozenset(name for entry in COMMON for name in entry.theirs)


@dataclass(frozen=True)
class ConfigMap:
    """A list of entries that accounts for every field of a config.

    A field that no entry lists can't change the reference's numbers if the reference is the
    model that `model_type` names, since its reads are recorded and the entries are held to them.
    So it is accepted, unless code of another architecture reads it in a way that changes numbers
    (`foreign_fields`). A config that names another model type or none, or the repository's own code
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
        """Return our constructor's arguments from their config.

        Args:
            strict: whether every unknown field is refused; by default as `is_strict` returns.
            ignored: names of fields that are taken as absent.

        Raises:
            ConfigError: fields that are unknown, missing or of a value not computed here; all
                unknown ones are named at once.
        """
        config = without(config, ignored)
        self._check_unknown(config, self.is_strict(config) if strict is None else strict)
        return checked_fields(self.entries, config)

    def is_strict(self, config: Mapping[str, Any]) -> bool:
        """Return whether all fields must be known: the config names own code or another type."""
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
        """Return the fields, with their values, that no entry lists and that change no number here.

        Those that `arguments` refuses are not among them, those of `ignored` are. Fields that all
        configs of transformers may have, such as `transformers_version`, are known.
        """
        strict = self.is_strict(config) if strict is None else strict
        refused = self._refused(config, strict)
        taken = {name: lookup(config, name) for name in ignored if is_in(config, name)}
        unknown = self.unknown_fields(config)
        return taken | {name: lookup(config, name) for name in unknown if name not in refused}

    def unknown_fields(self, config: Mapping[str, Any]) -> list[str]:
        """Return the names of the fields that no entry lists, also of those within known ones."""
        known = self._known()
        return [*_unknown(config, known, "")]

    def _check_unknown(self, config: Mapping[str, Any], strict: bool) -> None:
        refused = self._refused(config, strict)
        for name, way_out in FILLED.items():
            if name in refused:
                value = config.get(name)
                kind = value.get("quant_method") if isinstance(value, Mapping) else None
                of = f" of {shown(kind)}" if kind else ""
                raise ConfigError(f"the config has {name!r}{of}, {way_out}")
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
            "Ignore those that do nothing in the reference "
            f"({_format_ignore_options(refused)}), remove them, or add them to the config map"
        )

    def _refused(self, config: Mapping[str, Any], strict: bool) -> dict[str, Any]:
        """Return the unknown fields that aren't accepted."""
        unknown = {name: lookup(config, name) for name in self.unknown_fields(config)}
        own = (*self.entries, *self.elsewhere)

        def is_refused(name: str, value: Any) -> bool:
            holder, _, last = name.rpartition(".")
            if name in FILLED:
                return not is_nothing(value)
            # What is within a field that is read is read as well, unless it is a whole config.
            if holder and "model_type" not in lookup(config, holder):
                return not is_nothing(value)
            return strict or changes_numbers(last, value, own, config)

        return {name: value for name, value in unknown.items() if is_refused(name, value)}

    def _known(self) -> set[str]:
        names = (entry.known_names for entry in (*self.entries, *self.elsewhere))
        return {name for each in names for name in each}


def _unknown(config: Mapping[str, Any], known: set[str], holder: str) -> Iterator[str]:
    """Iterate over the names of fields that aren't known; those within others have dots."""
    for field, value in config.items():
        name = f"{holder}{field}"
        if any(each.startswith(f"{name}.") for each in known):
            if isinstance(value, Mapping):
                yield from _unknown(value, known, f"{name}.")
        elif name not in known and not (field in KNOWN and (not holder or "model_type" in config)):
            yield name


# Fields that are nothing where they are empty, and else mean other tensors, with the way out.
FILLED = {
    "quantization_config": "and quantized checkpoints aren't read. Load the one that it was made "
    "from, or bring it back to floats by the library that wrote it",
    "adapters": "and adapters aren't read. Merge them into the weights first, by the library that "
    "wrote them, or remove them and the field",
}


def names_own_code(config: Mapping[str, Any]) -> bool:
    """Return whether a config names classes of the repository's own code in `auto_map`."""
    return not is_nothing(config.get("auto_map"))


def tied(config: Mapping[str, Any], default: bool = True) -> bool:
    """Return whether output and input embeddings are one, which a config need not state.

    Args:
        default: what the reference assumes where it doesn't.

    Raises:
        ConfigError: the field is neither true nor false, which transformers refuses too.
    """
    value = config.get("tie_word_embeddings", default)
    if not isinstance(value, bool):
        raise ConfigError(
            f"config field 'tie_word_embeddings' is {value!r}; it must be true or false"
        )
    return value


def read_fields(entries: Iterable[ConfigEntry], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that the mapped fields of `config` give."""
    read = (entry for entry in entries if isinstance(entry, Mapped))
    return {entry.ours: entry.read(config) for entry in read}


def checked_fields(entries: Iterable[ConfigEntry], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `read_fields` does, of a config whose other fields are computed here.

    Raises:
        ConfigError: a field has a value that isn't computed.
    """
    entries = tuple(entries)
    # First what is read, so that what other fields imply comes of values that are usable.
    arguments = read_fields(entries, config)
    for entry in entries:
        if isinstance(entry, MustBe):
            entry.check(config)
    return arguments


def write_fields(
    entries: Iterable[ConfigEntry],
    arguments: Mapping[str, Any],
    config: dict[str, Any],
    complete: bool = False,
) -> None:
    """Bring `config` up to `arguments`, leaving the spelling of unchanged fields as it is.

    A field that is absent and has its default is written only if `complete`.

    Raises:
        ConfigError: no value of a field means the argument, or their code has another constant.
    """
    for entry in entries:
        if isinstance(entry, Constant):
            entry.check(arguments)
        if not isinstance(entry, Field) or entry.ours not in arguments:
            continue
        value = arguments[entry.ours]
        is_given = entry.names_in(config) or (not complete and not entry.is_required)
        if not is_given or not _gives(entry, config, value):
            entry.write(value, config)


def computed_fields(entries: Iterable[ConfigEntry], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config without the fields whose values aren't computed here; their defaults are."""
    found = dict(config)
    for entry in entries:
        if isinstance(entry, MustBe) and not entry.holds(found):
            found = without(found, [entry.theirs])
    return found


def _gives(entry: Field, config: Mapping[str, Any], value: Any) -> bool:
    """Return whether a config gives an argument's value; a list may have grown too short for it."""
    try:
        found = entry.read(config)
    except ConfigError:
        return False
    return bool(found == (tuple(value) if isinstance(value, list) else value))


def _format_ignore_options(names: Iterable[str]) -> str:
    """Return the argument and the command-line options that ignore fields."""
    options = " ".join(f"--ignore-field {name}" for name in names)
    return f"ignore_fields={[*names]}, or {options}"
