"""Simultaneous intervals, and verdicts, where the answer is known."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from amir_lightning.claims.comparisons import Comparison
from amir_lightning.claims.intervals import simultaneous
from amir_lightning.claims.rules import Claim
from amir_lightning.claims.verdicts import judge


def compared(*columns: Sequence[float], task: str = "mri") -> list[Comparison]:
    """Comparisons on one task, each with the advantages of patients p0, p1, ..."""
    return [
        Comparison(
            "amir",
            f"rival{at}",
            task,
            "psnr",
            advantages={task: {f"p{n}": float(value) for n, value in enumerate(column)}},
        )
        for at, column in enumerate(columns)
    ]


def verdict(*columns: Sequence[float], margin: float = 0.0) -> str:
    claim = Claim(name="one", paper="p", experiment="table2", margin=margin)
    return judge(claim, compared(*columns), 2000).verdict


def test_all_intervals_hold_together() -> None:
    """Of 300 studies of 12 patients, 95 % have no interval that misses its true advantage."""
    rng = np.random.default_rng(0)
    truth = np.linspace(-0.5, 0.5, 10)
    missed = alone = 0
    for _ in range(300):
        patients = rng.normal(size=(1, 12)) + 0.5 * rng.normal(size=(10, 12))
        found = simultaneous(compared(*(truth[:, None] + patients)), 1000)
        missed += any(not one.low < true < one.high for one, true in zip(found, truth, strict=True))
        half = stats.t.ppf(0.975, 11) * patients.std(axis=1, ddof=1) / 12**0.5
        alone += bool((np.abs(patients.mean(axis=1)) > half).any())
    assert missed / 300 <= 0.07
    assert alone / 300 > 0.1  # intervals that are not corrected miss more often


def test_one_comparison_has_about_the_interval_of_student() -> None:
    values = np.random.default_rng(1).normal(0.3, 1, size=40)
    (found,) = simultaneous(compared(values), 20000)
    half = stats.t.ppf(0.975, 39) * values.std(ddof=1) / 40**0.5
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.value == pytest.approx(found.value - found.low)
    assert found.high - found.value == pytest.approx(half, rel=0.1)
    assert found.patients == 40


def test_more_comparisons_widen_the_interval_unless_they_are_the_same() -> None:
    rng = np.random.default_rng(2)
    one, *others = rng.normal(size=(8, 20))
    alone = simultaneous(compared(one), 5000)[0]
    among = simultaneous(compared(one, *others), 5000)[0]
    repeated = simultaneous(compared(*[one] * 8), 5000)[0]
    assert among.high - among.low > 1.2 * (alone.high - alone.low)
    assert repeated == pytest.approx(alone)


def test_an_average_resamples_the_patients_of_each_task() -> None:
    rng = np.random.default_rng(3)
    tasks = {
        "mri": {f"a{n}": value for n, value in enumerate(rng.normal(1, 1, size=30))},
        "ct": {f"b{n}": value for n, value in enumerate(rng.normal(3, 2, size=50))},
    }
    one = Comparison("amir", "rival", "average", "psnr", advantages=tasks)
    (found,) = simultaneous([one], 20000)
    columns = [np.array([*own.values()]) for own in tasks.values()]
    assert found.value == pytest.approx(np.mean([column.mean() for column in columns]))
    error = 0.5 * math.sqrt(sum(column.var(ddof=1) / len(column) for column in columns))
    assert found.high - found.value == pytest.approx(1.99 * error, rel=0.1)
    assert found.patients == 80


def test_only_patients_of_all_comparisons_of_a_task_count() -> None:
    one, other = compared([1, 2, 3, 4, 5], [1, 2, 3, 4, 5])
    del other.advantages["mri"]["p4"]  # type: ignore[attr-defined]
    found = simultaneous([one, other], 100)
    assert [(each.value, each.patients) for each in found] == [(2.5, 4), (2.5, 4)]


def test_interference_has_bonferronis_interval() -> None:
    found = simultaneous(
        [Comparison("amir", "r", block, "x", measured=(1.0, 0.5)) for block in ("second", "last")],
        100,
    )
    z = stats.norm.ppf(1 - 0.025 / 2)
    assert found[0].low == pytest.approx(1 - 0.5 * z)
    assert found[1].high == pytest.approx(1 + 0.5 * z)


CLEAR = [1.0, 1.1, 0.9, 1.05, 0.95, 1.0, 1.02, 0.98]
MIXED = [1.0, -1.0, 0.8, -0.9, 0.5, -0.4, 0.1, 0.0]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ([CLEAR, CLEAR], "supported"),
        ([CLEAR, MIXED], "undecided"),
        ([[-value for value in CLEAR], MIXED], "contradicted"),
        ([CLEAR, [-value for value in CLEAR]], "contradicted"),  # one better rival is enough
        ([[0.1] * 8], "supported"),
        ([[0.0] * 8], "contradicted"),  # equal is not ahead
    ],
)
def test_verdicts(columns: list[list[float]], expected: str) -> None:
    assert verdict(*columns) == expected


def test_the_comparison_that_decides_is_the_weakest_whatever_its_unit() -> None:
    claim = Claim(name="one", paper="p", experiment="table2")
    large = [10 * value for value in MIXED]
    weak = [0.1 + 0.01 * value for value in MIXED]
    for columns, expected in (([CLEAR, weak, large], 2), ([CLEAR, weak], 1)):
        assert judge(claim, compared(*columns), 500).deciding == expected


def test_a_margin_moves_the_line() -> None:
    behind = [-0.1 * value for value in CLEAR]
    assert verdict(behind, margin=-0.2) == "supported"
    assert verdict(behind, margin=-0.05) == "contradicted"
    assert verdict(CLEAR, margin=1.0) == "undecided"


@pytest.mark.parametrize("patients", [1, 2, 3])
def test_few_patients_decide_nothing(patients: int) -> None:
    assert verdict(CLEAR[:patients]) == "undecided"
    assert verdict([1.0] * patients) == "undecided"


def test_a_missing_run_leaves_the_claim_open_whatever_the_others_say() -> None:
    found = compared([-value for value in CLEAR])
    found.append(Comparison("amir", "drmc", "mri", "psnr", missing=("run of drmc",)))
    claim = Claim(name="one", paper="p", experiment="table2")
    assert judge(claim, found, 100).verdict == "not run"
