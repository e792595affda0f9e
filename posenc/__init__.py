"""posenc: which positional encoding should my transformer use, and why?

Nothing heavy is imported here, so that `import posenc` costs nothing; take what you need from the rooms:
`posenc.encodings`, `posenc.attention`, `posenc.model`, `posenc.tasks`. `posenc.load(RUN)` is the encoder of a trained
run (posenc.trained.load.load_encoder).
"""

from typing import TYPE_CHECKING, Any

from posenc.runs.former import install

if TYPE_CHECKING:
    from posenc.trained.load import load_encoder as load  # noqa: F401  what `__getattr__` below finds

install()


def __getattr__(name: str) -> Any:
    """`load`, which imports torch when it is first asked for."""
    if name == "load":
        from posenc.trained.load import load_encoder

        return load_encoder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
