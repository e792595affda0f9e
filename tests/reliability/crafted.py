"""Everything of inputs.py against everything that reads it: how much was tried, refused, and executed (0).

python -m tests.reliability.crafted
"""

import contextlib
import io
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

import train
from posenc import report
from posenc.checks import ConfigError
from posenc.config.build import build_module
from posenc.config.make import KINDS, make
from posenc.jobs.launch import launch
from posenc.trained.load import load
from posenc.training.checkpoints import check_checkpoint
from tests.reliability import inputs
from tests.report.conftest import settings

TINY = (
    "encoding=rope", "dataset=distance", "dataset.length=8", "dataset.test_lengths=[8]", "model.dim=8",
    "model.num_heads=2", "model.num_layers=1", "data.batch_size=4", "data.eval_size=16", "trainer.max_steps=2",
    "trainer.validate_every=2", "trainer.precision=32-true", "callbacks=quiet", "~logger",
)  # fmt: skip
Tried = tuple[str, str, str]
"""What, which, and what became of it: `refused`, `harmless`, `executed`, or `raised` what no user should see."""


class Bench:
    """A finished run in a folder, without training; and the file that must not appear."""

    def __init__(self, root: Path) -> None:
        self.root, self.mark, self.run = root, root / "mark", root / "run"
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(train.CONFIGS), version_base="1.3"):
            config = compose("train", overrides=[*TINY, "name=x"])
        self.module = build_module(config, make(config, "dataset"))
        plain: Any = OmegaConf.to_container(config, resolve=True)
        self.config: dict[str, Any] = plain
        row = {"accuracy": 0.5, "accuracy_standard_error": 0.1, "loss": 0.7, "bits": 1.0, "skill": 0.2}
        self.result: dict[str, Any] = {
            "schema": 2, "status": "completed", "error": None, "encoding": "rope", "positions": "contiguous",
            "dataset": "distance", "seed": 0, "config_hash": "x", "command": "python train.py", "test": {"8": row},
            "undefined": {}, "ceilings": {"8": {"order_blind": 0.2, "order_aware": 1.0}}, "trained_lengths": [8, 8],
            "references": {}, "parameters": 9, "encoding_parameters": 0,
            "steps": 2, "seconds": 1.0, "tokens_per_second": 9,
            "length_generalization": {"aulc": None, "k50": None, "tested_to": 1.0}, "versions": {"torch": "2"},
        }  # fmt: skip
        inputs.write(self.run, self.config, self.result)
        (self.run / "checkpoints").mkdir()
        torch.save({"state_dict": self.module.state_dict()}, self.run / "checkpoints" / "last.ckpt")

    def outcome(self, attempt: Callable[[], Any]) -> str:
        """What becomes of one attempt."""
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
                attempt()
            found = "harmless"
        except ConfigError as error:
            found = "refused" if str(error) and "Traceback" not in str(error) else "raised no sentence"
        except SystemExit as stop:
            found = "refused" if stop.code and "Traceback" not in said.getvalue() else "harmless"
        except Exception as error:
            found = f"raised {type(error).__name__}: {str(error)[:100]}"
        if self.mark.exists():
            self.mark.unlink()
            return "executed"
        return found

    def analyze(self, config: dict[str, Any] | str | None = None, result: Any = None, weights: bytes = b"") -> str:
        """Of `posenc.analysis`, as far as anything is read; the whole folder is fresh each time."""
        folder = self.root / "foreign"
        shutil.copytree(self.run, folder)
        inputs.write(folder, self.config if config is None else config, self.result if result is None else result)
        if weights:
            (folder / "checkpoints" / "last.ckpt").write_bytes(weights)
        try:
            return self.outcome(lambda: load(folder))
        finally:
            shutil.rmtree(folder)

    def train(self, *words: str) -> str:
        """Of `python train.py`."""

        def attempt() -> None:
            GlobalHydra.instance().clear()
            sys.argv[:] = ["train.py", *words, *TINY]
            launch(train.main, train.CONFIGS)

        before = sys.argv[:]
        try:
            return self.outcome(attempt)
        finally:
            sys.argv[:] = before


def pickles(bench: Bench, whole: bool = False) -> Iterator[Tried]:
    """Checkpoints, to ckpt_path= and to posenc.analysis; where `whole`, through train.py and by going on too."""
    for name, data in inputs.pickles(bench.mark).items():
        path = bench.root / "crafted.ckpt"
        path.write_bytes(data)
        yield "pickle, ckpt_path", name, bench.outcome(lambda path=path: check_checkpoint(str(path), bench.module))
        yield "pickle, analyze", name, bench.analyze(weights=data)
        if whole:
            fresh = f"hydra.run.dir={bench.root / 'fresh'}"
            yield "pickle, train.py", name, bench.train(f"ckpt_path={path}", fresh)
            shutil.rmtree(bench.root / "fresh", ignore_errors=True)


def resumed(bench: Bench) -> Iterator[Tried]:
    """Checkpoints in a folder of a run that was stopped: it trains from the start."""
    folder = bench.root / "resumed"
    for name, data in inputs.pickles(bench.mark).items():
        bench.train(f"hydra.run.dir={folder}")
        (folder / "result.json").unlink()
        (folder / "checkpoints" / "last.ckpt").write_bytes(data)
        yield "pickle, going on", name, bench.train(f"hydra.run.dir={folder}")
        shutil.rmtree(folder)


def targets(bench: Bench, groups: tuple[str, ...] = ("encoding",)) -> Iterator[Tried]:
    """Targets in a record, in each of these groups."""
    for group in groups:
        for name, node in inputs.targets(bench.mark).items():
            given = {"own": node} if group in ("callbacks", "logger") else node
            config = OmegaConf.create(bench.config | {group: given})
            yield f"target, {group}", name, bench.outcome(lambda c=config, g=group: make(c, g, trusted=False))
    for name, node in inputs.targets(bench.mark).items():
        yield "target, analyze", name, bench.analyze(bench.config | {"encoding": node})


def records(bench: Bench) -> Iterator[Tried]:
    """YAML in place of a record, to posenc.analysis and to the report; and values that ask what the machine knows."""
    for name, text in inputs.yamls(bench.mark).items():
        yield "YAML, analyze", name, bench.analyze(text)
        inputs.write(bench.root / "reported", text, bench.result)
        (bench.root / "reported" / "multirun.yaml").write_text(text)
        yield "YAML, report", name, bench.outcome(lambda: report.write([bench.root / "reported"]))
        shutil.rmtree(bench.root / "reported")
    for value in ("${oc.env:HOME}", "${oc.decode:'{_target_: os.system}'}", "${seed}", "\\${x}"):
        yield "YAML, analyze", value, bench.analyze(bench.config | {"name": value})


def names(bench: Bench, chosen: tuple[str, ...] = inputs.NAMES) -> Iterator[Tried]:
    """Names in every place of a record, to the report; where several are given, all in one report."""
    folder = bench.root / "named"
    for seed, name in enumerate(chosen):  # six in each dataset, whose name is one of them
        for other, encoding in enumerate((name, "none")):
            config = settings("rope", "pattern", "contiguous", seed) | {"encoding": {"_target_": name, name: name}}
            words = {
                "encoding": encoding,
                "positions": chosen[seed - seed % 6],
                "command": name,
                "error": name,
                "config_hash": name,
            }
            words |= {"dataset": chosen[seed - seed % 6], "versions": {name: name}, "references": {name: 1.0}}
            inputs.write(folder / f"{seed}_{other}", config, bench.result | words)
    yield "name, report", f"{len(chosen)} names", bench.outcome(lambda: report.write([folder], bench.root / "page"))
    shutil.rmtree(folder)


def values(bench: Bench, every: int = 1) -> Iterator[Tried]:
    """Values in every place of a result, to posenc.analysis and to the report, `every` so many in one report."""
    for name, result in list(inputs.spoiled(bench.result))[::every]:
        yield "value, analyze", name, bench.analyze(result=result)
        inputs.write(bench.root / "valued", bench.config, result)
        inputs.write(bench.root / "valued" / "other", bench.config, bench.result | {"seed": 1, "encoding": "none"})
        yield "value, report", name, bench.outcome(lambda: report.write([bench.root / "valued"]))
        shutil.rmtree(bench.root / "valued")


def main() -> None:
    """Try it all and count."""
    os.environ["COLUMNS"] = "120"
    began, counts, odd = time.perf_counter(), Counter[tuple[str, str]](), []
    with tempfile.TemporaryDirectory() as root:
        bench = Bench(Path(root))
        groups = tuple(group for group in KINDS if group != "trainer")
        for part in (pickles(bench, whole=True), resumed(bench), targets(bench, groups), records(bench),
                     *(names(bench, (name,)) for name in inputs.NAMES), names(bench), values(bench, 7)):  # fmt: skip
            for what, which, became in part:
                counts[what, became.partition(" ")[0]] += 1
                if became.startswith(("raised", "executed")):
                    odd.append(f"{what}: {which}: {became}")
    for what in sorted({what for what, _ in counts}):
        print(f"{what:24}" + "  ".join(f"{n} {became}" for (kind, became), n in sorted(counts.items()) if kind == what))
    print(*odd, sep="\n")
    total = Counter(became for (_, became), n in counts.items() for _ in range(n))
    print(f"{sum(total.values())} tried, {total['refused']} refused, {total['harmless']} read as text or left out, "
          f"{total['raised']} raised, {total['executed']} executed; {time.perf_counter() - began:.0f} s")  # fmt: skip
    sys.exit(bool(odd))


if __name__ == "__main__":
    main()
