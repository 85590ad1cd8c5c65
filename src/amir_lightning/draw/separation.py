"""How far the tasks lie apart, patient by patient, and how far they would by chance."""

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Names = NDArray[np.str_]

_SHUFFLES = 999


def silhouettes(distances: Values, tasks: Names) -> Values:
    """Silhouette of each point, from -1 to 1; positive where its own task is the nearest.

    With the mean distance a to the other points of its task and the smallest mean distance b to
    the points of another task, the silhouette is (b - a) / max(a, b). It is 0 for the only point of
    a task.

    Args:
        distances: Between all pairs of N points, (N, N).
        tasks: Task of each point, (N,).
    """
    within, between = distances_by_task(distances, tasks)
    largest = np.maximum(within, between)
    with np.errstate(invalid="ignore"):
        return np.nan_to_num((between - within) / largest)


def distances_by_task(distances: Values, tasks: Names) -> tuple[Values, Values]:
    """Mean distance of each point to the others of its task, and to those of the nearest task.

    Args:
        distances: Between all pairs of N points, (N, N).
        tasks: Task of each point, (N,).

    Returns:
        Two arrays, (N,). The first is NaN for the only point of a task.
    """
    _, index = np.unique(tasks, return_inverse=True)
    belongs = np.eye(index.max() + 1)[index]
    counts = belongs.sum(axis=0)
    sums = distances @ belongs
    points = np.arange(len(tasks))
    with np.errstate(invalid="ignore"):
        within = sums[points, index] / (counts[index] - 1)
    means = sums / counts
    means[points, index] = np.inf
    return within, means.min(axis=1)


def chance(distances: Values, tasks: Names, patients: Names, seed: int) -> dict[str, float]:
    """Mean silhouette of each task that the tasks of 95 % of random assignments stay below.

    All points of a patient get the same random task, because they resemble each other.

    Args:
        distances: Between all pairs of N points, (N, N).
        tasks: Task of each point, (N,).
        patients: Patient of each point, (N,).
        seed: Seed of the assignments.
    """
    units = sorted({*zip(tasks.tolist(), patients.tolist(), strict=True)})
    place = {unit: at for at, unit in enumerate(units)}
    unit_of = np.array(
        [place[unit] for unit in zip(tasks.tolist(), patients.tolist(), strict=True)]
    )
    own = np.array([task for task, _ in units])
    rng = np.random.default_rng(seed)
    found: dict[str, list[float]] = {task: [] for task in own}
    for _ in range(_SHUFFLES):
        shuffled = rng.permutation(own)[unit_of]
        values = silhouettes(distances, shuffled)
        for task, means in found.items():
            means.append(float(values[shuffled == task].mean()))
    return {task: float(np.quantile(means, 0.95)) for task, means in found.items()}
