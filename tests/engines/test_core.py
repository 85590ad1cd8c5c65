"""The core of OpenVINO leaves the process that uses it alive."""

import subprocess
import sys

import pytest

from amir_lightning.engines import openvino

ENDED = """
import faulthandler, gc, signal, subprocess, threading
import torch
from amir_lightning import networks
from amir_lightning.engines.openvino import OpenVino

faulthandler.enable()  # gives the main thread a stack for signals, as pytest does
signal.signal(signal.SIGCHLD, lambda *_: None)  # as a data loader does
held = [OpenVino(networks.SRCNN().eval(), "float32", (), None, True)]
held[0](torch.rand(1, 1, 32, 32))

def delete():
    held.clear()
    gc.collect()  # in whichever thread it happens to start

deleting = threading.Thread(target=delete)
deleting.start()
deleting.join()
subprocess.run(["true"], check=True)
print("alive")
"""


@pytest.mark.skipif(
    not openvino.installed(), reason="OpenVINO is not installed; make setup installs it"
)
def test_a_process_lives_on_when_another_thread_deletes_an_engine() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENDED], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.stdout.strip() == "alive", f"{done.returncode} {done.stderr[-2000:]}"
