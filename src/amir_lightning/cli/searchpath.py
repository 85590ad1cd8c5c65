"""Folders where a command finds configuration groups: ``conf/`` and those that a user adds.

A user adds folders with ``--config-dir``, ``--config-path`` and ``hydra.searchpath=[...]``. Their
files can be chosen like those of the package: tasks, networks, losses, experiments and so on.
"""

import shlex
import sys
import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

# Folders and tasks are looked up before Hydra starts, so that mistakes end in our sentence. Hydra
# has no public function for that: neither to parse its flags, nor to build a loader from several
# folders (initialize_config_dir takes one, and none behind --config-dir).
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins import file_config_source
from hydra._internal.sources_registry import SourcesRegistry
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from amir_lightning.config import CONF_DIR
from amir_lightning.errors import InputError
from amir_lightning.tasks import canonical, known_tasks, parse_tasks

_SEARCHPATH = "hydra.searchpath"
_SIZE = "network/size@network"


class PackageConf(SearchPathPlugin):
    """Add the package's ``conf/`` behind the folder of ``--config-path``."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append ``conf/``; Hydra appends the folder of ``--config-dir`` later."""
        if str(CONF_DIR) not in (one.path for one in search_path.get_path()):
            search_path.append("amir_lightning", str(CONF_DIR))


class FileConfigSource(file_config_source.FileConfigSource):
    """Keep every parsed file of a folder, as long as it does not change.

    Hydra composes three times for one command and once more for each job of a sweep, and each time
    it would parse some thirty files, which takes a third of the composing. Hydra takes a class in
    the place of its own if that has the same name.
    """

    _kept: ClassVar[dict[tuple[str, int, int], ConfigResult]] = {}

    def load_config(self, config_path: str) -> ConfigResult:
        """Return a copy of the file's content, which Hydra may change."""
        path = Path(self.path) / self._normalize_file_name(config_path)
        if not path.exists():
            return super().load_config(config_path)  # raises Hydra's error
        state = path.stat()
        key = (str(path.absolute()), state.st_mtime_ns, state.st_size)
        if key not in self._kept:
            self._kept[key] = super().load_config(config_path)
        return replace(deepcopy(self._kept[key]), provider=self.provider)


@dataclass(frozen=True)
class SearchPath:
    """Configuration folders of one command.

    Attributes:
        loader: Hydra's loader of these folders.
        config_name: Root file of the command; its ``hydra.searchpath`` may name more folders.
        overrides: The override of ``hydra.searchpath``, if one was typed.
    """

    loader: ConfigLoader
    config_name: str
    overrides: tuple[str, ...] = ()

    @classmethod
    def running(cls) -> "SearchPath":
        """Return the folders of the command that Hydra runs in this process."""
        loader = GlobalHydra.instance().config_loader()
        if not HydraConfig.initialized():
            return cls(loader, "train")
        hydra = HydraConfig.get()
        return cls(loader, str(hydra.job.config_name), _searchpath(hydra.overrides.hydra))

    @classmethod
    def typed(cls, config_name: str, arguments: Sequence[str]) -> "SearchPath":
        """Return the folders that a command line names, before Hydra has started.

        Args:
            config_name: Root file of the command.
            arguments: The command line without the program's name.

        Raises:
            InputError: A folder does not exist.
        """
        flags, rest = get_args_parser().parse_known_args(list(arguments))
        Plugins.instance().register(PackageConf)
        SourcesRegistry.instance().types["file"] = FileConfigSource  # register() keeps the first
        search_path = create_config_search_path(flags.config_path or str(CONF_DIR))
        if flags.config_dir is not None:
            search_path.prepend("command-line", flags.config_dir, SearchPathQuery("schema"))
        found = cls(
            ConfigLoaderImpl(search_path),
            flags.config_name or config_name,
            _searchpath([*flags.overrides, *rest]),
        )
        for flag, folder in (
            ("--config-path", flags.config_path),
            ("--config-dir", flags.config_dir),
        ):
            if folder is not None and "://" not in folder and not Path(folder).is_dir():
                raise _no_folder(f"{flag} {folder}", folder, f"{flag} <folder>")
        try:
            found.choices("tasks")
        except UserWarning as warning:  # Hydra only warns and goes on without the folder
            folder = str(warning).split("path=")[-1].removesuffix(" is not available.")
            raise _no_folder(
                f"{_SEARCHPATH} names {folder}, which", folder, f"{_SEARCHPATH}=[<folder>]"
            ) from warning
        return found

    @classmethod
    def of(cls, config_name: str) -> "SearchPath":
        """Return the folders of this process's command, even after Hydra has ended."""
        if GlobalHydra.instance().is_initialized():
            return cls.running()
        return cls.typed(config_name, sys.argv[1:])

    def choices(self, group: str, kind: ObjectType = ObjectType.CONFIG) -> list[str]:
        """List the files of a group, such as ``network``, in all folders."""
        return [*_choices(self.loader, group, kind, self.config_name, self.overrides)]

    def file(self, name: str) -> Path | None:
        """Find a file such as ``network/size/amir_demo.yaml`` in the first folder that has it."""
        folders = (str(one.path) for one in self.loader.get_search_path().get_path())
        paths = (Path(folder.removeprefix("file://")) / name for folder in folders)
        return next((path for path in paths if path.is_file()), None)

    def has_group(self, group: str) -> bool:
        """Return whether any folder has a group of that name."""
        parent, _, name = group.rpartition("/")
        return name in self.choices(parent, ObjectType.GROUP)

    def tasks(self) -> list[str]:
        """List all tasks in canonical order: mri, ct, pet, then the others."""
        return sorted(self.choices("tasks"), key=canonical)

    def refuse_unknown_tasks(self, arguments: Sequence[str]) -> None:
        """Check the tasks of a command line that only shows its configuration (``--cfg``).

        Hydra prints a configuration without calling the command, which checks them otherwise.

        Args:
            arguments: The command line without the program's name.

        Raises:
            InputError: ``task`` names a task that is not known.
        """
        flags, rest = get_args_parser().parse_known_args(list(arguments))
        if not flags.cfg and not flags.info:
            return
        cfg = self.compose(self.config_name, [*flags.overrides, *rest])
        named = [text for text in cfg.get("train") or [] if text.startswith("task=")]
        if named:  # options of train that another command gathers; commas separate runs of a sweep
            for text in named[-1].removeprefix("task=").split(","):
                parse_tasks(text.strip("'\" "), self.tasks())
        elif "tasks" in cfg and "weights" not in cfg and OmegaConf.select(cfg, "task"):
            parse_tasks(cfg.task, cfg.tasks)  # weights bring their own tasks

    def compose(self, config_name: str, overrides: Sequence[str]) -> DictConfig:
        """Compose a configuration from these folders, with the node ``hydra``.

        Args:
            config_name: Name of the root file, such as "train".
            overrides: Options as a user would type them after the command.

        Raises:
            InputError: The network has no size at the chosen scale.
        """
        cfg = self.loader.load_configuration(
            config_name, overrides=[*self.overrides, *overrides], run_mode=RunMode.RUN
        )
        OmegaConf.set_struct(cfg, False)
        self._refuse_missing_size(cfg.hydra.runtime.choices)
        return cfg

    def _refuse_missing_size(self, chosen: Mapping[str, str | None]) -> None:
        """Refuse a network that would silently get the size of its own file, ``conf/network``.

        That is its size at scale=paper, and at every scale if the network has no sizes at all.
        """
        network, scale, size = (chosen.get(key) for key in ("network", "scale", _SIZE))
        if size is None or size in (sizes := self.choices("network/size")):
            return
        if size != f"{network}_{scale}":
            raise InputError(
                f"there is no size '{size}' of a network; choose from {', '.join(sizes)} "
                f"({_SIZE}=<name>)"
            )
        own = [one for one in self.choices("scale") if f"{network}_{one}" in sizes]
        if own and scale != "paper":
            raise InputError(
                f"network={network} has no size at scale={scale}; type "
                f"{_SIZE}={network}_{own[-1]}, or '~{_SIZE}' for the size of its own file, or "
                f"write network/size/{size}.yaml"
            )


@lru_cache(maxsize=256)  # Hydra composes the root file for each answer
def _choices(
    loader: ConfigLoader, group: str, kind: ObjectType, config_name: str, overrides: tuple[str, ...]
) -> list[str]:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="provider=.* is not available")
        return loader.get_group_options(group, kind, config_name, list(overrides))


def typed_folders() -> list[str]:
    """Flags that add the running command's folders to another command line, quoted for a shell."""
    if not GlobalHydra.instance().is_initialized():
        return []
    path = SearchPath.running()
    flags = {"main": "--config-path", "command-line": "--config-dir"}  # Hydra's own names
    added = {
        flags[str(one.provider)]: str(one.path).removeprefix("file://")
        for one in path.loader.get_search_path().get_path()
        if one.provider in flags and one.path != str(CONF_DIR)
    }
    words = [*(word for pair in added.items() for word in pair), *path.overrides]
    return [shlex.quote(word) for word in words]


def in_order(arguments: Sequence[str]) -> list[str]:
    """Return the same command line with its flags first.

    Hydra's parser refuses a flag between two overrides, and Lightning starts further processes with
    more overrides at the end. A relative ``--config-path`` becomes absolute, because Hydra would
    look for it below this package.

    Raises:
        InputError: There is no such flag.
    """
    parsed, rest = get_args_parser().parse_known_args(list(arguments))
    for text in rest:
        if text.startswith("-"):
            raise InputError(f"there is no flag {text}; --hydra-help lists the flags that exist")
    if parsed.info:  # its value may be the next word, which must stay there
        return list(arguments)
    overrides = [*parsed.overrides, *rest]
    flags = list(arguments)
    for text in overrides:
        flags.remove(text)
    if parsed.config_path is not None and "://" not in parsed.config_path:
        flags += ["--config-path", str(Path(parsed.config_path).absolute())]  # the last one wins
    return [*flags, *overrides]


def register_tasks(names: Sequence[str] | None = None) -> None:
    """Register the config ``all_tasks`` of the tasks, so that a new task is one new YAML file.

    Args:
        names: Names of the tasks; None for those of the package.
    """
    names = known_tasks() if names is None else names
    defaults = [{f"tasks@tasks.{name}": name} for name in names]
    ConfigStore.instance().store(name="all_tasks", node={"defaults": defaults})


def _searchpath(overrides: Sequence[str]) -> tuple[str, ...]:
    return tuple(text for text in overrides if text.lstrip("+").startswith(f"{_SEARCHPATH}="))


def _no_folder(found: str, folder: str, typed: str) -> InputError:
    return InputError(
        f"{found} is not a folder; expected one with groups of configuration files, such as "
        f"{Path(folder) / 'tasks' / '<name>.yaml'}; type {typed}"
    )
