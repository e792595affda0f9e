"""How a run ends: when it is done, and the learning rate that takes it there."""
