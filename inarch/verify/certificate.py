"""Certificates: what was shown of an architecture or a checkpoint, in one file that is re-checked.

The file is JSON. It holds the proof of the weight map, the noise of each layer, the faults that
were put into the model and caught, versions, and digests of weights, inputs, reference values and
of the folder's sources; and the golden file itself, so that all is computed again from it alone.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from inarch.errors import CheckpointFileError
from inarch.files import read_file, replace_file
from inarch.json_fields import (
    INDEX,
    NUMBER,
    OBJECT,
    TEXT,
    TEXT_OBJECT,
    json_text,
    object_in,
    read_field,
)
from inarch.validation import Validator, shown
from inarch.verify.golden import LIMIT, Golden
from inarch.verify.report import THRESHOLD, Measure, Report
from inarch.verify.report_text import layer_table

FORMAT = "inarch certificate 1"
# A golden file in base64, twice over.
MAX_BYTES = 4 * LIMIT
# Significant digits of a noise ratio.
DIGITS = 4
# On another machine or backend a right model rounds otherwise: by so much may ratios differ, and
# below LEAST they are rounding alone.
FACTOR, LEAST = 4.0, 0.5

RATIO = Validator("a number, at least 0", lambda v: NUMBER.fits(v) and v >= 0)
NOISE = Validator(
    "an object of layers, each with the numbers ratio and isolated",
    lambda v: (
        isinstance(v, dict)
        and all(isinstance(row, dict) and row.keys() == {"ratio", "isolated"} for row in v.values())
        and all(RATIO.fits(x) for row in v.values() for x in row.values())
    ),
)
FAULTS = Validator(
    "an object of faults, each with its noise ratio or inf",
    lambda v: isinstance(v, dict) and all(x == "inf" or RATIO.fits(x) for x in v.values()),
)
FIELDS = {
    "architecture": TEXT, "class": TEXT, "model_type": TEXT, "proofs": OBJECT, "tensors": INDEX,
    "noise": NOISE, "faults": FAULTS, "fault_kinds": INDEX, "versions": TEXT_OBJECT,
    "sha256": TEXT_OBJECT, "sources": TEXT_OBJECT, "checkpoint": OBJECT, "command": TEXT,
    "golden": TEXT, "digest": TEXT,
}  # fmt: skip


@dataclass(frozen=True)
class Certificate:
    """Figures of a verification, and all that repeats it.

    Attributes:
        architecture: name of the folder.
        class_name: of its backbone.
        model_type: of the format.
        proofs: by head, what the proof of the weight map says of the golden file's checkpoint.
        tensors: number of tensors that were compared.
        noise: for each layer its noise ratio, and the largest on the reference's own values.
        faults: noise ratio of each fault that was put in and caught.
        fault_kinds: number of kinds of faults that there are for this model.
        versions: of what computed it, ours and the reference's.
        sha256: digests of weights, inputs, reference values, and of all measures.
        sources: digests of the files of the architecture's folder.
        golden: the golden file.
        checkpoint: class, proof and digests of the files of a checkpoint, where it is of one.
        command: which repeats it.
        is_intact: whether the file's digest is that of its content.
    """

    architecture: str
    class_name: str
    model_type: str
    proofs: Mapping[str, Any]
    tensors: int
    noise: Mapping[str, Mapping[str, float]]
    faults: Mapping[str, float]
    fault_kinds: int
    versions: Mapping[str, str]
    sha256: Mapping[str, str]
    sources: Mapping[str, str]
    golden: bytes
    checkpoint: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    is_intact: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return it in plain values, the digest of all of them among them."""
        plain = {
            "format": FORMAT,
            "architecture": self.architecture,
            "class": self.class_name,
            "model_type": self.model_type,
            "command": self.command,
            "proofs": self.proofs,
            "tensors": self.tensors,
            "noise": self.noise,
            "faults": {n: "inf" if math.isinf(r) else r for n, r in self.faults.items()},
            "fault_kinds": self.fault_kinds,
            "versions": self.versions,
            "sha256": self.sha256,
            "sources": self.sources,
            "checkpoint": self.checkpoint,
            "golden": base64.b64encode(self.golden).decode("ascii"),
        }
        return plain | {"digest": digest(plain)}

    def text(self) -> str:
        """Return the text of the file."""
        return json_text(self.to_json())

    def write(self, path: Path) -> None:
        """Write the file, which then holds all of it or what it held before.

        Raises:
            CheckpointFileError: it can't be written.
        """
        replace_file(path, lambda fresh: fresh.write_text(self.text(), "utf-8"))

    @classmethod
    def read(cls, path: Path) -> Certificate:
        """Read a certificate.

        Raises:
            CheckpointFileError: the file isn't there, or is none.
        """
        plain = object_in(read_file(path, MAX_BYTES), path)
        if plain.get("format") != FORMAT:
            raise CheckpointFileError(
                f"{path} is no certificate of this version: its format is "
                f"{shown(plain.get('format'))}; write it anew with `inarch verify "
                "--write-certificate`"
            )
        found = {
            name: read_field(plain, name, validator, where=path, error=CheckpointFileError)
            for name, validator in FIELDS.items()
        }
        content = {name: value for name, value in plain.items() if name != "digest"}
        is_intact = found.pop("digest") == digest(content)
        try:
            golden = base64.b64decode(found.pop("golden"), validate=True)
        except (binascii.Error, ValueError) as e:
            raise CheckpointFileError(f"{path} holds a damaged golden file: {e}") from e
        faults = {n: math.inf if r == "inf" else r for n, r in found.pop("faults").items()}
        name = found.pop("class")
        return cls(golden=golden, faults=faults, class_name=name, is_intact=is_intact, **found)


def digest(plain: Mapping[str, Any]) -> str:
    """Return the SHA-256 of plain values, whatever their order."""
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def noise_of(report: Report) -> dict[str, dict[str, float]]:
    """Return the noise of each layer of a report: its ratio, and the largest in isolation."""
    return {
        row.layer or "outputs": {
            "ratio": rounded(row.worst.ratio or 0.0),
            "isolated": rounded(row.local_ratio or 0.0),
        }
        for row in layer_table(report)
    }


def digests_of(golden: Golden, report: Report) -> dict[str, str]:
    """Return digests of weights, inputs and reference values, and of all that was measured."""
    runs = {**golden.runs, "covering": golden.covering}
    inputs = {f"{head}/{n}": a for head, run in runs.items() for n, a in run.inputs.items()}
    values = {
        f"{head}/{'/'.join(map(str, tensor.tap))}": tensor.value
        for head, run in runs.items()
        for tensor in run.tensors
    }
    return {
        "config": hashlib.sha256(golden.config_text.encode()).hexdigest(),
        "weights": _digest_of_arrays(golden.weights),
        "inputs": _digest_of_arrays(inputs),
        "reference values": _digest_of_arrays(values),
        "measures": digest({"measures": [_numbers(measure) for measure in report.measures]}),
    }


def _digest_of_arrays(arrays: Mapping[str, np.ndarray]) -> str:
    found = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        found.update(json.dumps([name, str(array.dtype), array.shape]).encode())
        found.update(array.tobytes())
    return found.hexdigest()


def _numbers(measure: Measure) -> list[Any]:
    numbers = (measure.ratio, measure.local_ratio, measure.max_abs, measure.relative_rms)
    return [measure.layer, measure.call, measure.role, *map(repr, numbers)]


def rounded(ratio: float) -> float:
    """Return a noise ratio with the digits that a certificate has of it."""
    return float(f"{ratio:.{DIGITS}g}")


def differing_noise(stated: Certificate, now: Certificate) -> list[str]:
    """Return the layers whose noise is another than a certificate's.

    Where all measures are the same to the last digit, so is each ratio; else another machine or
    backend has computed them, and they agree as far as rounding does.
    """
    same = stated.sha256.get("measures") == now.sha256["measures"]
    lines = _differing_names("layer", stated.noise, now.noise)
    for layer in sorted(stated.noise.keys() & now.noise.keys()):
        for name, mine in now.noise[layer].items():
            theirs = stated.noise[layer][name]
            if theirs != mine and (same or not _agree(theirs, mine)):
                lines.append(f"{layer}: {name} is {theirs:g} in the certificate, and {mine:g} here")
    return lines


def _agree(one: float, other: float) -> bool:
    low, high = sorted((one, other))
    return high <= THRESHOLD and high <= FACTOR * max(low, LEAST)


def differing_faults(stated: Certificate, now: Certificate) -> list[str]:
    """Return the faults that a certificate has and that can't be put in or aren't caught here."""
    lines = [f"{name!r} can't be put into this model" for name in stated.faults.keys() - now.faults]
    lines += [
        f"{name!r} is {theirs:g} in the certificate, which is no fault that was caught"
        for name, theirs in stated.faults.items()
        if theirs <= THRESHOLD
    ]
    lines += [
        f"{name!r} has a noise ratio of {mine:g} here and isn't caught"
        for name, mine in now.faults.items()
        if mine <= THRESHOLD
    ]
    if stated.fault_kinds != now.fault_kinds:
        lines.append(f"of {stated.fault_kinds} kinds, and there are {now.fault_kinds} here")
    return sorted(lines)


def differing(what: str, stated: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the entries of a mapping that are others than a certificate's, in lines."""
    return _differing_names(what, stated, now) + [
        f"{what} {name!r}: {shown(stated[name])} in the certificate, and {shown(now[name])} here"
        for name in sorted(stated.keys() & now.keys())
        if stated[name] != now[name]
    ]


def _differing_names(what: str, stated: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    lines = [f"{what} {name!r} is in the certificate alone" for name in stated.keys() - now.keys()]
    lines += [f"{what} {name!r} is not in the certificate" for name in now.keys() - stated.keys()]
    return sorted(lines)
