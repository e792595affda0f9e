"""Run folders: their files, their lock, and the identity of a run. Needs no torch."""
