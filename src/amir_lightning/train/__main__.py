"""``python -m amir_lightning.train task=mri+ct+pet``: train and test a network, or resume it.

The run folder is named by a hash of the configuration and the data. So the same command resumes a
run that was stopped, and shows the result of a run that has finished.
"""

from typing import TYPE_CHECKING

from omegaconf import DictConfig

from amir_lightning.cli import command

if TYPE_CHECKING:
    from amir_lightning.train.run import Run


@command("train")
def main(cfg: DictConfig) -> float | None:
    """Train a run, and return its best mean validation PSNR, by which a sweeper may choose."""
    from amir_lightning.system.allocator import keep_memory

    keep_memory()
    # Imported here, so that --cfg, --help and mistakes in the options need not load torch.
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from amir_lightning.system import cores
    from amir_lightning.system.locks import Taken
    from amir_lightning.train.fit import train
    from amir_lightning.train.run import open_run

    run: Run = open_run(cfg)
    cores.share(run.cfg.trainer)  # a resumed run may have other devices than `cfg`
    try:
        return train(run)
    except Taken as taken:
        if HydraConfig.get().mode is not RunMode.MULTIRUN:
            raise
        print(f"left to another: {taken}")  # several machines may share a sweep
        return None


if __name__ == "__main__":
    main()
