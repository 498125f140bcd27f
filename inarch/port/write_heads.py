"""Write the methods of a drafted backbone that build its heads."""

from __future__ import annotations

from inarch.port.code import code
from inarch.port.draft import Draft
from inarch.port.graph import DECODER
from inarch.port.heads import OWN, HeadDraft
from inarch.port.write_pair import decoder_table
from inarch.port.write_stem import sound_methods

CAUSAL_LM = '''
    def causal_lm(self, outputs: Any, tie_word_embeddings: bool = True) -> Any:
        """Return logits `[batch, length, vocabulary]` of the token after each."""
        if tie_word_embeddings:
            return {table}(outputs, reverse=True)
        return Dense(self.arguments["vocabulary_size"], name="logits")(outputs)
'''
MASKED_LM = '''
    def masked_lm(self, outputs: Any, tie_word_embeddings: bool = True) -> Any:
        """Return logits `[batch, length, vocabulary]`: transformed tokens times the embeddings."""
        {before}return MaskedLMHead(
            self.arguments["vocabulary_size"],
            {table} if {tied} else None,
            {activation},
            layer_norm_epsilon={epsilon},{options}
            name="masked_lm_head",
        )(self.sequence_output(outputs))
'''
PLAIN_MASKED_LM = '''
    def masked_lm(self, outputs: Any, tie_word_embeddings: bool = True) -> Any:
        """Return logits `[batch, length, vocabulary]`, of tokens as they are."""
        return VocabularyHead(
            self.arguments["vocabulary_size"],
            {table} if tie_word_embeddings else None,{options}
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
        """Return logits `[batch, num_classes]` from {vector}{through}."""
        rate = {rate} if dropout is None else dropout
        {pooled}{dense}
        x = Dropout(rate, name="classifier_dropout")(x)
        return Dense(num_classes, {bias}name="logits")(x)
'''
MEAN = """if self.arguments["{field}"] == "cls":
            x = self.sequence_output(outputs)[:, 0]
        else:
            layer = SequencePooling("mean", name="pooling")
            x = layer(self.sequence_output(outputs), self.input["padding_mask"])"""
FEATURES = '''
    def token_features(self, outputs: Any) -> Any:
        """Return vectors through the dense layer and the norm that every classifier begins with."""
        activation = {activation}
        width = self.arguments["hidden_dim"]
        dense = Dense(width, activation, {bias}name="pooled_dense")
        epsilon = {epsilon}
        norm = LayerNormalization(epsilon=epsilon{center}, name="pooled_norm")
        return norm(dense(self.sequence_output(outputs)))
'''
# Methods of `CausalBackbone`, in a class that doesn't derive from it.
CAUSAL_METHOD = """
    {name} = CausalBackbone.{name}
"""
ONE_WAY_STACK = '''
    def decoder_stack(self, head: keras.layers.Layer | None = None) -> DecoderStack:
        """Return the decoder for `inarch.generation.Generator`.

        Args:
            head: layer from hidden states to logits; `None` takes the token embeddings.

        Raises:
            InputError: attention is in both directions, or the checkpoint's output embeddings
                aren't its token embeddings, and `head` isn't given.
        """
        if self.arguments["bidirectional"]:
            raise InputError(
                "bidirectional=True: tokens attend to those after them, so that none can be "
                "generated after another. Embed texts with TextEmbedder."
            )
        return super().decoder_stack(head)
'''
PAIR_STACK = '''
    def decoder_stack(
        self,
        head: keras.layers.Layer | None = None,
        logits_bias: keras.layers.Layer | None = None,
    ) -> DecoderStack:
        """Return the decoder for `inarch.generation.Generator`.

        Args:
            head: layer from hidden states to logits; `None` takes the token embeddings.
            logits_bias: layer that adds the bias of the logits; `None` for none.

        Raises:
            InputError: the checkpoint's output embeddings aren't its token embeddings, and `head`
                isn't given.
        """
        check_output_embeddings(self, head)
        table = self.get_layer("{table}")
        count = self.arguments["num_decoder_layers"]
        return DecoderStack(
            table,
            [self.get_layer(f"decoder_layer_{{i}}") for i in range(count)],
            {norm},
            max_length={length},{embed}
            head=head,
            logits_layer=logits_bias,{options}
        )
'''
SEQ2SEQ_LM = '''
    def seq2seq_lm(self, outputs: dict[str, Any], tie_word_embeddings: bool = True) -> Any:
        """Return logits `[batch, length, vocabulary]` of the token after each of the decoder's."""
        x = outputs["decoder_sequence_output"]
        {logits}
        return {result}
'''
_TIED_LOGITS = "{table}(\n{indent}    x{scale}, reverse=True\n{indent})"
_EITHER = """if tie_word_embeddings:
            x = {tied}
        else:
            x = Dense(self.arguments["vocabulary_size"], use_bias=False, name="logits")(x)"""
_ALWAYS_TIED = """if not tie_word_embeddings:
            raise InputError(
                "tie_word_embeddings=False. The logits are products with the embeddings of the "
                "decoder's tokens: leave it True."
            )
        x = {tied}"""
LAST_END = '''
    def text_classifier(
        self, outputs: dict[str, Any], num_classes: int, dropout: float | None = None
    ) -> Any:
        """Return logits `[batch, num_classes]` from the last end token, through a tanh layer."""
        layer = LastTokenOf(self.arguments["end_id"], name="last_end_token")
        pooled = layer(self.sequence_output(outputs), **self.input)
        return self.tanh_classifier(pooled, num_classes, dropout)
'''
TOKENS = """
    def token_classifier(self, outputs: Any, num_classes: int, dropout: float | None = None) -> Any:
        rate = 0.1 if dropout is None else dropout  # whatever the backbone's is
        return super().token_classifier(outputs, num_classes, rate)
"""


def head_methods(draft: Draft) -> list[str]:
    """Return the lines of the methods."""
    heads = {head.name: head for head in draft.heads}
    text = ""
    if "bidirectional" in draft.graph.switches:
        text += ONE_WAY_STACK
    if head := heads.get("seq2seq_lm"):
        text += _pair_stack(draft, head) + _seq2seq_lm(draft, head)
    if head := heads.get("causal_lm"):
        text += _causal_lm(draft, head)
    if head := heads.get("masked_lm"):
        text += _masked_lm(draft, head)
    if head := heads.get("text_classifier"):
        text += _text_classifier(draft, head)
    if shared := next((h for h in draft.heads if h.norms and h.name not in OWN.values()), None):
        text += _token_features(draft, shared)
    text += sound_methods(draft)
    if "token_classifier" in heads and not (draft.has("dropout") or draft.is_causal_class):
        text += TOKENS
    return text.rstrip("\n").split("\n") if text else []


def _table(draft: Draft) -> str:
    if draft.graph.has_input_layer:
        return 'self.get_layer("embeddings").token_embedding'
    return 'self.get_layer("token_embedding")'


def _pair_stack(draft: Draft, head: HeadDraft) -> str:
    learned = draft.graph.has_input_layer
    has_norm = draft.graph.slot("final_norm", DECODER) is not None
    options = "\n            logits_scale=self.hidden_dim**-0.5," if head.scaled else ""
    if draft.graph.slot("relative_bias", DECODER) is not None:
        options += '\n            relative_bias=self.get_layer("decoder_relative_bias"),'
    return PAIR_STACK.format(
        table="decoder_embedding" if learned else decoder_table(draft),
        norm='self.get_layer("decoder_norm")' if has_norm else "None",
        length='self.arguments["max_sequence_length"]' if learned else "None",
        embed="" if learned else "\n            embed=lambda token_ids, context: table(token_ids),",
        options=options,
    )


def _seq2seq_lm(draft: Draft, head: HeadDraft) -> str:
    inside = draft.graph.has_input_layer
    own = 'self.get_layer("decoder_embedding").token_embedding'
    tied = _TIED_LOGITS.format(
        table=own if inside else f'self.get_layer("{decoder_table(draft)}")',
        scale=" * self.hidden_dim**-0.5" if head.scaled else "",
        indent=" " * (8 if draft.is_always_tied else 12),
    )
    form = _ALWAYS_TIED if draft.is_always_tied else _EITHER
    return SEQ2SEQ_LM.format(
        logits=form.format(tied=tied),
        result='LogitsBias(name="logits_bias")(x)' if head.bias else "x",
    )


def _causal_lm(draft: Draft, head: HeadDraft) -> str:
    if head.bias:
        return CAUSAL_LM.format(table=_table(draft))
    return "" if draft.is_causal_class else CAUSAL_METHOD.format(name="causal_lm")


def _masked_lm(draft: Draft, head: HeadDraft) -> str:
    if not head.dense:
        options = _options("use_output_bias", head.bias_switch or bool(head.bias), "\n            ")
        return PLAIN_MASKED_LM.format(table=_table(draft), options=options)
    options = _options("use_bias", head.dense[0][2], "\n            ")
    options += _options("center", _center(draft, head), "\n            ")
    has_bias = head.bias_switch or bool(head.bias)
    options += _options("use_output_bias", has_bias, "\n            ")
    before, other, tied = "", head.other, "tie_word_embeddings"
    if other is not None and not other.table:  # whose output embeddings are always the input's
        before = f'is_tied = tie_word_embeddings or not self.arguments["{head.switch}"]\n        '
        tied = "is_tied"
    activation = _activation(head)
    if head.activation == "activation" and not head.activation_field:
        activation = 'self.arguments["activation"]'
    return MASKED_LM.format(
        before=before,
        table=_table(draft),
        tied=tied,
        activation=activation,
        epsilon=_epsilon(draft),
        options=options,
    )


def _options(name: str, value: bool | str, before: str = " ") -> str:
    """Return an option as code where it isn't true."""
    if value is True:
        return ""
    given = value if value is False else f'self.arguments["{value}"]'
    return f"{before}{name}={given},"


def _center(draft: Draft, head: HeadDraft) -> bool | str:
    """Return whether norms of a head subtract the mean's offset, or the argument that decides."""
    bias = head.norms[0][2] if head.norms else True
    return bias if isinstance(bias, str) else draft.graph.norm != "uncentered"


def _activation(head: HeadDraft) -> str:
    """Return the activation of a head's first dense layer as code."""
    field = head.activation_field
    return f'self.arguments["{field}"]' if field else code(head.activation)


def _epsilon(draft: Draft) -> str:
    named = draft.has("layer_norm_epsilon")
    return 'self.arguments["layer_norm_epsilon"]' if named else str(draft.epsilon)


def _text_classifier(draft: Draft, head: HeadDraft) -> str:
    if draft.graph.causal:
        return "" if draft.is_causal_class else CAUSAL_METHOD.format(name="text_classifier")
    if draft.graph.is_pair:
        return LAST_END
    rate = 'self.arguments["dropout"]' if draft.has("dropout") else "0.1"
    if head.pooled:
        return POOLED.format(rate=rate)
    dense, through = "", ""
    if head.norms:
        dense = "\n        x = self.token_features(x)"
        through = ", through a dense layer and a norm"
    elif len(head.dense) == 2:
        (_, name, has_bias), _ = head.dense
        inner = f'self.arguments["{head.inner_dropout}"]' if head.inner_dropout else "rate"
        activation, before = _activation(head), ""
        if head.activation_field:
            before = f"\n        activation = get_activation({activation})"
            activation = "activation"
        dense = (
            f'{before}\n        x = Dropout({inner}, name="pooled_dropout")(x)'
            f'\n        x = Dense(self.arguments["hidden_dim"], {activation},'
            f'{_options("use_bias", has_bias)} name="{name}")(x)'
        )
        through = f", through a {'dense' if head.activation_field else head.activation} layer"
    bias = _options("use_bias", head.dense[-1][2], "").replace(",", ", ")
    pooled, vector = "x = self.sequence_output(outputs)[:, 0]", "the first token"
    if head.pooling:
        pooled, vector = MEAN.format(field=head.pooling), "the first token or their mean"
    return FIRST_TOKEN.format(
        rate=rate, pooled=pooled, vector=vector, dense=dense, through=through, bias=bias
    )


def _token_features(draft: Draft, head: HeadDraft) -> str:
    activation = _activation(head)
    return FEATURES.format(
        activation=f"get_activation({activation})",
        bias=_options("use_bias", head.dense[0][2], "").replace(",", ", "),
        epsilon=_epsilon(draft),
        center=_options("center", _center(draft, head), ", ").rstrip(","),
    )
