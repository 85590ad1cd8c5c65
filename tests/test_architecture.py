"""Data flows one way: each room imports only from the rooms before it."""

import ast
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "amir_lightning"

# Room, a folder or a module of the package -> rooms that it may import from.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "config": set(),
    "tasks": {"config", "errors"},
    "system": {"errors"},
    "io": {"errors", "system"},
    "phantoms": {"errors", "io"},
    "degradation": {"errors"},
    "data": {"degradation", "errors", "io", "system", "tasks"},
    "networks": {"errors"},
    "engines": {"errors", "networks", "system"},
    "losses": set(),
    "metrics": {"errors", "tasks"},
    "pictures": {"tasks"},
    "cli": {"config", "errors", "system", "tasks"},
    "modules": {"data", "errors", "losses", "metrics", "networks", "tasks"},
    "runs": {"cli", "config", "data", "errors", "metrics", "system", "tasks"},
    "callbacks": {"data", "errors", "metrics", "modules", "pictures", "runs"},
    "weights": {"config", "engines", "errors", "modules", "networks", "runs", "system", "tasks"},
    # The commands, each a room or a module of the hall.
    "prepare": {"cli", "config", "data", "degradation", "errors", "io", "system", "tasks"},
    "train": {
        "callbacks",
        "cli",
        "config",
        "data",
        "errors",
        "metrics",
        "modules",
        "networks",
        "runs",
        "system",
        "tasks",
        "weights",
    },
    "evaluate": {
        "callbacks",
        "cli",
        "clinical",
        "config",
        "engines",
        "errors",
        "metrics",
        "runs",
        "system",
        "tasks",
        "train",
        "weights",
    },
    "restore": {
        "callbacks",
        "cli",
        "config",
        "data",
        "degradation",
        "engines",
        "errors",
        "io",
        "metrics",
        "pictures",
        "runs",
        "system",
        "tasks",
        "weights",
    },
    "export": {
        "cli",
        "engines",
        "errors",
        "metrics",
        "networks",
        "runs",
        "system",
        "tasks",
        "weights",
    },
    "tabulate": {"cli", "config", "errors", "metrics", "runs", "system", "tasks"},
    "plan": {"callbacks", "cli", "data", "errors", "runs", "system", "tasks", "train"},
    "search": {"cli", "config", "errors", "runs", "system"},
    "claims": {"cli", "config", "errors", "metrics", "runs", "system", "tabulate"},
    "clinical": {
        "cli",
        "config",
        "data",
        "degradation",
        "draw",
        "errors",
        "io",
        "metrics",
        "networks",
        "pictures",
        "runs",
        "system",
        "tabulate",
        "tasks",
    },
    "draw": {
        "cli",
        "data",
        "errors",
        "metrics",
        "modules",
        "networks",
        "pictures",
        "runs",
        "system",
        "tasks",
        "train",
        "weights",
    },
    "dashboard": {"cli", "config", "errors", "runs", "system", "tasks"},
    "bench": {
        "cli",
        "data",
        "engines",
        "errors",
        "losses",
        "modules",
        "networks",
        "system",
        "tasks",
    },
    "compare": {"bench", "cli", "errors", "system"},
    "contact_sheet": {"cli", "data", "pictures", "runs", "tasks"},
    "__main__": {"config"},
    "__init__": {"weights"},
}
# Package from outside -> rooms that may import it.
THIRD_PARTY = {
    "numpy": {
        "claims",
        "clinical",
        "data",
        "draw",
        "engines",
        "io",
        "metrics",
        "phantoms",
        "pictures",
        "prepare",
        "restore",
        "tabulate",
        "tasks",
        "weights",
    },
    "torch": {
        "bench",
        "callbacks",
        "clinical",
        "compare",
        "data",
        "degradation",
        "draw",
        "engines",
        "export",
        "losses",
        "metrics",
        "modules",
        "networks",
        "prepare",
        "restore",
        "runs",
        "system",
        "tasks",
        "train",
        "weights",
    },
    "lightning": {
        "callbacks",
        "clinical",
        "data",
        "evaluate",
        "modules",
        "plan",
        "restore",
        "runs",
        "train",
    },
    "hydra": {
        "bench",
        "cli",
        "clinical",
        "compare",
        "data",
        "modules",
        "prepare",
        "restore",
        "runs",
        "system",
        "train",
    },
    "omegaconf": {
        "bench",
        "claims",
        "cli",
        "clinical",
        "compare",
        "config",
        "contact_sheet",
        "dashboard",
        "draw",
        "evaluate",
        "export",
        "plan",
        "prepare",
        "restore",
        "runs",
        "search",
        "tabulate",
        "tasks",
        "train",
    },
    "yaml": {"cli", "runs"},
    "plotly": {"dashboard"},
    "markdown_it": {"dashboard"},
    "PIL": {"dashboard", "pictures"},
    "markupsafe": {"dashboard"},
    "jinja2": {"dashboard"},
    "wandb": {"dashboard", "train"},
    "wandb_workspaces": {"dashboard"},
    "nibabel": {"data", "io"},
    "h5py": {"data", "prepare"},
    "matplotlib": {"draw"},
    "sklearn": {"draw"},
    "safetensors": {"export", "networks", "weights"},
    "onnxscript": {"export"},
    "onnxruntime": {"export"},
    "openvino": {"engines", "export"},
    "pydicom": {"io"},
    "torchmetrics": {"metrics"},
    "einops": {"networks"},
    "monai": {"networks", "restore"},
    "rich": {"plan", "prepare", "runs"},
    "joblib": {"prepare"},
    "distributed": {"prepare"},
    "scipy": {"draw", "metrics", "tabulate"},
    "huggingface_hub": {"weights"},
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


def outside(path: Path) -> set[str]:
    """Packages that a file imports and that do not come with Python."""
    names = {name.split(".")[0] for name in imported(path)}
    return names - {"amir_lightning"} - sys.stdlib_module_names


def test_every_room_and_every_package_has_its_place() -> None:
    assert {room(path) for path in MODULES} == set(ALLOWED)
    assert set().union(*map(outside, MODULES)) == set(THIRD_PARTY)


def test_the_rooms_have_an_order() -> None:
    order = list(TopologicalSorter(ALLOWED).static_order())  # raises where they form a circle
    assert set(order) == set(ALLOWED)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SRC)))
def test_imports_follow_the_data(path: Path) -> None:
    own = room(path)
    rooms = {name.split(".")[1] for name in imported(path) if name.startswith("amir_lightning.")}
    assert rooms - {own} <= ALLOWED[own]
    assert not {name for name in outside(path) if own not in THIRD_PARTY[name]}


def test_nothing_imports_a_command() -> None:
    commands = {
        ".".join(path.relative_to(SRC.parent).with_suffix("").parts)
        for path in MODULES
        if "\n@command(" in path.read_text()
    }
    assert {"amir_lightning.train.__main__", "amir_lightning.evaluate"} <= commands
    assert not commands & set().union(*map(imported, MODULES))


def test_the_hall_is_small() -> None:
    assert len(list(SRC.glob("*.py"))) <= 10


def test_every_command_has_a_root_file() -> None:
    """A command is a room with ``__main__.py`` or a module of the hall, named as in conf/."""
    roots = {path.stem for path in (SRC.parents[1] / "conf").glob("*.yaml")}
    rooms = {path.parent.name for path in SRC.glob("*/__main__.py")}
    modules = {path.stem for path in SRC.glob("*.py") if "\n@command(" in path.read_text()}
    assert rooms | modules == roots - {"quiet"}  # which all roots take in


def test_no_file_is_long() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in MODULES}
    assert not {path.name for path, length in lengths.items() if length > 300}


def test_no_machine_paths() -> None:
    for path in [*MODULES, *(SRC.parents[1] / "conf").rglob("*.yaml")]:
        text = path.read_text()
        assert "/home/" not in text, path
