"""``python dying.py <moment> <nth> <options>``: the train command, killed while it saves.

It dies at the n-th ``last.ckpt``, when half of the file is written ("half"), when all of it is
("written"), between the renaming of the old and of the new one ("between"), or just after
("renamed").
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

moment, nth = sys.argv[1], int(sys.argv[2])
sys.argv[1:3] = []
saves = 0
replace, write_bytes = Path.replace, Path.write_bytes


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def writing(path: Path, data: Any) -> int:
    global saves
    if ".last.ckpt.partial" not in path.name:
        return write_bytes(path, data)
    saves += 1
    if saves == nth and moment == "half":
        write_bytes(path, data[: len(data) // 2])
        die()
    written = write_bytes(path, data)
    if saves == nth and moment == "written":
        die()
    return written


def replacing(path: Path, target: Any) -> Path:
    if saves == nth and moment == "between" and Path(target).name == "last.ckpt":
        die()
    moved = replace(path, target)
    if saves == nth and moment == "renamed" and Path(target).name == "last.ckpt":
        die()
    return moved


Path.write_bytes = writing  # type: ignore[method-assign,assignment]
Path.replace = replacing  # type: ignore[method-assign,assignment]

from amir_lightning.train.__main__ import main  # noqa: E402

main()
