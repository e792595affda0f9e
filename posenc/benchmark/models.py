"""The contestants: posenc's encoder with any encoding, and encoders of other libraries at the same shapes.

docs/performance.md describes them. All have an MLP of four times the width, and classify the mean of the tokens into
four classes.
"""

import warnings
from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from posenc.encodings.base import PositionalEncoding
from posenc.encodings.learned_absolute import LearnedAbsolutePositionalEncoding
from posenc.model.encoder import Encoder
from posenc.tasks.base import IGNORE
from posenc.training.evaluation.sets import Batch
from posenc.training.precision import LinearBfloat16

VOCAB_SIZE, CLASSES, DIM, HEADS, LAYERS = 20, 4, 128, 8, 3


def posenc_encoder(encoding: PositionalEncoding, causal: bool = False, precision: str = "32-true") -> Encoder:
    """posenc's encoder at a precision (see `set_precision`)."""
    encoder = Encoder(deepcopy(encoding), VOCAB_SIZE, CLASSES, DIM, HEADS, LAYERS, causal=causal)
    set_precision(encoder, precision)
    return encoder


def set_precision(encoder: Encoder, precision: str) -> None:
    """Make a float32 encoder multiply in bfloat16 if `precision` is bf16-linear."""
    if precision == LinearBfloat16.precision:
        LinearBfloat16().convert_module(encoder)


def learned_absolute(length: int) -> PositionalEncoding:
    """The encoding of the peers."""
    return LearnedAbsolutePositionalEncoding(DIM, length)


class Classifier(nn.Module):
    """Reads classes from the mean of an encoder's output."""

    def __init__(self, encoder: Callable[[Tensor], Tensor], parts: nn.Module) -> None:
        super().__init__()
        self.parts, self.encode, self.head = parts, encoder, nn.Linear(DIM, CLASSES)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (B, C)."""
        return self.head(self.encode(tokens).mean(1))


def torch_encoder(length: int) -> nn.Module:
    """torch.nn.TransformerEncoder with its defaults, post-norm and ReLU."""
    layer = nn.TransformerEncoderLayer(DIM, HEADS, 4 * DIM, dropout=0.0, batch_first=True)
    tokens, places, stack = (
        nn.Embedding(VOCAB_SIZE, DIM),
        nn.Embedding(length, DIM),
        nn.TransformerEncoder(layer, LAYERS),
    )
    return Classifier(lambda x: stack(tokens(x) + places.weight[: x.shape[1]]), nn.ModuleList([tokens, places, stack]))


def x_transformers(length: int) -> nn.Module:
    """x-transformers' TransformerWrapper with flash attention."""
    with warnings.catch_warnings():  # x-transformers uses torch.jit.script, which torch deprecates
        warnings.simplefilter("ignore", DeprecationWarning)
        from x_transformers import Encoder as TheirEncoder
        from x_transformers import TransformerWrapper

    layers = TheirEncoder(dim=DIM, depth=LAYERS, heads=HEADS, attn_dim_head=DIM // HEADS, attn_flash=True)
    model = TransformerWrapper(num_tokens=VOCAB_SIZE, max_seq_len=length, attn_layers=layers)
    return Classifier(lambda x: model(x, return_embeddings=True), model)


def hugging_face_bert(length: int) -> nn.Module:
    """Hugging Face's BertModel without its pooler."""
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=DIM,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=4 * DIM,
        max_position_embeddings=length,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = BertModel(config, add_pooling_layer=False)
    return Classifier(lambda x: model(x).last_hidden_state, model)


PEERS: dict[str, Callable[[int], nn.Module]] = {
    "torch.nn.TransformerEncoder": torch_encoder,
    "x-transformers": x_transformers,
    "Hugging Face BERT": hugging_face_bert,
}


def batch(size: int, length: int) -> Batch:
    """Random tokens (B, N) and random classes (B,)."""
    return torch.randint(VOCAB_SIZE, (size, length)), torch.randint(CLASSES, (size,))


def training_step(model: nn.Module, made: Batch, fused: bool | None = True) -> Callable[[], None]:
    """Forward, backward and AdamW on one batch. `fused` is AdamW's option: True when posenc trains, None by default."""
    tokens, targets = made
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=fused)

    def step() -> None:
        optimizer.zero_grad()
        logits = model(tokens).flatten(0, -2).float()
        F.cross_entropy(logits, targets.flatten(), ignore_index=IGNORE).backward()
        optimizer.step()

    return step


def evaluation(model: nn.Module, size: int, length: int) -> Callable[[], Tensor]:
    """A forward pass without gradient."""
    tokens, _ = batch(size, length)
    return torch.no_grad()(lambda: model(tokens))


def products(size: int, length: int, dtype: torch.dtype) -> Callable[[], None]:
    """The matrix products of a training step and nothing else: the limit in docs/performance.md.

    Each layer has x·Wᵀ, dy·W and dyᵀ·x of four linear maps; attention has two products forward and four backward.
    """
    rows, wide = size * length, 4 * DIM
    made = {width: torch.randn(rows, width, dtype=dtype) for width in (DIM, 3 * DIM, wide)}
    linear = [
        (made[i], torch.randn(o, i, dtype=dtype), made[o])
        for i, o in ((DIM, 3 * DIM), (DIM, DIM), (DIM, wide), (wide, DIM))
    ]
    q = torch.randn(size * HEADS, length, DIM // HEADS, dtype=dtype)
    weights = torch.randn(size * HEADS, length, length, dtype=dtype)

    def step() -> None:
        for _ in range(LAYERS):
            for x, w, dy in linear:
                x @ w.T, dy @ w, dy.T @ x  # pyright: ignore[reportUnusedExpression]
            for _ in range(2):
                q @ q.mT, weights @ q, weights.mT @ q  # pyright: ignore[reportUnusedExpression]

    return step
