"""Verdict on a claim from the intervals of its comparisons."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from amir_lightning.claims.comparisons import Comparison
from amir_lightning.claims.intervals import Interval, simultaneous
from amir_lightning.claims.rules import Claim

Verdict = Literal["supported", "contradicted", "undecided", "not run"]


@dataclass(frozen=True)
class Judged:
    """A claim with its verdict.

    Attributes:
        claim: The claim.
        comparisons: Its comparisons.
        intervals: Interval of each comparison; empty if one of them is missing.
        verdict: The verdict.
    """

    claim: Claim
    comparisons: Sequence[Comparison]
    intervals: Sequence[Interval]
    verdict: Verdict

    @property
    def deciding(self) -> int:
        """Position of the comparison that speaks most against the claim.

        It is the one whose advantage is the fewest half widths of its interval above the margin.
        """
        return min(range(len(self.intervals)), key=lambda at: self._strength(self.intervals[at]))

    def _strength(self, interval: Interval) -> float:
        advantage, half = interval.value - self.claim.margin, interval.high - interval.value
        return advantage / half if half else math.copysign(math.inf, advantage)


def judge(claim: Claim, found: Sequence[Comparison], bootstrap: int) -> Judged:
    """Judge a claim, which is right only if all its comparisons are.

    Args:
        claim: The claim.
        found: Its comparisons.
        bootstrap: Resamples of the patients.
    """
    if any(one.missing for one in found):
        return Judged(claim, found, [], "not run")
    intervals = simultaneous(found, bootstrap)
    verdict: Verdict = "undecided"
    if all(one.low > claim.margin for one in intervals):
        verdict = "supported"
    elif any(one.high <= claim.margin for one in intervals):
        verdict = "contradicted"
    return Judged(claim, found, intervals, verdict)
