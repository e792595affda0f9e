"""The interface of all encodings: three hooks. A hook that a class does not override changes nothing."""

import copy
import inspect
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from posenc.attention.bias import Bias
from posenc.encodings.checked import CHECKED
from posenc.positions.positions import Positions


class PositionalEncoding(nn.Module):
    """logit(m, n) = q_m·k_n / √d: no positional encoding (NoPE). `encoding=none` builds this class.

    It is also the base class of all encodings. A new encoding is two new files; it overrides one hook or several:

        embed   token embeddings, (B, N, D)            sinusoidal, learned absolute, ...
        rotate  queries and keys, (B, H, N, d)         RoPE and related encodings
        bias    the term added to the scaled logits    relative encodings

    A bidirectional encoder with mean pooling and no encoding is a bag model: all permutations of a sequence get the
    same answer. A causal mask alone carries position (Haviv et al. 2022, https://arxiv.org/abs/2203.16634; Kazemnejad
    et al. 2023, https://arxiv.org/abs/2305.19466). Defined at every length.
    """

    source: ClassVar[str] = "https://arxiv.org/abs/2203.16634"
    """The link to the publication. Like `proof`, a subclass does not inherit it: each class gives its own."""

    proof: ClassVar[tuple[str, ...]] = ("torch",)
    """What tests compare the class with: packages (by names on PyPI) or `formula`, the paper's formula in numpy."""

    size: str = ""
    """The number of its parameters: a formula in D, H, d, the number L of layers and the arguments. Empty: none."""

    hooks: tuple[str, ...] = ()
    """Which of embed, rotate and bias the class overrides, in this order. `__init_subclass__` sets it."""

    depends_on: frozenset[str] = frozenset()
    """What its terms depend on, besides q and k:

        position     the absolute position of a token            distance    key position − query position
        |distance|   the distance without its sign               order       which token comes first, whatever its id
        extent       the largest position that occurs            content     the tokens, through x or through gates

    Without position and extent, a common shift of all ids changes nothing. If order and distance are absent too, a
    reversed sequence gives reversed outputs. If |distance| is absent too, a permuted one gives permuted outputs.
    """

    inject: str = "input"
    """Where `embed` runs if the model does not set it: input, every_layer or attention (see posenc.model)."""

    causal_only: bool = False
    """Whether the encoding is defined under a causal mask only. The constructor then refuses `causal: false`."""

    reads_input: bool = False
    """Whether `rotate` or `bias` reads x, the layer's input. A cache then keeps x too."""

    reads_before: bool = False
    """Whether a logit reads tokens before its key. With a sliding window, a cache may have dropped those tokens."""

    one_pass: str = ""
    """Why it cannot decode token by token with a cache: words after "decodes in one pass only, as". Empty: it can."""

    per_layer: bool = False
    """Whether each layer has its own copy of the encoding (see `for_layers`) if the model does not set it.

    True if, in the source, each layer learns its own parameters.
    """

    shared: frozenset[str] = frozenset()
    """Names of the parameters that all layers share even if each layer has its own copy of the encoding."""

    made_of: str = ""
    """How a mixture is made of its parts, in words."""

    layers_in_pattern: int = 1
    """The period of a mixture over layers: the number of layers after which its pattern repeats."""

    def __init__(self) -> None:
        super().__init__()

    def __init_subclass__(cls) -> None:
        """Add the shape checks of `CHECKED` to every hook that the class overrides. Wrong shapes would broadcast."""
        super().__init_subclass__()
        for name, check in CHECKED.items():
            if name in vars(cls):
                setattr(cls, name, check(vars(cls)[name]))
        cls.hooks = tuple(name for name in CHECKED if getattr(cls, name) is not getattr(PositionalEncoding, name))

    def embed(self, x: Float[Tensor, "B N D"], positions: Positions) -> Float[Tensor, "B N D"]:
        """Token embeddings in, token embeddings with position out."""
        return x

    def rotate(
        self,
        x: Float[Tensor, "B N D"],
        q: Float[Tensor, "B H N d"],
        k: Float[Tensor, "B H N d"],
        positions: Positions,
    ) -> tuple[Tensor, Tensor]:
        """The queries and keys of one layer, with position; x is the layer's input. q and k may get a new common width.

        An encoding defines this for N tokens that are both queries and keys. If `positions.keys` is given,
        `posenc.encodings.checked` joins queries and keys into one sequence first. The logits are always q·k / √d, where
        d is the width of the values. An encoding that needs another scale multiplies q.
        """
        return q, k

    def bias(
        self,
        x: Float[Tensor, "B N D"],
        q: Float[Tensor, "B H M d"],
        k: Float[Tensor, "B H N d"],
        positions: Positions,
    ) -> Bias | None:
        """The term that one layer adds to its scaled logits. x is the layer's input; q and k come from `rotate`.

        `positions` are those of q; `positions.at_keys` are those of k and x. In decoding the queries are the last M of
        N tokens.
        """
        return None

    @property
    def in_attention(self) -> bool:
        """Whether the class overrides `rotate` or `bias`. If not, q and k may stay in a lower precision."""
        return "rotate" in self.hooks or "bias" in self.hooks

    def trained_at(self, length: int) -> None:
        """Receive the limit of training positions before training starts. Most encodings do not need it."""

    @property
    def leaves(self) -> "list[PositionalEncoding]":
        """The encodings inside a mixture or a sum; otherwise the encoding itself."""
        return [self]

    def of_layers(self, num_layers: int) -> "list[PositionalEncoding]":
        """The encoding of each layer, before copies are made."""
        return [self] * num_layers

    def for_layers(self, num_layers: int, own: bool | None = None) -> "list[PositionalEncoding]":
        """The encoding of each layer: this one or, if `own`, copies without `shared`. None: `per_layer`."""
        if not (self.per_layer if own is None else own):
            return [self] * num_layers
        held = [getattr(self, name) for name in self.shared]
        return [self, *(copy.deepcopy(self, {id(each): each for each in held}) for _ in range(num_layers - 1))]

    def extra_repr(self) -> str:
        """The constructor's arguments. Every encoding keeps them as attributes of the same names."""
        names = inspect.signature(type(self).__init__).parameters
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names if name != "self")
