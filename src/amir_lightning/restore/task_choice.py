"""Choose the task of a scan."""

from collections.abc import Mapping

from amir_lightning.errors import InputError
from amir_lightning.io.scan import Scan
from amir_lightning.tasks import Task
from amir_lightning.weights.folder import choose_task


def pick_task(scan: Scan, tasks: Mapping[str, Task], name: str | None) -> Task:
    """Choose the task of a scan: the typed one, the one of its DICOM modality, or the only one.

    Raises:
        InputError: The task is unclear, or unknown to the weights.
    """
    if name is not None:
        task = choose_task(tasks, name)
    elif scan.modality is None:
        if len(tasks) > 1:
            raise InputError(
                f"{scan.path} does not say what it shows and the weights know "
                f"{', '.join(tasks)}; type task=<one of them>"
            )
        task = choose_task(tasks, None)
    else:
        fitting = [task for task in tasks.values() if task.dicom_modality == scan.modality]
        if len(fitting) > 1:
            raise InputError(
                f"{scan.path} is DICOM of modality {scan.modality}, and the weights know several "
                f"tasks of it, {', '.join(task.name for task in fitting)}; type task=<one of them>"
            )
        if not fitting:
            known = ", ".join(f"{task.name} ({task.dicom_modality})" for task in tasks.values())
            raise InputError(
                f"{scan.path} is DICOM of modality {scan.modality}, and the weights have no task "
                f"of that modality (they have {known}); give other scans or other weights"
            )
        return fitting[0]
    if scan.modality not in (None, task.dicom_modality):
        raise InputError(
            f"{scan.path} is DICOM of modality {scan.modality} and task={task.name} restores "
            f"{task.dicom_modality}; leave task out, or give other scans"
        )
    return task


def why(scan: Scan, name: str | None) -> str:
    """Reason for the choice, in a few words."""
    if name is not None:
        return "as typed"
    return f"DICOM modality {scan.modality}" if scan.modality else "the only one of the weights"
