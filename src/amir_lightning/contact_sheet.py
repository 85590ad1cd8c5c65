"""``python -m amir_lightning.contact_sheet``: LQ and HQ slices of each task in one picture."""

from pathlib import Path

from omegaconf import DictConfig

from amir_lightning.cli import command

_ORGANS, _LESIONS = (0, 114, 178), (230, 159, 0)  # blue and orange, told apart by everybody


@command("contact_sheet")
def main(cfg: DictConfig) -> None:
    """Draw the middle slice of some patients per task, in the task's display window."""
    from amir_lightning import pictures
    from amir_lightning.data.store import Store
    from amir_lightning.runs.data import locate_data
    from amir_lightning.tasks import active_tasks

    rows = []
    for task, path in locate_data(cfg, active_tasks(cfg), "data.source").items():
        store = Store(path, task.name)
        refs = store.slices(cfg.split)
        patients = list(dict.fromkeys(ref.patient for ref in refs))[: cfg.patients]
        panels, titles = [], []
        for patient in patients:
            own = [ref for ref in refs if ref.patient == patient]
            ref = own[len(own) // 2]
            for image, side in zip(store.read(ref), ("LQ", "HQ"), strict=True):
                panels.append(pictures.grey(image, task.display_window))
                titles.append(f"{task.title}: {side}")
            truth = store.truth(ref) if cfg.masks else None
            if truth and truth.labels:
                panel = pictures.grey(truth.values, task.display_window)
                panel = pictures.outline(panel, truth.labels.organs, _ORGANS)
                panels.append(pictures.outline(panel, truth.labels.lesions, _LESIONS))
                titles.append(f"{task.title}: truth")
        rows.append(pictures.row(panels, titles))
    path = pictures.save(pictures.column(rows), Path(cfg.output))
    print(f"{'picture':>10}  {path}")


if __name__ == "__main__":
    main()
