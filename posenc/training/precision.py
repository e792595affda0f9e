"""`trainer.precision: auto`: bfloat16 where it is faster, float32 everywhere else.

On a GPU with bfloat16 units `auto` is Lightning's bf16-mixed. On a CPU with bfloat16 units bf16-mixed is slower than
float32: it runs attention in bfloat16 too, and torch's fused CPU attention is several times slower in bfloat16.
Therefore `auto` is `bf16-linear` there. It multiplies in bfloat16 only where this is faster: in all linear layers of
the blocks, and in attention if `posenc.attention.kernels.choose` names a bfloat16 kernel. Everything else is in
float32: other attention, weights, optimizer, normalisation, residual, encodings and read-out.
"""

import torch
from lightning.pytorch.plugins.precision import Precision
from torch import nn

from posenc.attention.layer import SelfAttention
from posenc.attention.projection import Projection
from posenc.model.block import Block


def bfloat16_units() -> bool:
    """Whether this CPU multiplies in bfloat16 (AVX512-BF16 or AMX). Other CPUs emulate it, which is much slower."""
    tests = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(test() for test in tests if test is not None)


def automatic(accelerator: str) -> str:
    """The precision that `auto` stands for on this machine."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    return "bf16-linear" if accelerator in ("auto", "cpu") and bfloat16_units() else "32-true"


class LinearBfloat16(Precision):
    """Multiplies in bfloat16 in linear layers of the blocks and, if faster, in attention; the rest is in float32."""

    precision = "bf16-linear"  # pyright: ignore[reportAssignmentType]

    def convert_module(self, module: nn.Module) -> nn.Module:
        """Set every block to multiply in bfloat16. The weights do not change."""
        for block in (each for each in module.modules() if isinstance(each, Block)):
            for layer in block.modules():
                if isinstance(layer, Projection | SelfAttention):
                    layer.in_bfloat16 = True
        return module
