"""`trainer.precision: auto`: bfloat16 where it is faster, float32 everywhere else.

On a GPU with bfloat16 units `auto` is Lightning's bf16-mixed. On a CPU with them bf16-mixed is a trap: it runs
attention in bfloat16 too, and torch's fused CPU attention is several times slower there than in float32, so that the
whole step is slower. `bf16-linear` multiplies in bfloat16 where it pays: the linear layers of the blocks always, q·k
and weights·v in short sequences, or up to 512 tokens where `posenc.attention.kernels.bfloat16` applies. Other
attention is the float32 kernels'; weights, optimizer, normalisation, residual stream, encodings and the read-out are
float32 throughout.
"""

import torch
from lightning.pytorch.plugins.precision import Precision
from torch import Tensor, nn

from posenc.attention.bias import Bias
from posenc.attention.kernels import bfloat16
from posenc.attention.layer import Attend, Projection, SelfAttention
from posenc.attention.mask import Mask
from posenc.model.encoder import Block
from posenc.positions.positions import Positions

SHORT = 128
"""Up to this length attention with a bias is plain products in bfloat16; beyond, a kernel in float32.

Where the bias adds to the values, only up to `bfloat16.SHORT`. On two Zen 4 cores with torch 2.13, in batches of
64 × 128, products take 0.6 of the kernel's time under a bias of logits, 1.0 under one that queries read, 1.3 with
values.
"""


def bfloat16_units() -> bool:
    """Whether this CPU multiplies in bfloat16 (AVX512-BF16 or AMX); others only imitate it, far more slowly."""
    tests = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(test() for test in tests if test is not None)


def automatic(accelerator: str) -> str:
    """The precision that `auto` stands for on this machine."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    return "bf16-linear" if accelerator in ("auto", "cpu") and bfloat16_units() else "32-true"


class LinearBfloat16(Precision):
    """Linear layers of the blocks, and attention where it is the faster way, in bfloat16; all else in float32."""

    precision = "bf16-linear"  # pyright: ignore[reportAssignmentType]

    def convert_module(self, module: nn.Module) -> nn.Module:
        """Narrow the products of every block; no weight changes."""
        for block in (each for each in module.modules() if isinstance(each, Block)):
            for layer in block.modules():
                if isinstance(layer, Projection):
                    layer.narrow = torch.bfloat16
                elif isinstance(layer, SelfAttention):
                    layer.attend = narrowed(layer.attend)
        return module


def narrowed(attend: Attend) -> Attend:
    """`attend`, but in bfloat16 where that is faster."""

    def faster(q: Tensor, k: Tensor, v: Tensor, bias: Bias | None, positions: Positions, mask: Mask) -> Tensor:
        if bfloat16.pays(bias, positions, mask):
            return bfloat16.attend(q, k, v, bias, positions)
        if positions.length <= (bfloat16.SHORT if bias is None or bias.carries else SHORT):
            return bfloat16.whole(q, k, v, bias, positions, mask)
        q, k, v = (x.to(torch.float32) for x in (q, k, v))
        return attend(q, k, v, bias, positions, mask)

    return faster
