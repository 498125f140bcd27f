"""Keras layers that transformers are built of."""

import inarch.installed_backend  # noqa: F401
from inarch.layers.activation import gelu_approximate, get_activation, serialize_activation
from inarch.layers.alibi import AlibiBias
from inarch.layers.attention import MultiHeadAttention
from inarch.layers.block import Block
from inarch.layers.convolution import ConvolutionalPositions, SymmetricConv1D
from inarch.layers.disentangled_attention import DisentangledSelfAttention
from inarch.layers.disentangled_encoder import ConvResidual, DisentangledAttentionEncoder
from inarch.layers.embedding import (
    PositionEmbedding,
    RelativeEmbedding,
    SinePositionEncoding,
    TokenAndPositionEmbedding,
)
from inarch.layers.feed_forward import Adapter, FeedForward, GatedFeedForward
from inarch.layers.fnet import FNetEncoder, FourierMixing
from inarch.layers.frames import ConvolutionStem, FrameMask, TimeNormalization
from inarch.layers.global_local_attention import GlobalLocalAttention
from inarch.layers.head import MaskedLMHead, VocabularyHead
from inarch.layers.initializer import SinePositions
from inarch.layers.input_embedding import (
    FixedPositionEmbedding,
    InputEmbedding,
    ShiftRight,
)
from inarch.layers.logits import LogitsBias, SoftCap
from inarch.layers.mask import self_attention_mask, sequence_positions
from inarch.layers.mixture_of_experts import Experts, MixtureOfExperts, Router
from inarch.layers.parallel_block import ParallelBlock
from inarch.layers.pooling import LastTokenOf, WeightedLayerSum
from inarch.layers.relative_bias import RelativePositionBias
from inarch.layers.rms_norm import RMSNorm
from inarch.layers.rotary import RotaryEmbedding
from inarch.layers.rotary_angles import AngleRotation, RotaryAngles
from inarch.layers.scaled_embedding import ScaledEmbedding
from inarch.layers.token_dropout import TokenDropoutEmbedding
from inarch.layers.transformer import TransformerDecoder, TransformerEncoder
from inarch.layers.transformer_xl import TransformerXLAttention, TransformerXLBlock

__all__ = [
    "Adapter",
    "AlibiBias",
    "AngleRotation",
    "Block",
    "ConvResidual",
    "ConvolutionStem",
    "ConvolutionalPositions",
    "DisentangledAttentionEncoder",
    "DisentangledSelfAttention",
    "Experts",
    "FNetEncoder",
    "FeedForward",
    "FixedPositionEmbedding",
    "FourierMixing",
    "FrameMask",
    "GatedFeedForward",
    "GlobalLocalAttention",
    "InputEmbedding",
    "LastTokenOf",
    "LogitsBias",
    "MaskedLMHead",
    "MixtureOfExperts",
    "MultiHeadAttention",
    "ParallelBlock",
    "PositionEmbedding",
    "RMSNorm",
    "RelativeEmbedding",
    "RelativePositionBias",
    "RotaryAngles",
    "RotaryEmbedding",
    "Router",
    "ScaledEmbedding",
    "ShiftRight",
    "SinePositionEncoding",
    "SinePositions",
    "SoftCap",
    "SymmetricConv1D",
    "TimeNormalization",
    "TokenAndPositionEmbedding",
    "TokenDropoutEmbedding",
    "TransformerDecoder",
    "TransformerEncoder",
    "TransformerXLAttention",
    "TransformerXLBlock",
    "VocabularyHead",
    "WeightedLayerSum",
    "gelu_approximate",
    "get_activation",
    "self_attention_mask",
    "sequence_positions",
    "serialize_activation",
]
