"""The one interface through which position enters. Three hooks; each leaves its input alone unless overridden."""

import copy
import inspect
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from posenc.attention.bias import Bias
from posenc.encodings.checked import CHECKED
from posenc.positions.positions import Positions


class PositionalEncoding(nn.Module):
    """logit(m, n) = q_m·k_n / √d: no positional encoding (NoPE), the base class, and what `encoding=none` builds.

    Override one hook or several, two new files make a new encoding:

        embed   token embeddings, (B, N, D)            sinusoidal, learned absolute, ...
        rotate  queries and keys, (B, H, N, d)         RoPE and its kin
        bias    what is added to the scaled logits     everything relative

    A bidirectional encoder with mean pooling and no encoding is a bag model: it cannot tell a sequence from its
    permutations. A causal mask alone carries position (Haviv et al. 2022, https://arxiv.org/abs/2203.16634; Kazemnejad
    et al. 2023, https://arxiv.org/abs/2305.19466). Defined at every length.
    """

    source: ClassVar[str] = "https://arxiv.org/abs/2203.16634"
    """The link to who published it. Like `proof`, it is of this class alone: a class that extends it gives its own."""

    proof: ClassVar[tuple[str, ...]] = ("torch",)
    """What tests compare it with: packages by their names on PyPI, or `formula`, the paper's in numpy."""

    size: str = ""
    """How many parameters it has, if any: a formula in D, H, d, the number L of layers and the arguments."""

    hooks: tuple[str, ...] = ()
    """Which of embed, rotate and bias the class overrides, in this order; each class gets it when it is made."""

    depends_on: frozenset[str] = frozenset()
    """What its terms are functions of, besides q and k: any of

        position     where a token stands, absolutely            distance    key position − query position
        |distance|   the same without its sign                   order       which token comes first, whatever its id
        extent       the largest position that occurs            content     the tokens, by x or by gates

    Invariances follow: without position and extent a common shift of all ids changes nothing; without order and
    distance too, a reversed sequence gives reversed outputs; without |distance| too, a permuted one permuted outputs.
    """

    inject: str = "input"
    """Where `embed` runs unless the model says otherwise: input, every_layer or attention (see posenc.model)."""

    causal_only: bool = False
    """Whether it is defined under a causal mask only. The constructor then refuses `causal: false`."""

    reads_input: bool = False
    """Whether `rotate` or `bias` read x, the layer's input: a cache then keeps that too."""

    reads_before: bool = False
    """Whether a logit reads tokens that come before its key, which a sliding window may have dropped from a cache."""

    one_pass: str = ""
    """Why it cannot go on token by token with a cache, if it cannot: what follows "decodes in one pass only, as"."""

    per_layer: bool = False
    """Whether each layer has an encoding of its own (see `for_layers`) unless the model says otherwise.

    True where the source learns its parts anew in each layer. False where all layers share them, where nothing is
    learned, and where position enters at the input alone.
    """

    shared: frozenset[str] = frozenset()
    """Names of the parameters that all layers share even where each layer has an encoding of its own."""

    made_of: str = ""
    """How a mixture is made of its parts, in words."""

    layers_in_pattern: int = 1
    """After how many layers a mixture over layers begins again."""

    def __init__(self) -> None:
        super().__init__()

    def __init_subclass__(cls) -> None:
        """Every hook that a class overrides refuses what is not of one length, which would broadcast."""
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
        """Queries and keys of one layer in and out; x is the layer's input. The width of q and k may change together.

        It is written for N tokens that are queries and keys. Where keys stand apart, queries are turned among them.

        Logits are q·k / √d with d the width of the values, whatever the width of q and k becomes: to scale them
        otherwise, scale q.
        """
        return q, k

    def bias(
        self,
        x: Float[Tensor, "B N D"],
        q: Float[Tensor, "B H M d"],
        k: Float[Tensor, "B H N d"],
        positions: Positions,
    ) -> Bias | None:
        """What one layer adds to its scaled logits; x is the layer's input, q and k are as `rotate` left them.

        q stands at `positions`, k and x at `positions.at_keys`: in decoding the queries are the last M of N tokens.
        """
        return None

    @property
    def in_attention(self) -> bool:
        """Whether it acts inside attention, by `rotate` or `bias`; where not, q and k need not be exact for it."""
        return "rotate" in self.hooks or "bias" in self.hooks

    def trained_at(self, length: int) -> None:
        """Learn, before any work starts, that training positions lie below `length`; most encodings need not know."""

    @property
    def leaves(self) -> "list[PositionalEncoding]":
        """The encodings that it is made of: itself, unless it is a mixture or a sum."""
        return [self]

    def of_layers(self, num_layers: int) -> "list[PositionalEncoding]":
        """The encoding that each layer has, before any is copied."""
        return [self] * num_layers

    def for_layers(self, num_layers: int, own: bool | None = None) -> "list[PositionalEncoding]":
        """Each layer's encoding: this one, or copies with weights of their own but for `shared`; None: `per_layer`."""
        if not (self.per_layer if own is None else own):
            return [self] * num_layers
        held = [getattr(self, name) for name in self.shared]
        return [self, *(copy.deepcopy(self, {id(each): each for each in held}) for _ in range(num_layers - 1))]

    def extra_repr(self) -> str:
        """The constructor's arguments, which every encoding keeps as attributes of the same names."""
        names = inspect.signature(type(self).__init__).parameters
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names if name != "self")
