"""Computes sentences about the runs, also if the runs show nothing yet.

The best arm is compared with every other arm on common seeds. It is the winner if it is better than each of them, after
a correction for every comparison of the report (see judge.py). Otherwise it shares the top with the arms that it does
not beat: they are equal, they tie, or their order is undecided. A large p is never taken as equality. Further sentences
name lost runs, arms that are not compared and why, and longer test lengths at which the arms differ.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from posenc import statistics
from posenc.report.numbers.facets import Facet, clipped
from posenc.report.numbers.judge import SHARE, Judgement, Pair
from posenc.report.numbers.meetings import Key, Meeting
from posenc.report.numbers.next_runs import Advice, Open, still_open
from posenc.report.words import bounds, estimate, fixed, listing, probability, share, tally
from posenc.terminal import count

MANY = 40
"""A number larger than the number of arms, so that a list shows all names."""
WORTH = 0.1
"""A length at which the best skill is below this gets no sentence."""


@dataclass(frozen=True)
class Finding:
    """Some sentences, and the kind of their answer."""

    kind: str
    """nothing, alone, winner, equal, tie, undecided, several."""
    text: str
    label: str = ""
    """A warning if there are too few seeds."""
    seeds: int = 0
    """The smallest number of seeds of the named arms."""
    phrase: str = ""
    """The subject."""
    lost: tuple[str, ...] = ()
    """Runs that count as failures, by arm."""
    left_out: tuple[str, ...] = ()
    """Arms that are not compared or lack seeds, with the reason."""
    open: tuple[Open, ...] = field(default=(), compare=False)
    """The leading comparisons that are not decided."""
    advice: Advice | None = None
    """What to run next."""

    def __str__(self) -> str:
        label = f"{self.label[0].upper()}{self.label[1:]}." if self.label else ""
        return " ".join(filter(None, [self.text, label, str(self.advice or "")]))


def of_facet(facet: Facet, found: Sequence[Meeting], judged: Judgement[Key]) -> list[Finding]:
    """The findings for one dataset and position scheme: one for each setting in which encodings are compared."""
    if not found:
        states = Counter(item.run.status for item in facet.members if item.counted)
        lost = tuple(f"{number} {status}" for status, number in sorted(states.items()))
        text = f"On {facet.phrase} nothing can be said yet, because {_no_scores(states)}."
        return [Finding("nothing", text, phrase=facet.phrase, lost=lost if set(states) - {"completed"} else ())]
    return [of_meeting(one, judged) for one in found]


def of_meeting(meeting: Meeting, judged: Judgement[Key]) -> Finding:
    """The finding of one meeting."""
    arms = meeting.arms
    best = arms[0]
    sentences, lost, left_out = _beside(meeting)
    pairs = {other: pair for other in arms[1:] if (pair := meeting.pair(judged, best, other)) is not None}
    seeds = min((pair.difference.n for pair in pairs.values()), default=len(meeting.values[meeting.length][best]))
    if not pairs:
        kind, text = "alone", _alone(meeting, best)
    elif all(pair.kind == "none" for pair in pairs.values()):
        kind, text = "nothing", _too_few(meeting, arms, max(pair.difference.n for pair in pairs.values()))
    else:
        kind, text = _verdict(meeting, pairs, judged.delta)
    text = " ".join(filter(None, [text, *sentences, _further(meeting, judged, kind, pairs)]))
    open_ = still_open([meeting.place], f"at length {meeting.length}", best, pairs) + _longest(meeting, judged)
    return Finding(kind, text, statistics.label(seeds), seeds, meeting.phrase, lost, left_out, tuple(open_))


def _longest(meeting: Meeting, judged: Judgement[Key]) -> list[Open]:
    """The leading comparison at the longest length, if it is open and an arm is any good there."""
    length = max(n for n in meeting.values if meeting.at(n))
    arms = meeting.at(length)
    if length == meeting.length or (meeting.metric == "skill" and meeting.mean(arms[0], length) < WORTH):
        return []
    pairs = {arm: pair for arm in arms[1:] if (pair := meeting.pair(judged, arms[0], arm, length)) is not None}
    return still_open([meeting.place], f"at length {length}", arms[0], pairs)


def _beside(meeting: Meeting) -> tuple[list[str], tuple[str, ...], tuple[str, ...]]:
    """(sentences about arms that are lost, lack seeds or are not compared; lost runs; other arms left out)."""
    sentences: list[str] = []
    lost = tuple(f"{arm} {states}" for arm, states in meeting.lost.items())
    if lost:
        worst = "the most bits of any run" if meeting.lower else f"{meeting.metric} 0"
        if meeting.metric == "accuracy":
            worst = "the accuracy of chance, as far as it is known"
        sentences.append(f"Runs that were lost count as {worst}: {listing(lost, MANY)}.")
    lacking = [f"{arm} lacks {why}" for arm, why in meeting.lacking.items()]
    if lacking:
        sentences.append(f"Not every arm has every seed: {'; '.join(lacking)}.")
    reasons = {why: [arm for arm in meeting.apart if meeting.apart[arm] == why] for why in meeting.apart.values()}
    apart = [f"{listing(arms, MANY)} ({why})" for why, arms in reasons.items()]
    if apart:
        sentences.append(f"Not compared: {'; '.join(apart)}.")
    return sentences, lost, (*lacking, *apart)


def _score(meeting: Meeting, arm: str, length: int | None = None) -> str:
    length = meeting.length if length is None else length
    found = statistics.mean_interval(list(meeting.values[length][arm].values()))
    reach, most = meeting.reach.get(length), None if meeting.lower else 1.0
    low = 0.0 if meeting.lower else None if reach is None else 1.0 - reach
    return estimate(clipped(found, (low, most)))


def _alone(meeting: Meeting, best: str) -> str:
    seeds = count(len(meeting.values[meeting.length][best]), "seed")
    text = f"On {meeting.phrase} nothing can be compared yet, because {best} is the only encoding with a result"
    if meeting.apart:
        text = f"On {meeting.phrase} nothing can be compared, because no other arm can be held against {best}"
    return f"{text}: {meeting.measure} {_score(meeting, best)} ({seeds})."


def _too_few(meeting: Meeting, arms: Sequence[str], most: int) -> str:
    best, length = arms[0], meeting.length
    level = [arm for arm in arms[1:] if abs(meeting.mean(arm, length) - meeting.mean(best, length)) < 0.0005]
    word = "lowest" if meeting.lower else "highest"
    has = "has" if not level else "have"
    top = f"{listing([best, *level], 2)} {has} the {word} {meeting.measure}, {_score(meeting, best)}"
    why = "there is one seed" if most == 1 else f"there are only {most} seeds"
    text = f"On {meeting.phrase} nothing can be said yet, because {why} and differences have no interval "
    return text + f"({top}, which is no evidence): three seeds give an interval, ten a verdict."


def _no_scores(states: Counter[str]) -> str:
    if not states:
        return "its runs cannot be told apart and are refused"
    if set(states) == {"completed"}:
        return "no result holds a score"
    return f"none of its {count(states.total(), 'run')} completed ({tally(states)})"


def _verdict(meeting: Meeting, pairs: dict[str, Pair], delta: float) -> tuple[str, str]:
    """(kind, sentence) of a meeting whose differences have intervals."""
    best, word = meeting.arms[0], "lowest" if meeting.lower else "highest"
    level = {other: pair for other, pair in pairs.items() if pair.kind != "better"}
    own = len(meeting.values[meeting.length][best])
    head = f"On {meeting.phrase}, {best} has the {word} {meeting.measure}, {_score(meeting, best)} "
    of_them = f", of which {meeting.lost[best]}" if best in meeting.lost else ""
    head += f"({count(own, 'seed')}{of_them})"
    base = meeting.baseline.get(best)
    nearest = next(iter(pairs))
    against = f", and {base} by {lead(pairs[base])}" if base in pairs and base not in (*level, nearest) else ""
    solved = _solved(meeting, [best, *(level or [nearest])])
    if not level:
        every = "it beats every other encoding"
        every = f"it beats each of the {len(pairs)} others that are compared" if meeting.apart else every
        beats = f"{every}, the next, {nearest} by {lead(pairs[nearest])}{against}" if len(pairs) > 1 else ""
        return "winner", f"{head}: {beats or f'it beats {nearest} by {lead(pairs[nearest])}'}{solved}."
    rest = [other for other in pairs if other not in level]
    beaten = f"; {best} beats all others{against}" if rest else ""
    if len(rest) == 1:
        beaten = f"; {best} beats {rest[0]} by {lead(pairs[rest[0]])}"
    kinds = {pair.kind for pair in level.values()}
    if kinds <= {"equal", "tie"}:
        names = [best, *level]
        scores = listing([_score(meeting, name) for name in names], 3)
        fewest = min(pair.difference.n for pair in level.values())
        seeds = f"{meeting.metric} {scores}; {count(fewest, 'seed')}"
        if kinds == {"equal"}:
            text = (
                f"On {meeting.phrase}, {listing(names, MANY)} are equal within ±{delta:g} at length {meeting.length} "
            )
            text += f"({seeds}): the interval of every difference lies inside, and on fewer than one seed in "
            return "equal", f"{text}{1 / SHARE:g} they can differ grossly{beaten}{solved}."
        most = max(pair.unseen for pair in level.values())
        text = f"On {meeting.phrase}, {listing(names, MANY)} tie at length {meeting.length} ({seeds}): their mean "
        text += f"{meeting.metric} differs by less than {delta:g}, but {count(fewest, 'seed')} cannot exclude a larger "
        text += f"difference on up to {most:.0%} of all seeds"
        return "tie", f"{text}{beaten}{solved}."
    return "undecided", _undecided(meeting, pairs, level, head) + f"{beaten}{solved}."


def _undecided(meeting: Meeting, pairs: dict[str, Pair], level: dict[str, Pair], head: str) -> str:
    unclear = [other for other, pair in level.items() if not pair.clear]
    ties = [other for other, pair in level.items() if pair.kind in ("equal", "tie")]
    if not unclear:
        near = next(other for other in level if other not in ties)
        fewest = min(pair.difference.n for pair in level.values())
        tied = f", in a tie with {listing(ties, MANY)}" if ties else ""
        text = f"{head}{tied}, ahead of {near} by {lead(level[near])}: the intervals leave 0 out, but "
        return text + f"{count(fewest, 'seed')} cannot confirm it among all that this report compares"
    near = next(other for other in unclear)
    text = f"{head}, but it is undecided whether it is better than {listing(list(level), MANY)}: "
    return text + f"{'ahead of' if level[near].gain >= 0 else 'on common seeds behind'} {near} by {lead(level[near])}"


def _solved(meeting: Meeting, names: Iterable[str]) -> str:
    """Success rates, if some seeds of an arm solved the task and others did not."""
    if meeting.metric != "skill":
        return ""
    rates = {
        name: statistics.success_rate([*meeting.values[meeting.length][name].values()], statistics.SOLVED)
        for name in names
    }
    if not any(0 < rate.estimate < 1 for rate in rates.values()):
        return ""
    return f"; solved: {listing([f'{name} {share(rate)}' for name, rate in rates.items()])}"


def lead(one: Pair) -> str:
    """The lead with its interval, positive for the better arm."""
    found = bounds(one.difference)
    turned = one.gain < 0
    size = fixed(abs(one.gain))
    if found is None:
        return size
    low, high = (-found[1], -found[0]) if one.lower != turned else found
    p = f", p = {probability(one.corrected)} corrected".replace("= <", "<") if one.corrected is not None else ""
    return f"{size} [{fixed(low)}, {fixed(high)}]{p}"


def _further(meeting: Meeting, judged: Judgement[Key], kind: str, pairs: dict[str, Pair]) -> str:
    """The longest test length at which the arms at the top differ by more than δ, or at which another arm leads."""
    if not pairs:
        return ""
    best = meeting.arms[0]
    focus = [best, *pairs]
    if kind not in ("winner", "nothing"):
        focus = [best, *(other for other, pair in pairs.items() if pair.kind not in ("better", "none"))]
    if kind == "nothing":
        near = meeting.mean(best, meeting.length)
        focus = [arm for arm in focus if abs(meeting.mean(arm, meeting.length) - near) <= judged.delta]
    for length in sorted((n for n in meeting.values if n > meeting.length), reverse=True):
        arms = meeting.at(length, focus)
        if not arms or (meeting.metric == "skill" and meeting.mean(arms[0], length) < WORTH):
            continue
        gaps = [abs(meeting.mean(arm, length) - meeting.mean(arms[0], length)) for arm in arms[1:]]
        behind = [arm for arm, gap in zip(arms[1:], gaps, strict=True) if gap > judged.delta]
        if not behind or (kind == "winner" and (arms[0] == best or best not in behind)):
            continue
        return _at_length(meeting, judged, length, arms, behind, best if kind == "winner" else "")
    return ""


def _at_length(
    meeting: Meeting, judged: Judgement[Key], length: int, arms: Sequence[str], behind: Sequence[str], turned: str
) -> str:
    top = arms[0]
    rivals = [turned] if turned else list(behind)
    shown = [f"{arm} {fixed(meeting.mean(arm, length))}" for arm in rivals]
    verb = "needs" if meeting.lower else "keeps"
    start = f"At length {length} the order is another: {top}" if turned else f"At length {length} {top}"
    text = f"{start} {verb} {listing([fixed(meeting.mean(top, length)), *shown])}"
    pairs = {arm: meeting.pair(judged, top, arm, length) for arm in rivals}
    sure = [arm for arm, pair in pairs.items() if pair is not None and pair.kind == "better"]
    known = [pair.corrected for pair in pairs.values() if pair is not None and pair.corrected is not None]
    if not known:
        return f"{text}, which so few seeds cannot confirm."
    if len(sure) == len(rivals):
        return f"{text} (p {_at_most(max(known))} corrected)."
    return f"{text} ({'the order is undecided' if not sure else f'certain against {listing(sure)} only'})."


def _at_most(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"≤ {p:.3f}"
