"""Questions about deep stacks: freshly initialised encoders in float64, many seeds; small trainings where it must be.

A study is one file and its figure another; an experiment's yaml names its arms, its claims and how much of it each
profile measures. `python train.py experiment=rank_collapse profile=quick`.
"""
