"""The result of a verification."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from inarch.verify.tokenizer import TokenizerParity

# Above this noise ratio a tensor has diverged; docs/verify.md has the evidence.
THRESHOLD = 8.0


@dataclass(frozen=True)
class Measure:
    """Distance of one tensor of ours from the reference's.

    A noise ratio is our distance to the reference in float64 over the distance that the reference's
    own float32 has, both as root mean squares over real tokens. About 1 is perfect.

    Attributes:
        layer: path of our layer, such as `layer_0/attention/query`; empty for the model itself.
        call: which call of the layer, counting from 0, where it is shared.
        role: `input`, `linear` (a dense layer before its activation), `output`, `attention` (the
            probabilities), or for the model the name of an output.
        module: the reference's module, such as `encoder.layer.0.attention.self.query`.
        shape: of our tensor.
        ratio: noise ratio when the two models run on the same inputs; None where our layer is
            never called, infinity where it gives a value that isn't a number.
        local_ratio: noise ratio when every layer gets the reference's own values, so that nothing
            wrong before it counts. None where there is no such value.
        max_abs: largest absolute error of the run on the same inputs.
        relative_rms: root mean square of the error over that of the reference's values.
        heads: for `attention`, the largest absolute difference of each head's probabilities.
    """

    layer: str
    call: int
    role: str
    module: str
    shape: tuple[int, ...]
    ratio: float | None
    local_ratio: float | None
    max_abs: float = math.nan
    relative_rms: float = math.nan
    heads: tuple[float, ...] = ()

    @property
    def worst(self) -> float:
        """The larger of the two ratios; infinity where our layer is never called."""
        if self.ratio is None:
            return math.inf
        return max(self.ratio, self.local_ratio or 0.0)

    @property
    def name(self) -> str:
        """The tensor in words, such as `input of layer_0/feed_forward/up (call 1)`."""
        where = self.layer or "the model"
        return f"{self.role} of {where}" + (f" (call {self.call})" if self.call else "")


@dataclass(frozen=True)
class Finding:
    """One place where ours computes something else, everything before it being right.

    Attributes:
        layer: the innermost layer of ours that the fault is in; empty for the model's own graph.
        measure: the first tensor that shows it.
        diagnosis: what is wrong and what restores it, in one line; None if the doctor is at a loss.
    """

    layer: str
    measure: Measure
    diagnosis: str | None = None

    @property
    def where(self) -> str:
        """The place in words."""
        if self.measure.layer == self.layer:
            role = (
                "values before the activation"
                if self.measure.role == "linear"
                else self.measure.role
            )
            return f"{self.layer or 'the model'}: its {role}"
        if not self.measure.layer:
            return f"{self.layer}: its output"
        inside = f"within {self.layer}" if self.layer else "in the model's graph"
        return f"{inside}, before {self.measure.layer}"


@dataclass(frozen=True)
class HeadAgreement:
    """Agreement of two sets of logits as distributions.

    Attributes:
        kl: mean Kullback-Leibler divergence from the reference's distribution to ours, in nats.
        max_kl: the largest of a row.
        top1: share of rows whose likeliest class is the same.
    """

    kl: float
    max_kl: float
    top1: float


@dataclass(frozen=True)
class Coverage:
    """Rows of one table, or branches of layers, that the outputs at real tokens depend on.

    Attributes:
        place: name of the variable, such as `embeddings/position_embedding/embeddings`, or path of
            the layers, such as `layer_{i}/attention`.
        count: number of its rows or branches.
        untouched: rows by number, or branches by name, that no output depends on, so that a wrong
            one would not show.
        reasons: of those that no input can reach.
        what: "rows" or "branches".
    """

    place: str
    count: int
    untouched: tuple[int | str, ...]
    reasons: Mapping[int | str, str] = field(default_factory=dict)
    what: str = "rows"

    @property
    def missing(self) -> tuple[int | str, ...]:
        """The untouched ones that no reason is given for."""
        return tuple(row for row in self.untouched if row not in self.reasons)


@dataclass(frozen=True, repr=False)
class Report:
    """Result of a verification.

    Attributes:
        model: our class, such as `BertBackbone`.
        model_type: of the format that the model was loaded from; empty where it wasn't.
        source: the checkpoint folder or golden file.
        about: versions, sha256 of the files compared, backend, inputs; for the reader.
        measures: every tensor compared, in the order in which the reference computes them.
        findings: every place that is wrong, the first one first.
        outputs: agreement of the logits, by the name of the output.
        proof: the weight map's proof in a line, where there was one.
        tokenizer: parity of the tokenizers, where the checkpoint has one.
        coverage: which rows of the model's tables, and branches of its layers, the inputs reach.
        threshold: noise ratio above which a tensor has diverged.
        not_compared: tensors of the checkpoint that no layer of ours uses, and layers of ours that
            the reference's class lacks.
        requires_coverage: whether the inputs have to reach all of them, as a golden file's have.
    """

    model: str
    source: str
    about: Mapping[str, str]
    measures: tuple[Measure, ...]
    findings: tuple[Finding, ...] = ()
    outputs: Mapping[str, HeadAgreement] = field(default_factory=dict)
    proof: str | None = None
    tokenizer: TokenizerParity | None = None
    coverage: tuple[Coverage, ...] = ()
    threshold: float = THRESHOLD
    model_type: str = ""
    not_compared: tuple[str, ...] = ()
    requires_coverage: bool = False

    @property
    def title(self) -> str:
        """The model by its class and model type."""
        return f"{self.model} ({self.model_type})" if self.model_type else self.model

    @property
    def passed(self) -> bool:
        """Return whether ours computes the reference's function and tokenizes text as it does."""
        reads_text = self.tokenizer is None or self.tokenizer.same
        return not self.findings and not self.unreached and reads_text

    @property
    def unreached(self) -> tuple[Coverage, ...]:
        """The tables and layers of which the inputs should reach more than they do."""
        return tuple(c for c in self.coverage if c.missing) if self.requires_coverage else ()

    @property
    def first(self) -> Finding | None:
        """The first place that is wrong."""
        return self.findings[0] if self.findings else None

    @property
    def worst(self) -> float:
        """The largest noise ratio of the run on the same inputs."""
        ratios = (math.inf if m.ratio is None else m.ratio for m in self.measures)
        return max(ratios, default=0.0)

    def __repr__(self) -> str:
        result = "passed" if self.passed else "failed"
        first = f", first at {self.first.where}" if self.first else ""
        tensors = f"{len(self.measures)} tensors, largest noise ratio {self.worst:.3g}"
        return f"<Report of {self.title}: {result}, {tensors}{first}>"

    def to_json(self) -> dict[str, Any]:
        """Return the whole report in plain values; infinity and not-a-number become strings."""
        plain = asdict(self)
        plain |= {"passed": self.passed, "worst": self.worst}
        plain["findings"] = [asdict(f) | {"where": f.where} for f in self.findings]
        return _finite(plain)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
