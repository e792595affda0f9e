"""Facts about options in configs/encoding that build the class of another option with other arguments."""

from typing import Any

VARIANTS: dict[str, dict[str, Any]] = {
    "abacus": {"source": "https://arxiv.org/abs/2405.17399", "proof": ("formula",)},
    "log_bias": {"source": "https://arxiv.org/abs/2111.09883"},
    "music_transformer": {"source": "https://arxiv.org/abs/1809.04281"},
    "p_rope": {"source": "https://arxiv.org/abs/2410.06205", "proof": ("transformers", "formula")},
    "rope_half": {"proof": ("transformers", "formula")},
    "rope_partial": {"source": "https://arxiv.org/abs/2204.06745", "proof": ("transformers", "formula")},
    "shaw_keys": {"proof": ("transformers", "formula")},
    "sinusoidal_half": {"proof": ("transformers", "x-transformers")},
}
"""{option: attributes that differ from those of its class}, for options that share a class."""
