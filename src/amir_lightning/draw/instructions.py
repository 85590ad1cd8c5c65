"""Fig. 4 (a): t-SNE of the instruction of every test slice, with two measures of its clusters."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.metrics import pairwise_distances, silhouette_score
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from amir_lightning.draw.finished_run import FinishedRun
from amir_lightning.draw.separation import chance, silhouettes
from amir_lightning.draw.style import Drawing, Rows, colour, new_figure
from amir_lightning.errors import InputError
from amir_lightning.system.wording import counted

_FOLDS = 5


class Clusters(NamedTuple):
    """How well vectors separate the tasks.

    Attributes:
        silhouette: Mean silhouette of the tasks in the space of the vectors, from -1 to 1.
        probe: Cross-validated accuracy of a linear classifier of the tasks.
        chance: Accuracy of always guessing the most frequent task.
        folds: Folds of the cross-validation.
        by_patient: Whether folds share no patient; False if a task has a single patient.
    """

    silhouette: float
    probe: float
    chance: float
    folds: int
    by_patient: bool


def draw(run: FinishedRun) -> Drawing:
    """Draw one point per slice, coloured by task.

    Args:
        run: Run of several tasks, whose network makes instructions.

    Raises:
        InputError: There are fewer than two tasks, or the network makes no instruction.
    """
    if len(run.tasks) < 2:
        raise InputError(
            f"{run.name} trains one task, and this figure compares several; type "
            "run=<a run of several tasks>"
        )
    seed = run.cfg.seed  # seed of t-SNE and of the folds
    slices, vectors = [], []
    for one in run.restored():
        if one.report.instruction is None:
            raise InputError(
                f"{run.network_name} reads no task from the image; draw a run of a network that "
                "does, such as network=amir, tat or airnet"
            )
        slices.append(one)
        vectors.append(one.report.instruction[0].float().cpu().numpy())
    tasks = np.array([one.task.name for one in slices])
    instructions = np.stack(vectors)
    patients = np.array([one.patient for one in slices])
    clusters = measure(instructions, tasks, patients, seed)
    perplexity = min(30.0, (len(tasks) - 1) / 3)
    points = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(instructions)

    figure = new_figure(3.6, 3.9)
    ax = figure.subplots()
    for task in run.tasks:
        own = points[tasks == task.name]
        label = f"{task.title}, {counted('slice', len(own))}"
        ax.scatter(
            own[:, 0],
            own[:, 1],
            s=14,
            color=colour(run.tasks, task),
            label=label,
            edgecolor="w",
            lw=0.3,
        )
    ax.set_xticks([])
    ax.set_yticks([])
    held_out = "patients" if clusters.by_patient else "slices"
    ax.set_title(
        f"instruction, t-SNE (perplexity {perplexity:.3g})\nsilhouette {clusters.silhouette:.3f}, "
        f"linear probe {100 * clusters.probe:.1f} % (chance {100 * clusters.chance:.0f} %, "
        f"{clusters.folds} folds of {held_out})",
        fontsize=7,
    )
    figure.legend(loc="outside upper center", ncols=2, fontsize=6.5, frameon=False)
    rows = [
        {
            "task": one.task.name,
            "patient": one.patient,
            "slice": one.slice_index,
            "x": point[0],
            "y": point[1],
            "run": run.name,
        }
        for one, point in zip(slices, points, strict=True)
    ]
    tables: dict[str, Rows] = {"": rows, "clusters": [{**clusters._asdict(), "run": run.name}]}
    by_patient = patient_rows(instructions, tasks, patients, seed)
    tables["patients"] = [{**row, **run.drawn_from} for row in by_patient]
    return Drawing(figure, tables)


def patient_rows(
    vectors: NDArray[np.floating], tasks: NDArray[np.str_], patients: NDArray[np.str_], seed: int
) -> list[dict[str, object]]:
    """Mean silhouette over the slices of each patient, and what its task would have by chance.

    Args:
        vectors: (N, D).
        tasks: Task of each, (N,).
        patients: Patient of each, (N,).
        seed: Seed of the random assignments of patients to tasks.
    """
    distances = pairwise_distances(vectors.astype(np.float64))
    values = silhouettes(distances, tasks)
    by_chance = chance(distances, tasks, patients, seed)
    rows: list[dict[str, object]] = []
    for task, patient in dict.fromkeys(zip(tasks.tolist(), patients.tolist(), strict=True)):
        own = values[(tasks == task) & (patients == patient)]
        rows.append(
            {
                "task": task,
                "patient": patient,
                "slices": len(own),
                "silhouette": float(own.mean()),
                "chance": by_chance[task],
            }
        )
    return rows


def measure(
    vectors: NDArray[np.floating], tasks: NDArray[np.str_], patients: NDArray[np.str_], seed: int
) -> Clusters:
    """Measure silhouette and linear probe of vectors.

    Args:
        vectors: (N, D).
        tasks: Task of each, (N,).
        patients: Patient of each, (N,).
        seed: Seed of the folds.
    """
    names, counts = np.unique(tasks, return_counts=True)
    fewest = min(len(set(patients[tasks == name])) for name in names)
    by_patient = fewest > 1
    folds = min(_FOLDS, fewest if by_patient else int(counts.min()))
    if folds < 2:
        raise InputError(
            "a task has a single slice, too few for a cross-validation; type split=val or train"
        )
    kind = StratifiedGroupKFold if by_patient else StratifiedKFold
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    accuracy = cross_val_score(
        probe,
        vectors,
        tasks,
        groups=patients if by_patient else None,
        cv=kind(folds, shuffle=True, random_state=seed),
    )
    return Clusters(
        silhouette=float(silhouette_score(vectors, tasks)),
        probe=float(accuracy.mean()),
        chance=float(counts.max() / counts.sum()),
        folds=folds,
        by_patient=by_patient,
    )
