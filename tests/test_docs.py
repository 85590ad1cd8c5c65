"""Every command, Python block and configuration file that README, docs/ and experiments/ show."""

import ast
import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib import import_module
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import yaml
from conftest import Command

from amir_lightning.config import CONF_DIR
from amir_lightning.data.layouts import LAYOUTS
from amir_lightning.tasks import parse_tasks

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "experiments").rglob("README.md")),
]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
COMMANDS = {path.stem for path in CONF_DIR.glob("*.yaml")} - {"quiet"}
LANGUAGES = {"bash", "python", "yaml", "text", ""}  # "" and text: output and listings, not typed


class Block(NamedTuple):
    """A fenced block: its page and line, its language, the file that it stands for, its text."""

    page: Path
    line: int
    language: str
    title: str
    text: str

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for found in re.finditer(r"^( *)```(.*)\n((?:.*\n)*?)\1```$", text, re.MULTILINE):
        language, _, rest = found[2].strip().partition(" ")
        title = re.search(r'title="([^"]+)"', rest)
        line = text.count("\n", 0, found.start()) + 1
        yield Block(page, line, language, title[1] if title else "", found[3])


BLOCKS = [block for page in PAGES for block in blocks(page)]


class Line(NamedTuple):
    """A command line as it is typed, with the place where it is shown."""

    where: str
    words: list[str]


def lines_of(block: Block) -> Iterator[Line]:
    """Command lines of a bash block, without comments, with placeholders that a shell can read."""
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(re.sub(r"<([\w-]+)>", r"\1", line), comments=True)
        if words:
            yield Line(block.where, words)


LINES = [line for block in BLOCKS if block.language == "bash" for line in lines_of(block)]


def own_command(words: list[str]) -> tuple[str, list[str]] | None:
    """Name and options of a command of this package; None for a program of others."""
    if words[0] == "amir":
        return words[1], words[2:]
    if "-m" in words and words[0] in ("python", "torchrun"):
        module, *options = words[words.index("-m") + 1 :]
        package, _, name = module.partition(".")
        return (name, options) if package == "amir_lightning" else None
    if words[:2] == ["sbatch", "experiments/slurm/train.sbatch"]:
        return "train", words[2:]
    return None


def jobs(options: list[str]) -> list[list[str]]:
    """Options of the jobs of a sweep, so that each typed value is in one of them."""
    if not {"-m", "--multirun"} & set(options):
        return [options]
    kept = [text for text in options if text not in ("-m", "--multirun")]
    choices = [
        [text]
        if not equals or re.search(r"[\[({]", text)
        else [f"{name}={one}" for one in values.split(",")]
        for text in kept
        for name, equals, values in [text.partition("=")]
    ]
    return [
        [now or first[0] for now, first in zip(job, choices, strict=True)]
        for job in zip_longest(*choices)
    ]


TYPED = {
    (name, *job): line.where
    for line in LINES
    if (found := own_command(line.words))
    for name, options in [found]
    for job in jobs(options)
}


def test_pages_and_blocks_are_found() -> None:
    assert {block.language for block in BLOCKS} <= LANGUAGES
    assert len(LINES) > 80
    assert {name for name, *_ in TYPED} == COMMANDS


@pytest.fixture
def shown_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the pages show, in a folder of one's own, where commands run."""
    for block in BLOCKS:
        if block.title:
            path = tmp_path / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_networks", raising=False)
    return tmp_path


@pytest.mark.parametrize("typed", TYPED, ids=" ".join)
def test_commands_compose(typed: tuple[str, ...], command: Command, shown_files: Path) -> None:
    name, *options = typed
    flags = [] if {"--help", "--cfg"} & set(options) else ["--cfg", "job"]
    done = command(name, *flags, *options)
    assert done.status == 0, f"{TYPED[typed]}: {done.err}"
    if "--help" in options:
        return
    cfg = yaml.safe_load(done.out)
    check_texts(cfg, shown_files, options)
    # Options gathered for train may be those of a sweep; the command reads them later.
    for job in jobs(["-m", *(cfg.get("train") or [])]):
        done = command("train", "--cfg", "job", *job)
        assert done.status == 0, f"{TYPED[typed]}: {done.err}"


def check_texts(cfg: dict[str, object], folder: Path, options: list[str]) -> None:
    """Check what is plain text to Hydra and a choice to the command."""
    if isinstance(task := cfg.get("task"), str):
        own = [path.stem for path in folder.glob("my/tasks/*.yaml")] if "my" in options else []
        known = cfg["tasks"] if isinstance(cfg.get("tasks"), dict) else ["mri", "ct", "pet"]
        parse_tasks(task, [*known, *own])
    if "draw" in cfg and cfg["draw"] is not None:
        assert cfg["draw"] in import_module("amir_lightning.draw.__main__").FIGURES
    for key, choices in {
        "split": {"train", "val", "test"},
        "metrics": {"paper", "standard"},
        "source": {"prepared", "phantoms"},
        "dataset": {"auto", *LAYOUTS},
        "measure": {"all", "difference", "size"},
    }.items():
        assert not isinstance(cfg.get(key), str) or cfg[key] in choices, f"{key}={cfg[key]}"


def test_programs_of_others_exist() -> None:
    verbs = set(
        re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[0].split()
    )
    for line in LINES:
        program, *words = line.words
        if own_command(line.words):
            continue
        if program == "make":
            targets = {word for word in words if "=" not in word}
            assert targets, line
            assert targets <= verbs, line
        elif program == "pip":
            assert words[0] == "install", line
            for extra in re.findall(r"\[([\w,-]+)\]", " ".join(words)):
                assert set(extra.split(",")) <= EXTRAS.keys(), line
        elif program == "python" and words[0].endswith(".py"):
            assert (ROOT / words[0]).exists(), line
        elif program == "wandb":
            assert words[0] in ("login", "sync", "leet"), line
        else:
            assert (program, words[0]) in {("pre-commit", "install"), ("git", "clone")}, line


def test_extras_that_texts_name_exist() -> None:
    for page in PAGES:
        for names in re.findall(r"amir-lightning\[([\w,-]+)\]", page.read_text()):
            assert set(names.split(",")) <= EXTRAS.keys(), page


def test_make_verbs_that_texts_name_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for page in [*PAGES, *(ROOT / ".github").rglob("*.yml")]:
        for verb in re.findall(r"(?:`|run: )make ([a-z][\w-]*)", page.read_text()):
            assert re.search(rf"^(?:[\w -]+ )?{verb}(?: [\w -]+)?:", makefile, re.MULTILINE), page


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.language == "python"], ids=lambda b: b.where
)
def test_python_blocks_name_what_exists(block: Block, shown_files: Path) -> None:
    tree = ast.parse(block.text)
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names: dict[str, object] = {}
    exec(compile(ast.Module(imports, []), block.where, "exec"), names)
    if block.title:
        runpy.run_path(str(shown_files / block.title))
        return
    if "paper_scores" in names:
        hq = np.linspace(-160, 240, 32 * 32).reshape(32, 32)
        exec(compile(tree, block.where, "exec"), {"hq": hq, "restored": hq + 1.0})
        return
    for node in ast.walk(tree):  # methods of a class that is imported here
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner = names.get(node.value.id)
            assert owner is None or hasattr(owner, node.attr), ast.unparse(node)


def test_a_network_that_the_pages_show_restores(shown_files: Path) -> None:
    import torch
    from hydra.utils import instantiate

    config = yaml.safe_load((shown_files / "my/network/small.yaml").read_text())
    assert instantiate(config)(torch.rand(1, 1, 33, 17)).shape == (1, 1, 33, 17)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    text = re.sub(r"^ *```.*?```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_in_texts_exist(page: Path) -> None:
    """What the pages call a file of the repository, in backquotes."""
    for name in re.findall(r"`((?:src|conf|experiments|tests|docs)/[\w/.*-]*)`", page.read_text()):
        assert list(ROOT.glob(name.rstrip("/"))), name


class Loaded(HTMLParser):
    """Addresses that a browser fetches by itself when it shows a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "srcset", "data", "poster") or (tag, name) == ("link", "href"):
                self.addresses.append(value or "")


@pytest.mark.skipif(find_spec("mkdocs") is None, reason="needs the extra docs")
def test_the_site_is_built_without_a_warning_and_loads_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", tmp_path / "site"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "true"},
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > len(list((ROOT / "docs").rglob("*.md")))  # 404.html, too
    for page in pages:
        loaded = Loaded()
        loaded.feed(page.read_text())
        assert loaded.addresses
        assert not [one for one in loaded.addresses if "//" in one], page
    tutorial = (tmp_path / "site" / "tutorial.html").read_text()
    assert tutorial.count('src="tutorial-') == 4, "pictures of the notebook"
    for sheet in (tmp_path / "site").rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", sheet.read_text()), sheet
