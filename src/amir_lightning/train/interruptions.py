"""Error messages for a run that ends early: a full disk, a lost process, a signal."""

import re

from amir_lightning.callbacks import Stopped
from amir_lightning.errors import InputError
from amir_lightning.system.atomic import FULL


class Unlucky(InputError):
    """A failure that no option caused ended the run; the run can be resumed."""

    status = 1


def explain(error: BaseException, again: str) -> InputError | None:
    """Return the error that ends the command with one sentence; None for a bug.

    Args:
        error: Exception that ended the run.
        again: Command that resumes the run, and from which step.
    """
    text = str(error)
    if isinstance(error, SystemExit):  # Lightning raises it on Ctrl-C before the first step
        return _stopped(Stopped(2), again)
    if isinstance(error, Stopped):
        return _stopped(error, again)
    if isinstance(error, InputError):
        # An error of a loader process carries that process's traceback as its text.
        told = re.findall(r"^[\w.]*InputError: (.+)", text, re.MULTILINE)
        return InputError(told[-1]) if told else error
    if isinstance(error, OSError) and error.filename:
        reason = "its disk is full" if error.errno in FULL else error.strerror
        return Unlucky(f"cannot write {error.filename} ({reason}); solve that first; {again}")
    if isinstance(error, OSError) and error.errno in FULL:
        return Unlucky(f"the disk of the run folder is full; free some space, then {again}")
    if isinstance(error, RuntimeError) and "DataLoader worker" in text:
        return Unlucky(
            f"a loader process died ({text.splitlines()[0].strip().rstrip('.')}), often because "
            f"memory ran out; {again} (data.num_workers=0 reads in the training process)"
        )
    if isinstance(error, RuntimeError) and re.search(r"gloo|NCCL|Connection (closed|reset)", text):
        return Unlucky(f"another process of this run ended or cannot be reached; {again}")
    return None


def _stopped(stopped: Stopped, again: str) -> Stopped:
    told = Stopped(stopped.signum)
    told.args = (f"{stopped}; {again}",)
    return told
