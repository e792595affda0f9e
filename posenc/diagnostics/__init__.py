"""Measures of what a stack of self-attention does to its tokens. Each file has one quantity.

Nothing here depends on training. `capture` records residuals and attention in a forward pass. The measures take these
tensors, from a trained or a new encoder, and return named numbers.
"""

from posenc.diagnostics.attention_distance import attention_distance, uniform_distance
from posenc.diagnostics.attention_entropy import attention_entropy
from posenc.diagnostics.attention_similarity import head_similarity, layer_similarity
from posenc.diagnostics.by_layer import QUANTITIES, by_layer
from posenc.diagnostics.capture import Capture, capture
from posenc.diagnostics.decay import Decay, decay
from posenc.diagnostics.dong_ratio import dong_ratio
from posenc.diagnostics.gradients import gradient_norms, stream_gradients
from posenc.diagnostics.position_share import position_share
from posenc.diagnostics.probes import ProbeScore, linear_probe, mlp_probe
from posenc.diagnostics.rank import effective_rank, stable_rank
from posenc.diagnostics.rollout import rollout
from posenc.diagnostics.rotation import RotaryUsage, rotary_usage
from posenc.diagnostics.sink_rate import sink_rate
from posenc.diagnostics.target_mass import target_mass
from posenc.diagnostics.toeplitzness import toeplitzness
from posenc.diagnostics.token_cosine import token_cosine

__all__ = [
    "QUANTITIES",
    "Capture",
    "Decay",
    "ProbeScore",
    "RotaryUsage",
    "attention_distance",
    "attention_entropy",
    "by_layer",
    "capture",
    "decay",
    "dong_ratio",
    "effective_rank",
    "gradient_norms",
    "head_similarity",
    "layer_similarity",
    "linear_probe",
    "mlp_probe",
    "position_share",
    "rollout",
    "rotary_usage",
    "sink_rate",
    "stable_rank",
    "stream_gradients",
    "target_mass",
    "toeplitzness",
    "token_cosine",
    "uniform_distance",
]
