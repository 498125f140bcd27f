"""Write the methods of a drafted backbone that build its heads."""

from __future__ import annotations

from inarch.port.code import code
from inarch.port.draft import Draft
from inarch.port.heads import HeadDraft

STACK = '''
    def decoder_stack(self, head: keras.layers.Layer | None = None) -> DecoderStack:
        """Return the decoder for `inarch.generation.Generator`.

        Args:
            head: layer from hidden states to logits; `None` takes the token embeddings.

        Raises:
            InputError: the checkpoint's output embeddings aren't its token embeddings, and `head`
                isn't given.
        """
        check_output_embeddings(self, head)
        table = self.get_layer("{table}")
        return DecoderStack(
            table,
            [self.get_layer(f"layer_{{i}}") for i in range(self.arguments["num_layers"])],
            {norm},
            max_length=self.arguments["max_sequence_length"],{embed}
            head=head,
        )
'''
CAUSAL_LM = '''
    def causal_lm(self, outputs: Any, tie_word_embeddings: bool = True) -> Any:
        """Return logits `[batch, length, vocabulary]` of the token after each."""
        if tie_word_embeddings:
            return {table}(outputs, reverse=True)
        return Dense(self.arguments["vocabulary_size"], {bias}name="logits")(outputs)
'''
MASKED_LM = '''
    def masked_lm(self, outputs: Any, tie_word_embeddings: bool = True) -> Any:
        """Return logits `[batch, length, vocabulary]`: transformed tokens times the embeddings."""
        return MaskedLMHead(
            self.arguments["vocabulary_size"],
            {table} if tie_word_embeddings else None,
            {activation},
            layer_norm_epsilon={epsilon},{options}
            name="masked_lm_head",
        )(self.sequence_output(outputs))
'''
POOLED = '''
    def text_classifier(self, outputs: Any, num_classes: int, dropout: float | None = None) -> Any:
        """Return logits `[batch, num_classes]` from the pooled output."""
        if "pooled_output" not in outputs:
            raise InputError(f"{{self.name}} was built with pooler=False; classifying needs it")
        rate = {rate} if dropout is None else dropout
        x = Dropout(rate, name="classifier_dropout")(outputs["pooled_output"])
        return Dense(num_classes, name="logits")(x)
'''
FIRST_TOKEN = '''
    def text_classifier(self, outputs: Any, num_classes: int, dropout: float | None = None) -> Any:
        """Return logits `[batch, num_classes]` from the first token{through}."""
        rate = {rate} if dropout is None else dropout
        x = self.sequence_output(outputs)[:, 0]{dense}
        x = Dropout(rate, name="classifier_dropout")(x)
        return Dense(num_classes, {bias}name="logits")(x)
'''
LAST_TOKEN = """
    text_classifier = GPT2Backbone.text_classifier
"""
TOKENS = """
    def token_classifier(self, outputs: Any, num_classes: int, dropout: float | None = None) -> Any:
        rate = 0.1 if dropout is None else dropout  # whatever the backbone's is
        return super().token_classifier(outputs, num_classes, rate)
"""


def head_methods(draft: Draft) -> list[str]:
    """Return the lines of the methods."""
    heads = {head.name: head for head in draft.heads}
    text = ""
    if draft.graph.causal and draft.can_generate:
        text += _stack(draft)
    if head := heads.get("causal_lm"):
        bias = "" if head.bias else "use_bias=False, "
        text += CAUSAL_LM.format(table=_table(draft), bias=bias)
    if head := heads.get("masked_lm"):
        text += _masked_lm(draft, head)
    if head := heads.get("text_classifier"):
        text += _text_classifier(draft, head)
    if "token_classifier" in heads and not draft.has("dropout"):
        text += TOKENS
    return text.rstrip("\n").split("\n") if text else []


def _table(draft: Draft) -> str:
    if draft.graph.positions == "learned":
        return 'self.get_layer("embeddings").token_embedding'
    return 'self.get_layer("token_embedding")'


def _stack(draft: Draft) -> str:
    has_norm = draft.graph.has("final_norm")
    learned = draft.graph.positions == "learned"
    return STACK.format(
        table="embeddings" if learned else "token_embedding",
        norm='self.get_layer("final_norm")' if has_norm else "keras.layers.Identity()",
        embed="" if learned else "\n            embed=lambda token_ids, context: table(token_ids),",
    )


def _masked_lm(draft: Draft, head: HeadDraft) -> str:
    options = ""
    if not head.dense[0][2]:
        options += "\n            use_bias=False,"
    if draft.graph.norm == "uncentered":
        options += "\n            center=False,"
    if not head.bias:
        options += "\n            use_output_bias=False,"
    named = draft.has("layer_norm_epsilon")
    activation, own = head.activation, 'self.arguments["activation"]'
    return MASKED_LM.format(
        table=_table(draft),
        activation=own if activation == "activation" else code(activation),
        epsilon='self.arguments["layer_norm_epsilon"]' if named else draft.epsilon,
        options=options,
    )


def _text_classifier(draft: Draft, head: HeadDraft) -> str:
    if draft.graph.causal:
        return LAST_TOKEN
    rate = 'self.arguments["dropout"]' if draft.has("dropout") else "0.1"
    if head.pooled:
        return POOLED.format(rate=rate)
    dense, through = "", ""
    if len(head.dense) == 2:
        (_, name, has_bias), _ = head.dense
        activation = head.activation
        bias = "" if has_bias else "use_bias=False, "
        dense = (
            '\n        x = Dropout(rate, name="pooled_dropout")(x)'
            f'\n        x = Dense(self.arguments["hidden_dim"], "{activation}", {bias}'
            f'name="{name}")(x)'
        )
        through = f", through a {activation} layer"
    bias = "" if head.dense[-1][2] else "use_bias=False, "
    return FIRST_TOKEN.format(rate=rate, dense=dense, through=through, bias=bias)
