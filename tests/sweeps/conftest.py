"""A composed configuration around the tests that need no command."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from amir_lightning.cli import register_tasks
from amir_lightning.config import CONF_DIR

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def composing() -> Iterator[None]:
    """As inside a command."""
    GlobalHydra.instance().clear()
    register_tasks()
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        yield
