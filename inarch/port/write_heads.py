"""Write the methods of a drafted backbone that build its heads."""

from __future__ import annotations

from inarch.port.code import code
from inarch.port.draft import Draft
from inarch.port.graph import DECODER
from inarch.port.head_texts import (
    ALWAYS_TIED,
    CAUSAL_LM,
    CAUSAL_METHOD,
    EITHER,
    FEATURES,
    FIRST_TOKEN,
    LAST_END,
    MASKED_LM,
    MEAN,
    ONE_WAY_STACK,
    PAIR_STACK,
    PLAIN_MASKED_LM,
    POOLED,
    SEQ2SEQ_LM,
    TIED_LOGITS,
    TOKENS,
)
from inarch.port.heads import OWN, HeadDraft
from inarch.port.write_pair import decoder_table
from inarch.port.write_stem import sound_methods


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
    tied = TIED_LOGITS.format(
        table=own if inside else f'self.get_layer("{decoder_table(draft)}")',
        scale=" * self.hidden_dim**-0.5" if head.scaled else "",
        indent=" " * (8 if draft.is_always_tied else 12),
    )
    form = ALWAYS_TIED if draft.is_always_tied else EITHER
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
