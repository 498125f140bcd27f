"""A draft: all that the files of a folder are written from."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from inarch.port.arguments import Argument, arguments_of, find_activation, find_field, needed
from inarch.port.code import code
from inarch.port.decisions import DECIDE, GUESS, SETTLED, Decision
from inarch.port.evidence import Evidence
from inarch.port.graph import SEGMENTS, Graph
from inarch.port.head_arguments import head_arguments
from inarch.port.heads import PAIR_HEADS, HeadDraft
from inarch.port.known_arguments import DISENTANGLED
from inarch.port.modules import TheirModule


@dataclass(frozen=True)
class Draft:
    """A drafted architecture.

    Attributes:
        name: of its folder.
        model_type: of its config.
        graph: which bricks, and which tensor is which variable.
        heads: what tasks add.
        usual: config whose values are the defaults: the reference's, or else the file's.
        given: config of the checkpoint.
        prefix: what precedes the backbone's tensors in a file with a head.
        base: name of the class without a head.
        buffers: tensors of the backbone that aren't weights.
        evidence: what the reference shows; None without one.
        decisions: besides those of the graph.
        unused: tensors on which no output depends.
        computed: tables of sinusoids, which its code computes.
    """

    name: str
    model_type: str
    graph: Graph
    heads: tuple[HeadDraft, ...]
    usual: Mapping[str, Any]
    given: Mapping[str, Any]
    prefix: str
    base: str
    buffers: tuple[str, ...] = ()
    evidence: Evidence | None = None
    decisions: tuple[Decision, ...] = field(default=())
    unused: tuple[str, ...] = ()
    computed: tuple[str, ...] = ()

    def replace(self, **changes: Any) -> Draft:
        """Return the draft with other attributes."""
        return dataclasses.replace(self, **changes)

    def with_graph(self, **changes: Any) -> Draft:
        """Return the draft whose graph has other attributes."""
        return self.replace(graph=self.graph.replace(**changes))

    @property
    def is_always_tied(self) -> bool:
        """Return whether a config that unties the output embeddings also unties the stacks' tables.

        Such a config is refused.
        """
        return self.evidence is not None and self.evidence.ties_tables

    @property
    def title(self) -> str:
        """Name of the architecture for readers."""
        return self.base.removesuffix("Model") or self.class_name.removesuffix("Backbone")

    @property
    def class_name(self) -> str:
        """Name of the backbone's class."""
        words = self.base.removesuffix("Model") or self.name.title().replace("_", "")
        return f"{words}Backbone"

    @property
    def source_words(self) -> str:
        """Sentence that names where the draft is from."""
        if self.evidence is None:
            return "Drafted from names and shapes alone."
        return f"Drafted from transformers, {self.evidence.file}."

    @property
    def arguments(self) -> list[Argument]:
        """Arguments of the constructor."""
        names = needed(self.graph, self.usual, [head.name for head in self.heads])
        usual = {**self.usual, **self.published(self.deciding)}
        found = arguments_of(names, usual, self.graph)
        if self.pooler:
            needed_by_heads = code(any(head.pooled for head in self.heads))
            text = "whether there is a pooled output."
            found.append(Argument("pooler", "bool", needed_by_heads, text))
        if self.single_text:
            text = "whether one text is source and target, as classifiers read it."
            found.append(Argument("single_text", "bool", "False", text))
        known = [argument.name for argument in found]
        return found + [a for a in head_arguments(self.heads, self.usual) if a.name not in known]

    @property
    def deciding(self) -> list[str]:
        """Fields of arguments that decide about layers, which files have values of their own of."""
        names = DISENTANGLED if self.graph.positions == "disentangled" else ()
        of_brick = [find_field(name, self.usual) for name in names]
        switches = [self.graph.switches.get(n) for n in ("positions", "zero_mask_tokens")]
        return [*self.graph.parts.values(), *filter(None, [*of_brick, *switches])]

    def has(self, argument: str) -> bool:
        """Return whether there is an argument of a name."""
        return any(one.name == argument for one in self.arguments)

    def published(self, names: Iterable[str]) -> dict[str, Any]:
        """Return those of the fields that the checkpoint has with other values than usual."""
        given, usual = self.given, self.usual
        names = dict.fromkeys(names)
        return {n: given[n] for n in names if n in given and n in usual and given[n] != usual[n]}

    @property
    def single_text(self) -> bool:
        """Return whether heads of an encoder-decoder read one text as source and target."""
        is_text = self.graph.is_pair and not self.graph.reads
        return is_text and any(head.name in PAIR_HEADS[1:] for head in self.heads)

    @property
    def scaled_kind(self) -> str:
        """Kind of layers, by its word in configs, that alone has scaled positions; `""` of all."""
        return self.evidence.scaled_kind if self.evidence and self.has("global_rope_theta") else ""

    @property
    def pooler(self) -> TheirModule | None:
        """Their layer of the pooled output; None without one."""
        slot = self.graph.slot("pooler")
        return None if slot is None else slot.module

    @property
    def ties(self) -> bool:
        """Return whether output and input embeddings are one by default."""
        if self.evidence is not None:
            return self.evidence.tie
        return bool(self.given.get("tie_word_embeddings", True))

    @property
    def is_causal_class(self) -> bool:
        """Return whether it is a decoder whose steps are a table, blocks and norms."""
        graph = self.graph
        return graph.causal and not graph.has("embeddings_projection") and not graph.reads

    @property
    def embedding_width(self) -> str:
        """Width of the tables as code."""
        is_narrow = self.graph.has("embeddings_projection") and self.has("embedding_dim")
        return "embedding_dim" if is_narrow else "hidden_dim"

    @property
    def reads_segments(self) -> bool:
        """Return whether segments are an input."""
        return self.graph.has(SEGMENTS) or "num_segments" in self.graph.sizes

    @property
    def embedding_rate(self) -> str | None:
        """Argument of the rate of dropout after the embeddings; None without one."""
        names = [n for n in ("embedding_dropout", "dropout") if self.has(n)]
        if self.evidence is not None:
            acting = self.evidence.embedding_dropout
            names = [n for n in names if find_field(n, self.usual) in acting]
        return next(iter(names), None)

    @property
    def epsilon(self) -> str:
        """Epsilon of norms as code."""
        named = "layer_norm_epsilon"
        return named if self.has(named) else repr(self.graph.epsilon)

    @property
    def activation(self) -> str:
        """Activation of the feed-forward network as code."""
        return "activation" if find_activation(self.usual) else code(self.graph.activation)

    @property
    def intermediate(self) -> str:
        """Width of the feed-forward network as code."""
        named = find_field("intermediate_dim", self.usual)
        if named is None:
            return "4 * hidden_dim"
        if self.usual[named] is None:
            return "intermediate_dim or 4 * hidden_dim"
        return "intermediate_dim"

    @property
    def deviation(self) -> float:
        """Deviation of initial weights."""
        value = self.usual.get("initializer_range", self.usual.get("init_std"))
        return float(value) if isinstance(value, int | float) else 0.02

    @property
    def all_decisions(self) -> tuple[Decision, ...]:
        """Every line for the person who ports, what can't be computed first."""
        rank = {DECIDE: 0, GUESS: 1, SETTLED: 2}
        every = dict.fromkeys((*self.graph.decisions, *self.decisions))
        return tuple(sorted(every, key=lambda one: rank[one.kind]))

    def comments(self, part: str) -> list[str]:
        """Return the decisions as comments; those of the graph are in `backbone`."""
        own = self.graph.decisions if part == "backbone" else self.decisions
        lines: list[str] = []
        for one in own:
            if one.kind == SETTLED:
                continue
            words = f"{one.kind} {one.in_words()}."
            lines += textwrap.wrap(words, 97, initial_indent="# ", subsequent_indent="#   ")
        return [*lines, ""] if lines else []
