"""Data flows one way: each room imports only from the rooms before it."""

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "amir_lightning"

# Room -> rooms that it may import from. Leaves are errors, config, versions and tasks.
ALLOWED = {
    "errors": set(),
    "versions": set(),
    "config": set(),
    "tasks": {"config", "errors"},
    "atomic": {"errors"},
    "trust": {"errors"},
    "locks": {"errors"},
    "io": {"errors", "tasks", "versions"},
    "phantoms": {"io", "errors"},
    "degradation": {"errors"},
    "data": {"io", "degradation", "tasks", "errors", "config", "versions", "atomic", "locks"},
    "preparation": {"data", "degradation", "io", "tasks", "errors", "atomic", "locks"},
    "networks": {"errors"},
    "pretrained": {"networks", "tasks", "errors"},
    "exporting": {"networks", "pretrained", "tasks", "errors"},
    "allocator": set(),
    "optimizers": set(),
    "measuring": {
        "networks",
        "losses",
        "data",
        "allocator",
        "optimizers",
        "tasks",
        "errors",
    },
    "losses": set(),
    "metrics": {"tasks", "errors"},
    "pictures": {"tasks"},
    "scores": {"metrics", "tasks", "errors"},
    "modules": {"data", "losses", "metrics", "networks", "optimizers", "tasks", "errors"},
    "typed": {"config"},
    "cli": {"config", "errors", "tasks", "typed"},
    "runs": {"atomic", "config", "errors", "trust", "versions"},
    "sweeps": {"cli", "config", "errors", "runs", "tasks"},
    "tables": {"metrics", "scores", "runs", "sweeps", "tasks", "errors"},
    "figures": {
        "assemble",
        "runs",
        "scores",
        "modules",
        "data",
        "networks",
        "metrics",
        "pictures",
        "tasks",
        "errors",
        "atomic",
    },
    "dashboards": {"runs", "tasks", "errors"},
    "checkpoints": {"atomic", "errors"},
    "callbacks": {"checkpoints", "modules", "metrics", "data", "pictures", "errors"},
    "restoring": {
        "allocator",
        "io",
        "data",
        "degradation",
        "metrics",
        "callbacks",
        "pictures",
        "pretrained",
        "networks",
        "runs",
        "tasks",
        "errors",
        "atomic",
        "trust",
    },
}
THIRD_PARTY = {
    "allocator": set(),
    "networks": {"torch", "einops", "monai"},
    "losses": {"torch"},
    "degradation": {"torch", "numpy"},
    "phantoms": {"numpy"},
    "pretrained": {"torch", "numpy"},
    "dashboards": {"omegaconf"},
}
MODULES = sorted(SRC.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Modules that a file imports, wherever in the file."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            if node.module == "amir_lightning":
                names |= {f"amir_lightning.{alias.name}" for alias in node.names}
    return names


def room(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SRC)))
def test_imports_follow_the_data(path: Path) -> None:
    own = room(path)
    rooms = {name.split(".")[1] for name in imported(path) if name.startswith("amir_lightning.")}
    if own in ALLOWED:
        assert rooms - {own} <= ALLOWED[own]
    entries = {
        "train",
        "evaluate",
        "prepare",
        "restore",
        "export",
        "bench",
        "contact_sheet",
        "compare",
        "plan",
        "tabulate",
        "draw",
        "dashboard",
    }
    assert not rooms & entries, "nothing imports an entry point"


@pytest.mark.parametrize("own", sorted(THIRD_PARTY))
def test_rooms_that_need_little(own: str) -> None:
    for path in MODULES:
        if room(path) != own:
            continue
        outside = {name.split(".")[0] for name in imported(path)} - {"amir_lightning"}
        known = {
            "torch",
            "numpy",
            "einops",
            "lightning",
            "hydra",
            "omegaconf",
            "scipy",
            "h5py",
            "monai",
        }
        assert outside & known <= THIRD_PARTY[own], path


def test_no_file_is_long() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in MODULES}
    assert not {path.name for path, length in lengths.items() if length > 300}


def test_no_machine_paths() -> None:
    for path in [*MODULES, *(SRC.parents[1] / "conf").rglob("*.yaml")]:
        text = path.read_text()
        assert "/home/" not in text, path
