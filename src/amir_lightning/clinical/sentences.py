"""Three sentences of result, each written by a rule from the numbers of the methods."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from amir_lightning.clinical.methods import Method
from amir_lightning.metrics.clinical import intervals
from amir_lightning.system.wording import counted, joined
from amir_lightning.tasks import Task

JUDGED = ("lesion_recovery", "lesions_erased", "lesions_invented", "observer_auc", "bias")
"""Measures whose order of the methods is compared with that by PSNR."""


def sentences(methods: Sequence[Method], tasks: Sequence[Task], bootstrap: int) -> list[str]:
    """Answer: does the order by PSNR survive, which method erases most, where does harm begin?"""
    return [order(methods, tasks), erases_most(methods, tasks, bootstrap), harm(methods, tasks)]


def order(methods: Sequence[Method], tasks: Sequence[Task]) -> str:
    """Say in how many tasks and measures no pair of methods changes its order.

    A pair changes its order if one method has the higher PSNR and the other the better measure.
    A measure that is equal for all methods has no order and is left out.
    """
    found: dict[str, tuple[int, int]] = {}
    for task in tasks:
        for measure in JUDGED:
            for level in levels_of(methods, task, measure):
                own = [(m, one) for m in methods if (one := m.find(task.name, measure, level))]
                pairs = [*combinations(own, 2)]
                if all(one.error == two.error for (_, one), (_, two) in pairs):
                    continue
                changed = 0
                for (first, one), (second, two) in pairs:
                    better = first.psnr[task.name] - second.psnr[task.name]
                    changed += better * (one.error - two.error) > 0
                found[f"{own[0][1].title} ({task.name})"] = changed, len(pairs)
    if not found:
        return "Does the order by PSNR survive? There are not two methods with a common measure."
    kept = sum(changed == 0 for changed, _ in found.values())
    most = max(changed / pairs for changed, pairs in found.values())
    text = (
        f"The order of the methods by PSNR survives in {kept} of {len(found)} comparisons by a "
        "task and a measure"
    )
    if not most:
        return f"{text}."
    worst = [key for key, (changed, pairs) in found.items() if changed / pairs == most]
    changed, pairs_there = found[worst[0]]
    where = f"in {changed} of {counted('pair', pairs_there)}"
    return f"{text}; it changes most by {joined(worst)}, {where}."


def erases_most(methods: Sequence[Method], tasks: Sequence[Task], bootstrap: int) -> str:
    """Name the method with the largest share of lesions that HQ shows and it does not.

    The share is the mean over the patients of all tasks. It is called certain if the interval of
    its difference to the next method lies above zero.
    """
    shares = {
        method.title: {
            (task.name, patient): value
            for task in tasks
            for patient, value in method.patients(task.name, "lesions_erased").items()
        }
        for method in methods
    }
    shares = {title: own for title, own in shares.items() if own}
    if not shares:
        return "Which method erases most? No patient has a lesion that HQ shows."
    means = {title: float(np.mean([*own.values()])) for title, own in shares.items()}
    ranked = sorted(means, key=lambda title: -means[title])
    most = means[ranked[0]]
    if not most:
        return "No method erases a lesion that HQ shows."
    start = "In the mean of the patients "
    tied = [title for title in ranked if np.isclose(means[title], most)]
    if len(tied) > 1:
        return f"{start}{joined(tied)} erase most, each {most:.0%} of the lesions that HQ shows."
    first = shares[ranked[0]]
    text = f"{start}{ranked[0]} erases most: {most:.0%} of the lesions that HQ shows"
    if len(ranked) == 1:
        return f"{text}, and it is the only method."
    second = shares[ranked[1]]
    found = intervals.of_mean([first[k] - second[k] for k in first if k in second], bootstrap)
    text += f"; next is {ranked[1]} with {means[ranked[1]]:.0%}"
    if found is None:
        return f"{text}, and no interval says whether the difference is certain."
    certain = "is certain" if found[0] > 0 else "is not certain"
    return f"{text}, and the difference {certain} (95 %: {found[0]:+.0%} to {found[1]:+.0%})."


def harm(methods: Sequence[Method], tasks: Sequence[Task]) -> str:
    """Name the contrasts of each task at which restoring makes a lesion harder to see.

    Restoring harms at a contrast if the interval of the model observer's area, minus that in the
    input, lies below zero. The largest contrast comes first: there harm begins. Of many intervals
    of 95 %, one in 40 lies below zero by chance, so their number is told, too.
    """
    parts, unjudged = [], []
    below = judged = 0
    for task in tasks:
        levels = levels_of(methods, task, "observer_gain")
        gains = {
            level: [
                (method.title, one.interval)
                for method in methods
                if (one := method.find(task.name, "observer_gain", level)) and one.interval
            ]
            for level in levels
        }
        harmed = {
            level: titles
            for level, own in gains.items()
            if (titles := [title for title, (_, high) in own if high < 0])
        }
        below += sum(map(len, harmed.values()))
        judged += sum(map(len, gains.values()))
        if harmed:
            first = sorted(harmed, key=_size, reverse=True)
            found = (f"{level} ({', '.join(harmed[level])})" for level in first)
            parts.append(f"{task.name} at {' and '.join(found)}")
        elif any(gains.values()):
            parts.append(f"{task.name} at no contrast")
        elif levels:
            unjudged.append(task.name)
    without = f"no interval judges the observer of {', '.join(unjudged)}" if unjudged else ""
    if not parts:
        text = without or "no observer could be trained"
        return f"At which contrast does restoring begin to harm? {text.capitalize()}."
    text = f"Restoring harms the model observer in {'; in '.join(parts)}"
    lie = "lies" if judged == 1 else "lie"
    text += f"; {below} of {counted('interval', judged)} {lie} below 0, and about "
    text += f"{judged / 40:.1g} would by chance"
    return f"{text}; {without}." if without else f"{text}."


def _size(level: str) -> float:
    return abs(float(level.split()[0]))


def levels_of(methods: Sequence[Method], task: Task, measure: str) -> list[str]:
    """Contrasts at which any method has a measure of a task, in the order of the files."""
    return [
        *dict.fromkeys(
            one.level
            for method in methods
            for one in method.overall
            if (one.task, one.measure) == (task.name, measure) and "restored" in one.values
        )
    ]
