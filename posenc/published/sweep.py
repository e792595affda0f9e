"""The verdict at the end of a sweep that tests a published claim."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, ListConfig

from posenc.checks import ConfigError
from posenc.config.effect import typed_words
from posenc.config.explain import no_option
from posenc.config.make import make
from posenc.config.mixtures import is_mixture
from posenc.published import write
from posenc.published.claim import PublishedClaim
from posenc.published.registry import ABOUT
from posenc.report.reading.ledger import without_how
from posenc.statistics.claims import Gate, Side
from posenc.terminal import TRAIN


def claim_of(config: DictConfig) -> PublishedClaim:
    """The claim that a sweep tests. Raises ConfigError if the claim cannot be judged."""
    claim = make(config, "claim", PublishedClaim)
    loader = GlobalHydra.instance().config_loader()
    for arm, words in claim.arms.items():
        for group in ABOUT:
            name, options = words.get(group), loader.get_group_options(group)
            if name is not None and name not in options and not is_mixture(str(name)):
                raise ConfigError(f"claim: arm {arm}: {no_option(group, str(name), options)}")
    lengths = config.dataset.test_lengths
    for side in (claim.judged.of, claim.judged.against, claim.judged.gate):
        if isinstance(side, Side | Gate) and isinstance(lengths, ListConfig) and side.at not in lengths:
            raise ConfigError(
                f"claim: arm {side.arm} is judged at length {side.at:g}, which is not tested; "
                f"dataset.test_lengths is {', '.join(map(str, lengths))}."
            )
    return claim


def judge(config: DictConfig, roots: Sequence[Path], folder: Path) -> None:
    """Judge the claim by the runs in `roots` (folders or tables), write its files, and print the verdict."""
    claim, name = claim_of(config), config.hydra.runtime.choices.get("claim")
    command = without_how(shlex.join([*TRAIN.split(), *typed_words(config.hydra)]))
    verdict, notes = write.judge(claim, str(name), roots, folder, command)
    print(f"{verdict.outcome}: {claim.judged.statement.rstrip('.')} ({write.told(claim, verdict)})")
    if notes:
        print(f"of the runs: {'; '.join(notes)}")
    print(f"page        {folder / write.PAGE}")
