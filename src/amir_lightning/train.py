"""``python -m amir_lightning.train task=mri+ct+pet``: train, test, tabulate; again: resume.

The run folder is named by the content of the run, so the same command resumes a run that was
stopped and shows the result of one that has finished.
"""

from typing import TYPE_CHECKING

from omegaconf import DictConfig

from amir_lightning.cli import command

if TYPE_CHECKING:
    from amir_lightning.opening import Run


@command("train")
def main(cfg: DictConfig) -> float | None:
    """Train what the configuration says; returns the mean test PSNR for a sweeper."""
    # Deferred: `--cfg job`, `--help` and mistakes in the options answer before torch is loaded.
    from amir_lightning.opening import open_run
    from amir_lightning.training import train

    run: Run = open_run(cfg)
    return train(run)


if __name__ == "__main__":
    main()
