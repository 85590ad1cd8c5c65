"""Data flows one way: each room imports only from the rooms before it."""

import ast
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "amir_lightning"

# Room, a folder or a module of the package -> rooms that it may import from.
ALLOWED = {
    "errors": set(),
    "versions": set(),
    "config": set(),
    "tasks": {"config", "errors"},
    "atomic": {"errors"},
    "trust": {"errors"},
    "locks": {"errors"},
    "cores": {"errors", "wording"},
    "own_code": set(),
    "wording": set(),
    "io": {"errors", "tasks", "versions", "wording"},
    "phantoms": {"io", "errors"},
    "degradation": {"errors"},
    "data": {
        "io",
        "degradation",
        "tasks",
        "errors",
        "config",
        "versions",
        "atomic",
        "locks",
        "own_code",
        "wording",
    },
    "preparation": {
        "cores",
        "data",
        "degradation",
        "io",
        "searchpath",
        "tasks",
        "errors",
        "atomic",
        "locks",
        "wording",
    },
    "networks": {"errors"},
    "pretrained": {"networks", "tasks", "errors", "trust"},
    "exporting": {"networks", "pretrained", "tasks", "errors"},
    "allocator": set(),
    "optimizers": {"errors"},
    "measuring": {
        "networks",
        "losses",
        "data",
        "allocator",
        "cores",
        "optimizers",
        "tasks",
        "errors",
    },
    "losses": set(),
    "metrics": {"tasks", "errors"},
    "pictures": {"tasks"},
    "scores": {"metrics", "tasks", "errors"},
    "processes": set(),
    "loggers": {"processes", "atomic", "errors"},
    "failures": {"callbacks", "atomic", "errors"},
    "modules": {"data", "losses", "metrics", "networks", "optimizers", "tasks", "errors"},
    "searchpath": {"config", "errors", "tasks"},
    "typed": {"config"},
    "cli": {"typed", "cores", "config", "errors", "searchpath"},
    "runs": {
        "cores",
        "atomic",
        "data",
        "errors",
        "own_code",
        "searchpath",
        "tasks",
        "trust",
        "versions",
    },
    "sweeps": {"cli", "errors", "runs", "searchpath", "tasks"},
    "tables": {"metrics", "runs", "sweeps", "tasks", "errors", "wording"},
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
        "wording",
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
        "wording",
    },
    "assemble": {
        "callbacks",
        "checkpoints",
        "data",
        "metrics",
        "modules",
        "networks",
        "pretrained",
        "tasks",
        "errors",
    },
    "opening": {"assemble", "runs", "tasks", "errors"},
    "training": {
        "cores",
        "opening",
        "assemble",
        "callbacks",
        "checkpoints",
        "failures",
        "loggers",
        "metrics",
        "modules",
        "processes",
        "runs",
        "scores",
        "atomic",
        "locks",
        "errors",
        "wording",
    },
    "__init__": {"pretrained"},
    # The commands.
    "__main__": {"config"},
    "train": {"cores", "training", "opening", "allocator", "cli", "locks"},
    "evaluate": {"assemble", "callbacks", "metrics", "runs", "scores", "cli", "errors", "wording"},
    "prepare": {"preparation", "assemble", "data", "tasks", "cli", "errors"},
    "restore": {
        "restoring",
        "allocator",
        "assemble",
        "data",
        "io",
        "metrics",
        "scores",
        "cli",
        "errors",
        "wording",
    },
    "export": {"exporting", "pretrained", "restoring", "networks", "runs", "atomic", "cli"},
    "bench": {"measuring", "data", "tasks", "cli", "errors"},
    "compare": {"cores", "measuring", "cli", "errors", "wording"},
    "contact_sheet": {"assemble", "data", "pictures", "runs", "cli"},
    "plan": {"sweeps", "runs", "cli", "errors"},
    "tabulate": {"config", "tables", "sweeps", "tasks", "atomic", "cli", "errors"},
    "draw": {"figures", "sweeps", "cli", "errors"},
    "dashboard": {"dashboards", "tasks", "atomic", "cli", "errors", "wording"},
}
# Package from outside -> rooms that may import it.
THIRD_PARTY = {
    "numpy": {
        "data",
        "figures",
        "io",
        "metrics",
        "phantoms",
        "pictures",
        "preparation",
        "pretrained",
        "restoring",
        "tasks",
    },
    "torch": {
        "assemble",
        "bench",
        "callbacks",
        "checkpoints",
        "compare",
        "cores",
        "data",
        "degradation",
        "exporting",
        "figures",
        "losses",
        "measuring",
        "metrics",
        "modules",
        "networks",
        "optimizers",
        "preparation",
        "pretrained",
        "processes",
        "restoring",
        "tasks",
        "training",
    },
    "lightning": {
        "assemble",
        "callbacks",
        "checkpoints",
        "data",
        "evaluate",
        "loggers",
        "modules",
        "processes",
        "restoring",
        "training",
    },
    "hydra": {
        "assemble",
        "cli",
        "compare",
        "data",
        "measuring",
        "opening",
        "prepare",
        "restoring",
        "searchpath",
        "sweeps",
        "train",
        "training",
        "trust",
        "typed",
    },
    "omegaconf": {
        "assemble",
        "bench",
        "cli",
        "compare",
        "contact_sheet",
        "dashboard",
        "draw",
        "evaluate",
        "export",
        "figures",
        "opening",
        "plan",
        "prepare",
        "restore",
        "runs",
        "searchpath",
        "sweeps",
        "tabulate",
        "tasks",
        "train",
        "training",
        "typed",
    },
    "yaml": {"cli", "runs"},
    "einops": {"networks"},
    "monai": {"networks", "restoring"},
    "torchmetrics": {"metrics"},
    "scipy": {"tables"},
    "safetensors": {"exporting", "networks", "pretrained"},
    "h5py": {"data", "preparation"},
    "nibabel": {"data", "io"},
    "pydicom": {"io"},
    "joblib": {"preparation"},
    "distributed": {"preparation"},
    "rich": {"plan", "preparation", "scores"},
    "PIL": {"dashboards", "pictures"},
    "wandb": {"dashboards", "loggers"},
    "wandb_workspaces": {"dashboards"},
    "jinja2": {"dashboards"},
    "markdown_it": {"dashboards"},
    "markupsafe": {"dashboards"},
    "plotly": {"dashboards"},
    "matplotlib": {"figures"},
    "sklearn": {"figures"},
    "huggingface_hub": {"pretrained"},
    "onnxruntime": {"exporting"},
    "onnxscript": {"exporting"},
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
    commands = {path.stem for path in SRC.glob("*.py") if "\n@command(" in path.read_text()}
    assert {"train", "evaluate", "restore"} <= commands
    assert not commands & set().union(*ALLOWED.values())


def test_no_file_is_long() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in MODULES}
    assert not {path.name for path, length in lengths.items() if length > 300}


def test_no_machine_paths() -> None:
    for path in [*MODULES, *(SRC.parents[1] / "conf").rglob("*.yaml")]:
        text = path.read_text()
        assert "/home/" not in text, path
