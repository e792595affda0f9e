"""What TensorBoard shows beyond curves: charts of several layers, figures at the end, hyper-parameters of every run."""

from collections.abc import Iterator, Mapping
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure
from torch.utils.tensorboard.writer import SummaryWriter

from posenc import checks
from posenc.attention.bias import ByPairs, Dense
from posenc.attention.record import record_attention
from posenc.diagnostics.bias_curve import bias_curve
from posenc.streams import default_stream, generator
from posenc.training.loggers.board import tag, write_row
from posenc.training.module import SequenceModule

PROBES = 64
"""Sequences over which recorded attention is averaged."""


class TensorBoardExtras(L.Callback):
    """Charts by layer, attention maps, bias profile, similarity of position vectors, a row of the run's choices.

    hparams  the values to compare runs by in the HPARAMS tab
    figures  whether to draw; half a second for each run, which a sweep leaves out (`python -m posenc analyze` draws)
    """

    def __init__(self, hparams: Mapping[str, Any], figures: bool = True) -> None:
        checks.boolean(self, figures=figures)
        self.hparams, self.figures = dict(hparams), figures

    @staticmethod
    def _writers(trainer: L.Trainer) -> Iterator[SummaryWriter]:
        return (logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger))

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Lay out the charts that hold several curves; TensorBoard reads one layout, so other callbacks name theirs."""
        layout = {
            "beside what is achievable": {
                name: ["Multiline", [tag(f"validation/{name}")]] for name in ("accuracy", "skill", "bits")
            }
        }
        for callback in trainer.callbacks:  # pyright: ignore[reportAttributeAccessIssue]
            names = getattr(callback, "FAMILIES", ())
            if names:
                layout["by layer"] = layout.get("by layer", {}) | {
                    name: ["Multiline", [tag(f"{name}/layer_.*")]] for name in names
                }
        for writer in self._writers(trainer):
            writer.add_custom_scalars(layout)

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw what the trained model does.

        A run that was killed after its last step trains no more and has no end of training, but it is tested again.
        """
        assert isinstance(pl_module, SequenceModule)
        for writer in self._writers(trainer) if self.figures else ():
            for name, figure in draw(pl_module).items():
                writer.add_figure(name, figure, trainer.global_step)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A row for the HPARAMS tab: this run's choices and what they led to."""
        scores = {
            tag(name): value.item()
            for name, value in trainer.callback_metrics.items()
            if name.startswith("test/") and name.endswith(("accuracy", "skill", "loss"))
        }
        for writer in self._writers(trainer):
            write_row(writer, self.hparams, scores)


@torch.no_grad()
def draw(module: SequenceModule) -> dict[str, Figure]:
    """Figures of a model at its longest training length; an encoding that adds no bias or no vector has no such one."""
    from posenc.figures import (
        attention as figures,  # matplotlib takes most of a second, which runs without TensorBoard need not pay
    )

    encoder, length = module.encoder, module.task.length[1]
    tokens, _ = module.task.split("validation").sample(generator(0, "figures"), PROBES, length)
    was_training, device = module.training, module.device
    module.eval()
    with default_stream(0, "figures"), record_attention(encoder) as records:
        module(tokens.to(device))
        positions = module.place(tokens.to(device))
        origin = torch.zeros(1, positions.length, encoder.tokens.embedding_dim, device=device)
        vectors = encoder.encoding(0).embed(origin.expand(len(positions.ids), -1, -1), positions)[0]
    module.train(was_training)
    width = len(str(len(records)))
    names = [f"layer_{layer:0{width}}" for layer in range(1, len(records) + 1)]
    drawn = {
        f"attention/{name}": figures.attention_card(record.weights.mean(0), name.replace("_", " "))
        for name, record in zip(names, records, strict=True)
    }
    for name, record in zip(names, records[: len(encoder.encodings)], strict=False):
        if isinstance(record.bias, ByPairs):
            curve = bias_curve(record, positions)
            assert curve is not None  # as there is a bias
            drawn[f"bias/{name}"] = figures.bias_profile(curve.logits, curve.distances)
        elif record.bias is not None and not isinstance(record.bias, Dense):
            table = record.bias.table.mean((0, 2))
            drawn[f"bias/{name}"] = figures.bias_profile(table, positions.distances)
    if vectors.any():
        drawn["position_similarity"] = figures.position_similarity(vectors)
    return drawn
