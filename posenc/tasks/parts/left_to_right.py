"""Tasks with a question at every token about the tokens so far."""

from dataclasses import dataclass

from posenc import checks
from posenc.checks import ConfigError
from posenc.tasks.base import Task


@dataclass(kw_only=True, eq=False, repr=False)
class LeftToRight(Task):
    """Every token is asked about the tokens so far. Later tokens show the answer, so the task needs a causal mask."""

    causal: bool = True
    readout: str = "per_token"

    per_token = True
    needs_causal = True
    blind_masks = (True,)

    def __post_init__(self) -> None:
        checks.boolean(self, causal=self.causal)
        if not self.causal:
            raise ConfigError(f"{self}: later tokens contain the answers; set dataset.causal=true.")
        super().__post_init__()
