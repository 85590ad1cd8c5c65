"""The rules by which the three sentences of the experiment are written."""

from amir_lightning.clinical.methods import Method
from amir_lightning.clinical.page import page
from amir_lightning.clinical.sentences import erases_most, harm, order
from amir_lightning.runs.clinical import Overall, Row
from amir_lightning.tasks import load_task

CT = load_task("ct")


def method(
    title: str,
    psnr: float,
    erased: list[float] | None = None,
    auc: float | None = None,
    gain: tuple[float, float] | None = None,
    level: str = "10 HU",
) -> Method:
    overall, rows = [], []
    if erased is not None:
        mean = sum(erased) / len(erased)
        overall.append(Overall("ct", "lesions_erased", "", "1", 8, {"restored": mean}, None))
        rows = [
            Row("ct", f"p{at}", "lesions_erased", "", "", "1", {"restored": value})
            for at, value in enumerate(erased)
        ]
    if auc is not None:
        values = {"hq": 0.9, "input": 0.7, "restored": auc}
        overall.append(Overall("ct", "observer_auc", level, "1", 8, values, None))  # type: ignore[arg-type]
    if gain is not None:
        values = {"restored": sum(gain) / 2}
        overall.append(Overall("ct", "observer_gain", level, "1", 8, values, gain))  # type: ignore[arg-type]
    return Method(title, title.lower(), [], overall, rows, {"ct": psnr}, {"ct": 25.0})


def test_the_order_survives_only_where_no_pair_changes() -> None:
    same = [method("A", 30, [0.1], 0.9), method("B", 29, [0.2], 0.8), method("C", 28, [0.3], 0.7)]
    assert "survives in 2 of 2 comparisons" in order(same, [CT])
    assert order(same, [CT]).endswith("measure.")
    other = [same[0], method("B", 29, [0.4], 0.8), same[2]]
    text = order(other, [CT])
    assert "survives in 1 of 2 comparisons" in text
    assert "changes most by Lesions erased (ct), in 1 of 3 pairs." in text
    assert "not two methods" in order(same[:1], [CT])


def test_a_measure_that_is_equal_for_all_methods_has_no_order_to_survive() -> None:
    equal = [method("A", 30, [0.1], 0.7), method("B", 29, [0.1], 0.8)]
    assert order(equal, [CT]) == (
        "The order of the methods by PSNR survives in 0 of 1 comparisons by a task and a measure; "
        "it changes most by Model observer, area, 10 HU (ct), in 1 of 1 pair."
    )


def test_all_measures_that_change_most_are_named() -> None:
    other = [method("A", 30, [0.2], 0.7), method("B", 29, [0.1], 0.8)]
    assert "by Lesions erased (ct) and Model observer, area, 10 HU (ct), in" in order(other, [CT])


def test_the_method_that_erases_most_is_certain_only_by_an_interval_above_zero() -> None:
    often, seldom = [1.0, 0.8, 1.0, 0.9] * 2, [0.1, 0.0, 0.2, 0.1] * 2
    text = erases_most([method("A", 30, seldom), method("B", 29, often)], [CT], 200)
    assert text.startswith(
        "In the mean of the patients B erases most: 92% of the lesions that HQ shows; "
        "next is A with 10%"
    )
    assert "the difference is certain" in text
    close = [1.0, 0.8, 1.0, 0.8] * 2
    text = erases_most([method("A", 30, close), method("B", 29, often)], [CT], 200)
    assert "the difference is not certain" in text
    tied = [method(title, 30, often) for title in "ABC"]
    assert erases_most([*tied, method("D", 29, seldom)], [CT], 200) == (
        "In the mean of the patients A, B and C erase most, each 92% of the lesions that HQ shows."
    )
    assert "the only method" in erases_most([method("A", 30, often)], [CT], 200)
    assert "No method erases" in erases_most([method("A", 30, [0.0, 0.0])], [CT], 200)
    assert "No patient" in erases_most([method("A", 30)], [CT], 200)


def test_harm_begins_at_the_largest_contrast_with_an_interval_below_zero() -> None:
    def with_levels(title: str, low: tuple[float, float], high: tuple[float, float]) -> Method:
        one, two = method(title, 30, gain=low), method(title, 30, gain=high, level="40 HU")
        return one._replace(overall=[*one.overall, *two.overall])

    harmless = with_levels("A", (-0.2, 0.1), (0.0, 0.2))
    harmful = with_levels("B", (-0.3, -0.1), (-0.2, 0.1))
    assert harm([harmless], [CT]).endswith(
        "in ct at no contrast; 0 of 2 intervals lie below 0, and about 0.05 would by chance."
    )
    assert harm([harmless, harmful], [CT]).endswith(
        "in ct at 10 HU (B); 1 of 4 intervals lie below 0, and about 0.1 would by chance."
    )
    worse = with_levels("C", (-0.3, -0.1), (-0.2, -0.1))
    assert "in ct at 40 HU (C) and 10 HU (B, C); 3 of 4" in harm([harmful, worse], [CT])
    only_above = with_levels("D", (-0.3, 0.1), (-0.2, -0.1))
    assert "in ct at 40 HU (D); 1 of 2" in harm([only_above], [CT])  # not "and below"
    assert "No observer" in harm([method("A", 30)], [CT])


def test_nothing_is_said_of_harm_where_there_is_no_interval() -> None:
    few = method("A", 30, gain=(-0.4, -0.2))
    few = few._replace(overall=[one._replace(interval=None) for one in few.overall])
    text = harm([few], [CT])
    assert "no contrast" not in text
    assert text.endswith("begin to harm? No interval judges the observer of ct.")
    pet = load_task("pet")
    both = few._replace(
        overall=[
            *few.overall,
            *(one._replace(task="pet", interval=(-0.3, -0.1)) for one in few.overall),
        ]
    )
    text = harm([both], [CT, pet])
    assert "in pet at 10 HU (A); 1 of 1 interval lies below 0" in text
    assert text.endswith("; no interval judges the observer of ct.")


def test_the_page_marks_the_method_that_is_closest_to_perfect() -> None:
    methods = [method("A", 30, [0.1], 0.8), method("B", 29, [0.2], 0.9)]
    left_out = Overall("ct", "mtf50", "", "", 0, {}, None, "no border of an organ is one step")
    methods[0] = methods[0]._replace(overall=[*methods[0].overall, left_out])
    text = page(methods, [CT], "study", "`train`", ["One.", "Two.", "Three."])
    assert text.startswith("# Clinical measures, scale study\n\n- One.\n- Two.\n- Three.\n")
    assert "| PSNR | dB |  |  | 25.00 | **30.00** | 29.00 |" in text
    assert "| Lesions erased |  | 8 |  |  | **0.1** | 0.2 |" in text
    assert "| Model observer, area, 10 HU |  | 8 | 0.9 | 0.7 | 0.8 | **0.9** |" in text
    assert "Left out, because no border of an organ is one step: Edges, 50 % of the" in text
