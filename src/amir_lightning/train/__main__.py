"""``python -m amir_lightning.train task=mri+ct+pet``: train, test, tabulate; again: resume.

The run folder is named by the content of the run, so the same command resumes a run that was
stopped and shows the result of one that has finished.
"""

from typing import TYPE_CHECKING

from omegaconf import DictConfig

from amir_lightning.cli import command

if TYPE_CHECKING:
    from amir_lightning.train.run import Run


@command("train")
def main(cfg: DictConfig) -> float | None:
    """Train what the configuration says; returns the mean validation PSNR for a sweeper."""
    from amir_lightning.system.allocator import keep_memory

    keep_memory()
    # Deferred: `--cfg job`, `--help` and mistakes in the options answer before torch is loaded.
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from amir_lightning.system import cores
    from amir_lightning.system.locks import Taken
    from amir_lightning.train.fit import train
    from amir_lightning.train.run import open_run

    run: Run = open_run(cfg)
    cores.share(run.cfg.trainer)  # of a resumed run
    try:
        return train(run)
    except Taken as taken:
        if HydraConfig.get().mode is not RunMode.MULTIRUN:
            raise
        print(f"left to another: {taken}")  # several machines may work on one sweep
        return None


if __name__ == "__main__":
    main()
