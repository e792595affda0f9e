"""How a run ends: the criterion for its end, and the learning rate until then."""
