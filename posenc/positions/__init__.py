"""Where tokens are: ids and lengths (`Positions`), and how ids are given in training and at test (`schemes`)."""

from posenc.positions.positions import Positions

__all__ = ["Positions"]
