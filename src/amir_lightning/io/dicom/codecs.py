"""Decode compressed pixels in a separate process.

Codecs are written in C++: a damaged image can crash their process, hang it or fill its memory.
``python -m amir_lightning.io.dicom.codecs`` runs that process. It reads a path and a frame number
from stdin and writes an array to stdout.
"""

import atexit
import contextlib
import io
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels import pixel_array
from pydicom.uid import RLELossless, UncompressedTransferSyntaxes

from amir_lightning.io.dicom.file import BoundedFile, read_image, unreadable

IN_PYTHON = (*UncompressedTransferSyntaxes, RLELossless)  # decoded by pydicom, without a codec
_SECONDS = 60  # limit of CPU time per frame
_MEMORY = 4 << 30  # limit of the address space [bytes]


class _Decoder:
    """Client of a running decoder process."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # codecs print about damage, which raises an error anyway
        )

    def decode(self, path: Path, frame: int | None) -> NDArray[np.integer]:
        question, answer = _pipes(self.process)
        question.write(json.dumps([str(path.absolute()), frame]).encode() + b"\n")
        question.flush()
        size = int.from_bytes(answer.read(8), "little")
        return np.load(io.BytesIO(answer.read(size)), allow_pickle=False)


_decoder: _Decoder | None = None


def decode_pixels(path: Path, frame: int | None, syntax: str) -> NDArray[np.integer]:
    """Decode the stored values of an image or of one of its frames.

    Args:
        path: A DICOM file.
        frame: Number of the frame from 0, or None if the file is one image.
        syntax: Transfer syntax UID of the file.

    Raises:
        InputError: The pixels cannot be decoded.
    """
    global _decoder
    if syntax in IN_PYTHON:
        try:
            return _decode(path, frame)
        except MemoryError:
            raise
        except Exception as error:  # a damaged file can make the parser raise anything
            raise unreadable(path, "has pixels that cannot be decoded") from error
    if _decoder is None or _decoder.owner != os.getpid():
        _decoder = _Decoder()
    try:
        array = _decoder.decode(path, frame)
    except (OSError, EOFError, ValueError) as error:  # the process died
        _stop()
        raise unreadable(path, "has pixels that end their decoder") from error
    if not array.size:
        raise unreadable(path, "has pixels that cannot be decoded")
    return array


@atexit.register
def _stop() -> None:
    global _decoder
    if _decoder is not None and _decoder.owner == os.getpid():
        _decoder.process.kill()
        _decoder.process.wait()
        for pipe in _pipes(_decoder.process):
            with contextlib.suppress(OSError):
                pipe.close()
    _decoder = None


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout


def _serve(questions: BinaryIO, answers: BinaryIO) -> None:
    warnings.simplefilter("ignore")
    for question in questions:
        path, frame = json.loads(question)
        _limit(resource.RLIMIT_CPU, int(time.process_time()) + _SECONDS)
        try:
            array = _decode(Path(path), frame)
        except Exception:  # codecs can raise anything
            array = np.empty(0, np.int64)
        answer = io.BytesIO()
        np.save(answer, array, allow_pickle=False)
        answers.write(len(answer.getbuffer()).to_bytes(8, "little") + answer.getbuffer())
        answers.flush()


def _limit(what: int, most: int) -> None:
    _, hard = resource.getrlimit(what)
    resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _decode(path: Path, frame: int | None) -> NDArray[np.integer]:
    if frame is None:
        return read_image(path).pixel_array
    with BoundedFile(path) as file:
        return pixel_array(file, index=frame, raw=True)


if __name__ == "__main__":
    _limit(resource.RLIMIT_AS, _MEMORY)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # keep a codec's prints out of the answers
    _serve(sys.stdin.buffer, answers)
