"""Weights of a checkpoint that a run wrote."""

from pathlib import Path

from amir_lightning.errors import InputError
from amir_lightning.modules import RestorationModule
from amir_lightning.networks.checkpoints import safe_load
from amir_lightning.weights.folder import first_mismatch


def load_checkpoint(module: RestorationModule, checkpoint: Path) -> int:
    """Load the network's weights from a checkpoint and return its optimiser step.

    Raises:
        InputError: The file is missing, damaged, or holds another network.
    """
    try:
        content = safe_load.load(checkpoint)
        weights, step = content["state_dict"], int(content["global_step"])
    except FileNotFoundError as error:
        raise InputError(
            f"{checkpoint} does not exist; continue the run to its first "
            "validation, which writes it"
        ) from error
    except InputError:
        raise
    except Exception as error:  # torch raises many types for a damaged file
        raise InputError(
            f"{checkpoint} is not a readable checkpoint ({type(error).__name__}); "
            "evaluate another (checkpoint=best or last), or remove it to train again from the start"
        ) from error
    mismatch = first_mismatch(module.state_dict(), weights)
    if mismatch:
        raise InputError(
            f"{checkpoint} holds another network: {mismatch}; give a checkpoint of the run's own "
            "network"
        )
    module.load_state_dict(weights)
    return step
