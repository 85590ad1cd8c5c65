"""Weights of a checkpoint that a run wrote."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from amir_lightning.errors import InputError
from amir_lightning.modules import RestorationModule
from amir_lightning.networks.checkpoints import safe_load
from amir_lightning.weights.folder import first_mismatch


@contextlib.contextmanager
def reading(checkpoint: Path, advice: str) -> Iterator[dict[str, Any]]:
    """Give the content of a checkpoint, and turn whatever is wrong in it into one sentence.

    Args:
        checkpoint: File that a run wrote.
        advice: What to type if it is damaged, or lacks what is read from it.

    Raises:
        InputError: The file is missing or damaged, or lacks what is read from it.
    """
    try:
        yield safe_load.load(checkpoint)
    except FileNotFoundError as error:
        folder = checkpoint.parent.parent
        if (folder / "result.json").exists() and not checkpoint.parent.exists():
            raise InputError(
                f"{folder} is a copy of a finished run without its weights; give the run that has "
                "them, or train it again in another folder (paths.runs_dir=<folder>)"
            ) from error
        raise InputError(
            f"{checkpoint} does not exist; continue the run to its first "
            "validation, which writes it"
        ) from error
    except InputError:
        raise
    except Exception as error:  # torch raises many types for a damaged file
        raise InputError(
            f"{checkpoint} is not a readable checkpoint ({type(error).__name__}); {advice}"
        ) from error


def load_checkpoint(module: RestorationModule, checkpoint: Path) -> int:
    """Load the network's weights from a checkpoint and return its optimiser step.

    Raises:
        InputError: The file is missing, damaged, or holds another network.
    """
    advice = (
        "evaluate another (checkpoint=best or last), or remove it to train again from the start"
    )
    with reading(checkpoint, advice) as content:
        weights, step = content["state_dict"], int(content["global_step"])
    mismatch = first_mismatch(module.state_dict(), weights)
    if mismatch:
        raise InputError(
            f"{checkpoint} holds another network: {mismatch}; give a checkpoint of the run's own "
            "network"
        )
    module.load_state_dict(weights)
    return step
