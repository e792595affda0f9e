"""Compiles an encoder with torch.compile.

Compiled code rounds differently, so a compiled run has another identity (`posenc.runs.identity`). torch.compile cannot
trace posenc's own backward passes, so a compiled bias is a matrix, and attention is torch's
`scaled_dot_product_attention` (`posenc.attention.kernels.choose`). docs/performance.md has times and numbers of graphs.
"""

import os
import shutil
import sys

import torch

from posenc import checks
from posenc.checks import ConfigError
from posenc.model.encoder import Encoder


def backend_of(compile: bool | str | None) -> str | None:
    """The backend of `trainer.compile`: None for null and false, inductor for true, otherwise the named backend.

    Raises ConfigError for a backend that torch does not have, and for inductor on a machine without a C++ compiler.
    """
    if compile is None or compile is False:
        return None
    backend = "inductor" if compile is True else compile
    checks.one_of("trainer", torch.compiler.list_backends(exclude_tags=()), compile=backend)
    if backend == "inductor" and compiler() is None:
        raise ConfigError(
            "trainer.compile=true needs a C++ compiler, but this machine has none; install g++ (or name a compiler in "
            "the environment variable CXX), or leave trainer.compile=null."
        )
    return backend


def compiler() -> str | None:
    """The C++ compiler that torch calls, or None."""
    return shutil.which(os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++"))


def compile_encoder(encoder: Encoder, backend: str) -> None:
    """Compile an encoder in place, if it is not compiled. Names of weights stay, so checkpoints fit.

    torch generates code at the first batch, and again at the second length; this code works for all lengths.
    """
    if encoder._compiled_call_impl is None:
        encoder.compile(backend=backend)
