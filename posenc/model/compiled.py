"""torch.compile of an encoder: with which backend, and whether that can work on this machine.

What is compiled rounds otherwise, so that a compiled run is another run (`posenc.runs.identity`). torch.compile cannot
trace a backward pass of our own: a bias is then computed by its definition, and attention by torch's
`scaled_dot_product_attention` (`posenc.attention.kernels.choose`). `python -m posenc benchmark --only compile` shows
for each encoding how many graphs torch makes of it, and what is gained.
"""

import os
import shutil
import sys

import torch

from posenc import checks
from posenc.checks import ConfigError
from posenc.model.encoder import Encoder


def backend_of(compile: bool | str | None) -> str | None:
    """The backend that `trainer.compile` names: None for none, true for inductor, else one that torch has.

    ConfigError for a word that torch does not know, and for inductor on a machine without a C++ compiler.
    """
    if compile is None or compile is False:
        return None
    backend = "inductor" if compile is True else compile
    checks.one_of("trainer", torch.compiler.list_backends(exclude_tags=()), compile=backend)
    if backend == "inductor" and compiler() is None:
        raise ConfigError(
            "trainer.compile=true needs a C++ compiler and this machine has none; install g++ (or name a compiler in "
            "the environment variable CXX), or leave trainer.compile=null."
        )
    return backend


def compiler() -> str | None:
    """The C++ compiler that torch calls, or None."""
    return shutil.which(os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++"))


def compile_encoder(encoder: Encoder, backend: str) -> None:
    """Compile it in place, once; names of weights stay, so that a checkpoint fits both.

    Code is generated at the first batch, again at the second length, and from then on for any length.
    """
    if encoder._compiled_call_impl is None:
        encoder.compile(backend=backend)
