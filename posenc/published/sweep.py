"""The verdict at the end of a sweep that tests a published claim."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from posenc.config.effect import typed_words
from posenc.config.make import make
from posenc.published import write
from posenc.published.claim import PublishedClaim
from posenc.report.reading.ledger import without_how
from posenc.terminal import TRAIN


def claim_of(config: DictConfig) -> PublishedClaim:
    """The claim that a sweep tests. Raises ConfigError if the claim cannot be judged."""
    return make(config, "claim", PublishedClaim)


def judge(config: DictConfig, roots: Sequence[Path], folder: Path) -> None:
    """Judge the claim by the runs in `roots` (folders or tables), write its files, and print the verdict."""
    claim, name = claim_of(config), config.hydra.runtime.choices.get("claim")
    command = without_how(" ".join([TRAIN, *typed_words(config.hydra)]))
    verdict, notes = write.judge(claim, str(name), roots, folder, command)
    print(f"{verdict.outcome}: {claim.judged.statement.rstrip('.')} ({write.told(verdict)})")
    if notes:
        print(f"of the runs: {'; '.join(notes)}")
    print(f"page        {folder / write.PAGE}")
