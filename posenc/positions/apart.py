"""Positions of tokens after other tokens, of keys from another sequence, and of exchanged queries and keys."""

from dataclasses import replace

import torch

from posenc.checks import ConfigError
from posenc.positions.positions import Positions


def then(past: Positions, more: Positions | int) -> Positions:
    """Positions of `past` and of more tokens: those of `more`, or `more` tokens that follow in the last document."""
    follows = isinstance(more, int)
    if isinstance(more, int):
        ids = past.ids[:, -1:] + torch.arange(1, more + 1, device=past.ids.device)
        documents = None if past.documents is None else past.documents[:, -1:].expand_as(ids)
        more = replace(past, ids=ids, span=past.span + more, documents=documents, known=True)
    parts = (past, more)
    batch = max(len(part.ids) for part in parts)
    documents = {part.documents is None for part in parts}
    if past.scale != more.scale or len(documents) > 1 or any(len(part.ids) not in (1, batch) for part in parts):
        raise ConfigError(
            f"Positions: {len(more.ids)} sequences at scale {more.scale:g} cannot follow {len(past.ids)} at scale "
            f"{past.scale:g}; give all tokens of a sequence the same scale, and documents to all of them or to none."
        )
    ids = torch.cat([part.ids.expand(batch, -1) for part in parts], 1)
    kept = [part.documents.expand(batch, -1) for part in parts if part.documents is not None]
    return replace(
        past, ids=ids, span=max(past.span, more.span), documents=torch.cat(kept, 1) if kept else None,
        consecutive=past.consecutive and follows, known=True,
    )  # fmt: skip


def across(queries: Positions, keys: Positions) -> Positions:
    """Positions for cross-attention: the keys are another sequence, without order between queries and keys."""
    span = max(queries.span, keys.span)
    keys = replace(keys, span=span, known=True)
    return replace(queries, span=span, consecutive=False, keys=keys, known=True)


def transposed(positions: Positions) -> Positions:
    """Exchange queries and keys."""
    if positions.keys is None:
        return positions
    queries = replace(positions, keys=None, among=False, consecutive=False, known=True)
    return replace(positions.keys, keys=queries, consecutive=False, known=True)
