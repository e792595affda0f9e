"""The test of a module: its score at each test length. It is used after training and for finished runs."""

from typing import Any

import lightning as L

from posenc.statistics.length import summarise
from posenc.training.data import SequenceData
from posenc.training.dry_run import dry_run
from posenc.training.module import SequenceModule


def make_ready(module: SequenceModule, data: SequenceData, trainer: L.Trainer) -> None:
    """Make a dry run, convert weights to the trainer's precision, and drop test lengths without a defined encoding."""
    dry_run(module, trainer.strategy.root_device)
    if str(trainer.precision).endswith("-true"):  # Lightning would convert after loading a checkpoint
        trainer.strategy.precision_plugin.convert_module(module)
    data.test_lengths = module.test_lengths


def run_test(module: SequenceModule, data: SequenceData, trainer: L.Trainer) -> dict[str, Any]:
    """The scores at every test length, and summaries of the lengths that were not trained."""
    trainer.test(module, datamodule=data, verbose=False)
    table: dict[str, dict[str, float]] = {}
    for name, value in trainer.callback_metrics.items():
        if name.startswith("test/"):
            _, length, score = name.split("/")
            table.setdefault(length, {})[score] = value.item()
    for length, scores in table.items():
        scores["sequences"] = data.used(int(length))
    task = module.task
    skills = {length: table.get(str(length), {}).get("skill") for length in task.test_lengths}
    return {
        "test": table,
        "undefined": {str(length): reason for length, reason in sorted(module.undefined.items())},
        "length_generalization": summarise(task.length[1], skills),
    }


def achievable(module: SequenceModule) -> dict[str, Any]:
    """The ceilings at every length and the task's references."""
    return {
        "ceilings": {
            str(length): {"order_blind": blind, "order_aware": aware}
            for length, (blind, aware) in sorted(module.ceilings.items())
        },
        "references": module.references,
    }
