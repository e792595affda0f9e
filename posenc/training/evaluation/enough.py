"""When a test knows enough."""

from collections.abc import Mapping

SURE, LITTLE = 3, 20


def enough(scores: Mapping[str, float], error: float) -> bool:
    """Whether a test may end: its skill s has a standard error e for which

        e ≤ error    or    s + 3e < 20 · error

    The second is for models that have learned little or nothing, or do worse than an order-blind one: s is then known
    less exactly than elsewhere, and e, which is on record, says how well. s leans towards what ends a test, by less
    than e. False where skill is not defined: such a test reads all of its set.

    scores  those so far, with `skill` and `skill_standard_error` where they are defined
    """
    if "skill" not in scores:
        return False
    skill, deviation = scores["skill"], scores["skill_standard_error"]
    return deviation <= error or skill + SURE * deviation < LITTLE * error
