"""Self-attention: its definition, the layer, biases and masks; `kernels` has faster ways to compute the same."""

from posenc.attention.bias import Bias
from posenc.attention.definition import attention_logits, biased, explicit
from posenc.attention.layer import SelfAttention
from posenc.attention.mask import Mask
from posenc.attention.projection import Projection
from posenc.attention.record import record_attention

__all__ = ["Bias", "Mask", "Projection", "SelfAttention", "attention_logits", "biased", "explicit", "record_attention"]
