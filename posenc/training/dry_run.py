"""A dry run before training, so that mistakes raise an error before any work starts."""

import torch

from posenc.attention.kernels import choose
from posenc.attention.layer import SelfAttention
from posenc.checks import ConfigError, UndefinedAtLength
from posenc.streams import default_stream
from posenc.training.divergence import ran_out
from posenc.training.module import SequenceModule


@torch.no_grad()
def dry_run(module: SequenceModule, device: torch.device) -> None:
    """Make the optimizer, and compute one forward pass for each length. Raises ConfigError for what cannot work.

    The forward pass runs on the device of the weights; `device` is the device of the training.

    The encoding or the position scheme may not be defined at a test length above the trained lengths. Such a length
    is not tested: it goes into `module.undefined` with the reason.
    """
    try:
        module.optimizer(module.parameters())
    except (TypeError, ValueError) as error:
        raise ConfigError(f"optimizer: {error}.") from error
    for layer in module.modules():
        if isinstance(layer, SelfAttention):
            choose.check_training(layer.attention, device)
    with default_stream(module.seed, "dry run"):
        for length in sorted(module.ceilings):
            try:
                module.answer(module.task.sample(torch.default_generator, 1, length))
            except UndefinedAtLength as error:
                if length <= module.task.length[1]:
                    raise
                module.undefined[length] = str(error)
            except (RuntimeError, MemoryError) as error:
                if not ran_out(error):
                    raise
                raise ConfigError(
                    f"one sequence of length {length} does not fit into the memory; lower dataset.length, leave it "
                    "out of dataset.test_lengths, or lower model.dim."
                ) from error
