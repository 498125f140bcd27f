"""Texts of the methods of a drafted backbone that build its heads."""

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
TIED_LOGITS = "{table}(\n{indent}    x{scale}, reverse=True\n{indent})"
EITHER = """if tie_word_embeddings:
            x = {tied}
        else:
            x = Dense(self.arguments["vocabulary_size"], use_bias=False, name="logits")(x)"""
ALWAYS_TIED = """if not tie_word_embeddings:
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
