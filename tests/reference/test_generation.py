"""Sequences of tokens against the references: transformers' searches, openai-whisper's rules."""

import keras
import numpy as np
import pytest

from inarch.generation import (
    BeamSearch,
    GeneratedTokens,
    Generator,
    Greedy,
    WhisperBeamSearch,
    WhisperTimestamps,
)
from inarch.layers import TokenAndPositionEmbedding, TransformerDecoder
from inarch.models.decoder_stack import DecoderStack

pytestmark = [pytest.mark.reference, pytest.mark.turns(3)]
torch = pytest.importorskip("torch")

WIDTH, VOCABULARY, END, LONGEST = 16, 12, 3, 20


@pytest.fixture(scope="module")
def ours():
    embedding = TokenAndPositionEmbedding(VOCABULARY, 32, WIDTH)
    embedding.build((None, None))
    shape = (None, None, WIDTH)
    layers = []
    for _ in range(2):
        layer = TransformerDecoder(24, 2, activation="gelu", normalize_first=True, key_bias=False)
        layer.build(shape, shape)
        layers.append(layer)
    norm = keras.layers.LayerNormalization(epsilon=1e-5)
    norm.build(shape)
    return DecoderStack(embedding, layers, norm, max_length=32)


def copy_weights(decoder, ours):
    """Carry the weights of transformers' `WhisperDecoder` over by hand."""

    def set_value(variable, tensor):
        variable.assign(tensor.detach().numpy())

    def linear(layer, module):
        set_value(layer.kernel, module.weight.T)
        if module.bias is not None:
            set_value(layer.bias, module.bias)

    def norm(layer, module):
        set_value(layer.gamma, module.weight)
        set_value(layer.beta, module.bias)

    def attention(layer, module):
        linear(layer.query_dense, module.q_proj)
        linear(layer.key_dense, module.k_proj)
        linear(layer.value_dense, module.v_proj)
        linear(layer.output_dense, module.out_proj)

    set_value(ours.embedding.token_embedding.embeddings, decoder.embed_tokens.weight)
    set_value(ours.embedding.position_embedding.position_embeddings, decoder.embed_positions.weight)
    norm(ours.norm, decoder.layer_norm)
    for layer, module in zip(ours.blocks, decoder.layers, strict=True):
        attention(layer.attention, module.self_attn)
        norm(layer.attention_norm, module.self_attn_layer_norm)
        attention(layer.cross_attention, module.encoder_attn)
        norm(layer.cross_attention_norm, module.encoder_attn_layer_norm)
        linear(layer.feed_forward.up, module.fc1)
        linear(layer.feed_forward.down, module.fc2)
        norm(layer.feed_forward_norm, module.final_layer_norm)


def whisper(seed):
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    config = WhisperConfig(
        vocab_size=VOCABULARY, d_model=WIDTH, encoder_layers=1, decoder_layers=2,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=24,
        decoder_ffn_dim=24, max_source_positions=8, max_target_positions=32, num_mel_bins=4,
        pad_token_id=END, bos_token_id=END, eos_token_id=END, decoder_start_token_id=5,
        suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    torch.manual_seed(seed)
    model = WhisperForConditionalGeneration(config).eval()
    for parameter in model.parameters():
        parameter.data += 0.7 * torch.randn_like(parameter)
    return model


STRATEGIES = {
    "greedy": (Greedy(), {}),
    "beams": (BeamSearch(5), {"num_beams": 5}),
    "early": (BeamSearch(5, early_stopping=True), {"num_beams": 5, "early_stopping": True}),
    "penalty": (BeamSearch(3, 0.5, "never"),
        {"num_beams": 3, "length_penalty": 0.5, "early_stopping": "never"}),
}  # fmt: skip


@pytest.mark.parametrize("name", STRATEGIES)
def test_sequences_are_those_of_transformers(ours, name):
    from transformers.generation import GenerationMixin

    strategy, options = STRATEGIES[name]
    generator = Generator(ours, END)
    ended = 0
    for seed in range(50):
        model = whisper(seed)
        copy_weights(model.model.decoder, ours)
        features = torch.randn(2, 4, 16)
        prompt = torch.tensor([[5, 6], [7, 8]])
        with torch.inference_mode():
            theirs = GenerationMixin.generate(
                model, features, decoder_input_ids=prompt, max_new_tokens=LONGEST,
                do_sample=False, **options,
            )  # fmt: skip
            encoded = model.model.encoder(features).last_hidden_state.numpy()
        cache = ours.make_cross_attention_cache(keras.ops.convert_to_tensor(encoded))
        found = generator.generate(
            prompt.tolist(),
            cross_attention_cache=cache,
            strategy=strategy,
            max_new_tokens=LONGEST,
        )
        for row, tokens in zip(theirs[:, 2:].tolist(), found.rows(), strict=True):
            wanted = row[: row.index(END)] if END in row else row
            assert tokens == wanted, seed
            ended += len(tokens) < LONGEST
    assert ended > 10  # the end has to be reached for the test to mean anything


class Table:
    """A decoder whose logits depend on the last token and its position alone."""

    variables = ()
    vocabulary_size, max_length = 12, 30

    def __init__(self, table):
        self.table = table

    def init_cache(self, rows, length):
        return ()

    def reorder_cache(self, caches, rows, indices):
        return caches

    def share_cache(self, caches, beams):
        return caches

    def step(self, token_ids, caches, context):
        place = context["positions"] * self.vocabulary_size + token_ids
        table = keras.ops.reshape(keras.ops.convert_to_tensor(self.table), (-1, 12))
        return keras.ops.take(table, place, axis=0), caches

    def logits(self, hidden):
        return hidden


@pytest.mark.parametrize(("patience", "penalty"), [(1.0, None), (2.0, None), (1.0, 0.6)])
def test_patient_beams_are_those_of_openai_whisper(patience, penalty):
    decoding = pytest.importorskip("whisper.decoding")

    class Inference:
        def rearrange_kv_cache(self, source_indices):
            pass

    beams, rows, length = 4, 3, 10
    for seed in range(8):
        table = 2 * np.random.default_rng(seed).standard_normal((30, 12, 12)).astype("float32")
        search = decoding.BeamSearchDecoder(beams, END, Inference(), patience)
        tokens = torch.tensor([[5], [6], [7]]).repeat_interleave(beams, dim=0)
        sums = torch.zeros(rows * beams)
        for position in range(length):
            logits = torch.from_numpy(table[position])[tokens[:, -1]]
            tokens, completed = search.update(tokens, logits, sums)
            if completed:
                break
        candidates, scores = search.finalize(
            tokens.reshape(rows, beams, -1), sums.reshape(rows, beams)
        )
        cut = [[t[1 : (t == END).nonzero()[0, 0]] for t in row] for row in candidates]
        best = decoding.MaximumLikelihoodRanker(penalty).rank(
            [[t if len(t) or penalty else [0] for t in row] for row in cut], scores
        )
        found = Generator(Table(table), END).generate(
            [[5], [6], [7]],
            strategy=WhisperBeamSearch(beams, patience, penalty),
            max_new_tokens=length,
        )
        assert found.rows() == [row[i].tolist() for row, i in zip(cut, best, strict=True)]
        wanted = [row[i] for row, i in zip(scores, best, strict=True)]
        np.testing.assert_allclose(found.log_probs, wanted, rtol=1e-4)


@pytest.mark.parametrize("latest", [None, 2])
def test_the_rule_of_timestamps_is_openai_whispers(latest):
    decoding = pytest.importorskip("whisper.decoding")

    class Tokenizer:
        no_timestamps, timestamp_begin, eot = 9, 10, 8

    rule = WhisperTimestamps(10, 8, 9, latest)
    theirs = decoding.ApplyTimestampRules(Tokenizer, 2, latest)
    random = np.random.default_rng(0)
    for count in range(6):
        tokens = random.choice([1, 4, 10, 11, 13, 16], (40, 6)).astype("int32")
        logits = random.normal(0, 2, (40, 20)).astype("float32")
        wanted = torch.from_numpy(logits.copy())
        before = torch.cat([torch.zeros((40, 2), dtype=torch.int64),
            torch.from_numpy(tokens[:, :count]).long()], 1)  # fmt: skip
        theirs.apply(wanted, before)
        found = rule(keras.ops.convert_to_tensor(logits), GeneratedTokens(tokens, count))
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(found), wanted.numpy())
