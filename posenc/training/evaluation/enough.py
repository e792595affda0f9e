"""When a test has read enough sequences."""

from collections.abc import Mapping

SURE, LITTLE = 3, 20


def enough(scores: Mapping[str, float], error: float) -> bool:
    """Whether a test may end. Its skill s has a standard error e, and the condition is

        e ≤ error    or    s + 3e < 20 · error

    The second part is for models that have learned little, or that are worse than an order-blind model. Their s is then
    less exact, but e is recorded too. Ending a test by this rule biases s by less than e. If skill is not defined, the
    result is False, and the test reads its whole set.

    scores  the scores so far, with `skill` and `skill_standard_error` if they are defined
    """
    if "skill" not in scores:
        return False
    skill, deviation = scores["skill"], scores["skill_standard_error"]
    return deviation <= error or skill + SURE * deviation < LITTLE * error
