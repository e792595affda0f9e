"""Adds charts by layer, figures of the trained model, and a row of hyper-parameters to TensorBoard."""

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
"""The number of sequences over which attention is averaged."""


class TensorBoardExtras(L.Callback):
    """Charts by layer, attention maps, bias profiles, similarity of position vectors, and a row of the HPARAMS tab.

    hparams  the values by which the HPARAMS tab compares runs
    usual    defaults of train.py; a value that equals its default is not listed
    figures  whether to draw figures, which takes half a second. A sweep draws none; `python -m posenc analyze` draws
             those of a finished run
    """

    def __init__(
        self, hparams: Mapping[str, Any], figures: bool = True, usual: Mapping[str, Any] | None = None
    ) -> None:
        checks.boolean(self, figures=figures)
        usual = usual or {}
        self.hparams = {name: value for name, value in hparams.items() if name not in usual or usual[name] != value}
        self.figures = figures

    @staticmethod
    def _writers(trainer: L.Trainer) -> Iterator[SummaryWriter]:
        return (logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger))

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Define the charts with several curves of all callbacks, because TensorBoard reads only one layout."""
        layout = {
            "scores and ceilings": {
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
        """Draw the figures here, since a run that was killed after its last step is only tested again."""
        assert isinstance(pl_module, SequenceModule)
        for writer in self._writers(trainer) if self.figures else ():
            for name, figure in draw(pl_module).items():
                writer.add_figure(name, figure, trainer.global_step)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write this run's hyper-parameters and test scores as a row of the HPARAMS tab."""
        scores = {
            tag(name): value.item()
            for name, value in trainer.callback_metrics.items()
            if name.startswith("test/") and name.endswith(("accuracy", "skill", "loss"))
        }
        for writer in self._writers(trainer):
            write_row(writer, self.hparams, scores)


@torch.no_grad()
def draw(module: SequenceModule) -> dict[str, Figure]:
    """Figures of a model at its longest trained length; those of biases and vectors only if the encoding adds them."""
    from posenc.figures import attention as figures  # a late import, because matplotlib takes most of a second

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
            assert curve is not None
            drawn[f"bias/{name}"] = figures.bias_profile(curve.logits, curve.distances)
        elif record.bias is not None and not isinstance(record.bias, Dense):
            table = record.bias.table.mean((0, 2))
            drawn[f"bias/{name}"] = figures.bias_profile(table, positions.distances)
    if vectors.any():
        drawn["position_similarity"] = figures.position_similarity(vectors)
    return drawn
