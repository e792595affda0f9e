"""Questions at every token, of which later tokens show the answers."""

from dataclasses import dataclass

from posenc import checks
from posenc.checks import ConfigError
from posenc.tasks.base import Task


@dataclass(kw_only=True, eq=False, repr=False)
class LeftToRight(Task):
    """Every token is asked about what stands up to it; without a causal mask later tokens would show the answer."""

    causal: bool = True
    readout: str = "per_token"

    per_token = True
    needs_causal = True
    blind_masks = (True,)

    def __post_init__(self) -> None:
        checks.boolean(self, causal=self.causal)
        if not self.causal:
            raise ConfigError(f"{self}: later tokens would give the answer away; set dataset.causal=true.")
        super().__post_init__()
