"""A published result that many tasks share."""

FAILS_BEYOND_40 = (
    "a transformer trained up to length 40 does not generalise to lengths 41 to 500 with any of five encodings (none, "
    "sinusoidal, RoPE, ALiBi, Transformer-XL's; Delétang et al. 2023)"
)
