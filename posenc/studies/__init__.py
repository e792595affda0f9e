"""Studies of deep encoders: at initialisation in float64 with many seeds, and after short trainings.

A study is one file. The yaml of its experiment names its arms, its claims and the size of each profile:
`python train.py experiment=rank_collapse profile=quick`.
"""
