"""Paths and free texts reach every command as the shell hands them over."""

import fnmatch
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from conftest import Command
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from amir_lightning.cli.searchpath import register_tasks
from amir_lightning.cli.typed import LISTS, PATHS, TEXTS, as_typed, quoted
from amir_lightning.config import CONF_DIR, leaves

COMMANDS = sorted(path.stem for path in CONF_DIR.glob("*.yaml") if path.stem != "quiet")
NAMES = [
    *("with space", "Köln_München", "a=b", "one,two", "scan (2)", "50%", "x@y", "a#b", "{id}"),
    *("[1]", "$HOME", "it's", 'say "x"', "10:30", "a+b", "back\\slash", "~tilde", "~", "1e5"),
    *("007", "dash -v", "100307", "2024_03_05", "1234", "true", "FALSE", "nan", "inf", "-5"),
    *(".5", "1_0", " edge ", "tab\there", "two\nlines", "日本", "it's \\' both", "\\\\'", "'", '"'),
    *("ends\\", "a|b?*", "choice(a,b)", "(x", "[a", "{a:b}", "!&;`", "latin1-\udce4", "${open"),
]
# Options with a text by default that is one of few, or with null for something that is no text.
CHOICES = (
    "errors",
    *("task", "dataset", "scale", "split", "source", "metrics", "format", "dtype", "backend"),
    *(
        "on_error",
        "on_nan",
        "compression",
        "draw",
        "measure",
        "at_scale",
        "accelerator",
        "networks",
        "released_network",
        "algorithm",
    ),
    *("uncertainty", "engine", "engines", "engine_precision", "engine_float32"),
    *("scales", "precisions", "trusted", "network_name", "train", "slice", "tile", "grid"),
    *("central_slices", "split.*", "figures.*", "curves.*", "loading.*", "trainer.*", "loss.*"),
    *("network.*", "optimizer.*", "sampling.*", "callbacks.*", "data.*", "logger.name"),
    *("logger.offline", "layout_options.thickness_mm", "datasets.*.grid", "tasks.*.phantom*"),
    *("datasets.*.central_slices", "tasks.*.plane", "tasks.*.dicom_modality"),
    *("tasks.*.degradation.*", "profiler", "by", "tasks.*.*_range", "tasks.*.*_window"),
    "tasks.*.plausible",
    *("claims.*.rule", "claims.*.experiment", "claims.*.ahead", "claims.*.behind"),
    *("claims.*.tasks", "claims.*.scores", "claims.*.value", "claims.*.above"),
    "sweep",
    *("claims.*.blocks", "claims.*.definition", "claims.*.network", "claims.*.figure", "scored"),
)


def matches(name: str, *patterns: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def composed(command: str, *overrides: str) -> DictConfig:
    GlobalHydra.instance().clear()
    register_tasks()
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return compose(command, list(overrides))


def textual(command: str) -> Iterator[tuple[str, object]]:
    """Options of a command whose default is a text, texts or null."""
    for name, value in leaves(OmegaConf.to_container(composed(command), resolve=False)):
        texts = value if isinstance(value, list) else [value]
        if all(text is None or isinstance(text, str) for text in texts):
            yield name, value


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_that_may_hold_a_text_is_known_as_one_or_as_a_choice(command: str) -> None:
    for name, _ in textual(command):
        text, choice = matches(name, *PATHS, *TEXTS, *LISTS), matches(name, *CHOICES)
        assert text or choice, f"{name} is neither in typed.py nor here"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_path_and_text_of_a_command_is_read_as_typed(command: str) -> None:
    parser = OverridesParser.create()
    options = {n: v for n, v in textual(command) if matches(n, *PATHS, *TEXTS) and n not in LISTS}
    assert options
    for name, default in options.items():
        arguments = [f"{name}={text}" for text in [*NAMES, "null"]]
        texts = [one.value() for one in parser.parse_overrides(as_typed(arguments, command))]
        last = None if default is None else "null"
        # Hydra leaves the backslash in for OmegaConf, which takes it away.
        assert texts == [*(text.replace("${", "\\${") for text in NAMES), last], name
    for turn in range(0, len(NAMES), 15):  # all options at once, each with another name
        texts = dict(zip(options, [*NAMES[turn:], *NAMES, *NAMES], strict=False))
        typed = as_typed([f"{name}={text}" for name, text in texts.items()], command)
        cfg = composed(command, *typed)
        assert {name: OmegaConf.select(cfg, name) for name in texts} == texts


def test_lists_of_texts_keep_numbers_as_they_are() -> None:
    (runs, patients) = as_typed(["runs=[2024_03_05,a=b, 1e5]", "test_patients=[007,null]"], "draw")
    assert composed("draw", runs).runs == ["2024_03_05", "a=b", "1e5"]
    assert composed("prepare", patients).test_patients == ["007", "null"]
    quoted_already = ["runs=['a,b',c]", "runs=[[1],2]", "runs=last"]
    assert as_typed(quoted_already, "draw") == quoted_already


def test_what_has_a_meaning_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home of/me")

    def read(argument: str, command: str = "prepare") -> object:
        (typed,) = as_typed([argument], command)
        return OmegaConf.select(composed(command, typed), argument.split("=")[0].lstrip("+"))

    assert read("output=null") is None
    assert read("output=./null") == "./null"
    assert read("output=null", "restore") == "null"
    assert read("run=null", "contact_sheet") is None
    assert read("run=null", "evaluate") == "null"
    assert read("masks=2024_03_05", "evaluate") == "2024_03_05"
    assert read("masks=true", "contact_sheet") is True
    assert read("raw_dir=~/a b") == "/home of/me/a b"
    assert read("salt=~/a") == "~/a"
    assert read("raw_dir=${paths.data_dir}/a=b") == "data/a=b"
    # Quoted for Hydra, as one had to:
    for argument in ("raw_dir='a=b'", 'raw_dir="a=b"', "raw_dir=a\\=b"):
        assert read(argument) == "a=b"
    assert read("raw_dir='null'") == "null"
    assert read("salt='1234'") == "1234"
    # unless that very name is there:
    for name in ("'a=b'", "a\\=b", "${id}", "\\${x}"):
        Path(name).mkdir()
        assert read(f"raw_dir={name}") == name
    assert read("++titles.amir=1e5", "draw") == "1e5"
    assert as_typed(["task=1e5", "seed=1e5", "--cfg", "job"], "train")[:2] == [
        "task=1e5",
        "seed=1e5",
    ]


def test_sweeps_keep_their_commas_and_grammar() -> None:
    typed = as_typed(["-m", "raw_dir=2024_03_05,Köln, a=b", "salt=choice(1e5,x)"], "prepare")
    assert typed == ["-m", "raw_dir='2024_03_05','Köln','a=b'", "salt=choice('1e5',x)"]
    unchanged = ["-m", "raw_dir='a,b',c", "output=null,${paths.data_dir}/x", "seed=range(1,3)"]
    assert as_typed(unchanged, "prepare") == unchanged


@pytest.mark.parametrize("text", ["it's", "\\'", "a\\\\", "\\\\'b\\", "''", "\\"])
def test_quotes_are_undone_by_hydra(text: str) -> None:
    override = OverridesParser.create().parse_override(f"x={quoted(text)}")
    assert override.value() == text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("restore", "weights=a${id}"), r"typed '<option>=\${...'"),
        (("restore", "task=a(b"), "type \"task='a(b'\""),
        (("draw", "draw=curves", "runs=[a(b,c]"), "type \"runs=['a(b','c']\""),
        (("draw", "draw=curves", "runs=a=b"), "type \"runs=['a=b']\""),
        (("train", "-m", "paths.runs_dir=a(b"), "type \"paths.runs_dir='a(b'\""),
        (("plan", "experiment=table1", "logger.project=a(b"), "type \"logger.project='a(b'\""),
        (("restore", "ä=1"), "'ä=1' is no option; options are written name=value"),
        (("restore", "weights"), "'weights' is no option; options are written name=value"),
    ],
)
def test_the_sentence_shows_what_to_type(
    command: Command, arguments: tuple[str, ...], sentence: str
) -> None:
    usual = ("weights=x", "input=x", "output=x") if arguments[0] == "restore" else ()
    given = [text for text in usual if not arguments[1].startswith(text.split("=")[0])]
    done = command(*arguments, *given)
    assert done.status == 2
    assert sentence in done.err


@pytest.mark.parametrize("name", ["2024_03_05", "a=b", "one,two", "[1]", "~tilde", "null"])
def test_folders_of_any_name_are_prepared(command: Command, name: str) -> None:
    for number in range(4):
        path = Path(name).absolute() / f"{number}e5.nii.gz"
        path.parent.mkdir(exist_ok=True)
        voxels = np.random.default_rng(number).uniform(200, 500, (20, 20, 3)).astype(np.float32)
        nib.save(nib.Nifti1Image(voxels, np.diag([-1, -1, 3, 1])), path)
    options = (f"raw_dir={name}", f"output=./{name}.h5", "salt=1234", "test_patients=[1e5]")
    done = command("prepare", "task=mri", "jobs=1", *options)
    assert done.status == 0, done.err
    assert Path(f"{name}.h5").is_file()
