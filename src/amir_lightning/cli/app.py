"""Entry point of every command: Hydra without its output folders, mistakes in one sentence."""

import difflib
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import NoReturn

import yaml
from omegaconf import DictConfig, OmegaConf

from amir_lightning.cli import typed
from amir_lightning.cli.composed import check_types
from amir_lightning.cli.searchpath import SearchPath, in_order, register_tasks
from amir_lightning.config import CONF_DIR, leaves
from amir_lightning.errors import InputError
from amir_lightning.system import cores

# Extra of this package that installs the plugin behind a file of conf/hydra.
_EXTRAS = {
    "joblib": "joblib",
    "submitit_local": "submitit",
    "submitit_slurm": "submitit",
    "optuna": "optuna",
}


def command(
    config_name: str, options_of: str | None = None
) -> Callable[[Callable[[DictConfig], object]], Callable[[], None]]:
    """Turn ``main(cfg)`` into a command whose options Hydra composes.

    Values are checked against the types of the YAML files. A mistake of the user ends the command
    with one sentence on stderr and exit status 2. A bug keeps its traceback.

    Args:
        config_name: Name of the root file in ``conf/``, such as "train".
        options_of: Another command whose options are accepted, too. Options that the root file does
            not have are passed to `main` as a list of texts under the name of that command.
    """

    def decorate(main: Callable[[DictConfig], object]) -> Callable[[], None]:
        def checked(cfg: DictConfig) -> object:
            from hydra.core.hydra_config import HydraConfig
            from hydra.types import RunMode

            if logging.getLogger("amir_lightning").level != logging.INFO:
                _quieten()  # a launcher has started this process without `entry`
            try:
                typed.keep_text(cfg)
                check_types(cfg, config_name)
                if (n := cfg.get("bootstrap", 0)) < 0:  # several commands have this option
                    raise InputError(f"bootstrap is {n}, expected at least 0; type bootstrap=1000")
                cores.share(cfg.get("trainer"))
                return main(cfg)
            except Exception as error:
                sentence = explain(error, config_name)
                if sentence is None:
                    raise
                sweep = HydraConfig.get().mode is RunMode.MULTIRUN
                status = getattr(error, "status", 2)
                if sweep and status < 128:  # from 128 on a signal stopped it: end the sweep
                    # Print now: Hydra runs the remaining jobs and re-raises only the first failure.
                    job = " ".join(HydraConfig.get().overrides.task)
                    print(f"error: {sentence} (job {job})", file=sys.stderr)
                    raise InputError("a job of the sweep failed, see above") from error
                _stop(sentence, status)

        def entry() -> None:
            import hydra

            os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints errors itself and exits
            cores.let_others_run()
            typed.print_any_name()
            _quieten()
            try:
                sys.argv[1:] = in_order(sys.argv[1:])
                path = SearchPath.typed(config_name, sys.argv[1:])
                register_tasks(path.tasks())
                if options_of is not None:
                    sys.argv[1:] = _gather(sys.argv[1:], config_name, options_of, path)
                sys.argv[1:] = typed.as_typed(sys.argv[1:], config_name)
                path.refuse_unknown_tasks(sys.argv[1:])
                hydra.main(config_path=str(CONF_DIR), config_name=config_name, version_base="1.3")(
                    checked
                )()
            except KeyboardInterrupt:
                _stop("interrupted", status=130)
            except BrokenPipeError:  # `--help | head`: the reader has closed the pipe
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                sys.exit(0)
            except Exception as error:
                sentence = explain(error, config_name)
                if sentence is None:
                    raise
                _stop(sentence)

        return entry

    return decorate


def _gather(arguments: list[str], config_name: str, options_of: str, path: SearchPath) -> list[str]:
    """Move the options of another command into one list option, each as a quoted text."""
    root = OmegaConf.load(CONF_DIR / f"{config_name}.yaml")
    defaults = OmegaConf.select(root, "defaults")
    groups = [str(key) for one in defaults if not isinstance(one, str) for key in one]
    own = [*root, *groups, "hydra"]
    known = [*own, *OmegaConf.load(CONF_DIR / f"{options_of}.yaml")]
    kept: list[str] = []
    gathered: list[str] = []
    for before, text in pairwise(["", *arguments]):
        name = re.split(r"[.=@/]", text.lstrip("+~"))[0]
        # A word behind a flag may be its value, as in --cfg job.
        flag = text.startswith("-") or (before.startswith("-") and "=" not in text)
        if not flag and "=" not in text and not text.startswith("~"):
            _stop(f"'{text}' is no option; options are written name=value, and --help lists them")
        sound = flag or name in known or path.has_group(name)
        if not sound and (near := difflib.get_close_matches(name, own, 1)):
            _stop(f"unknown option '{name}'; did you mean '{near[0]}'?")
        (kept if flag or name in own else gathered).append(text)
    gathered = typed.as_typed(gathered, options_of, sweep=True)
    return [*kept, f"{options_of}=[" + ",".join(map(typed.quoted, gathered)) + "]"]


def _quieten() -> None:
    """Show messages of this package from INFO on, and those of libraries from WARNING on."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("amir_lightning").setLevel(logging.INFO)
    for name in ("lightning.pytorch", "lightning.fabric"):
        # A filter, because Lightning resets the levels of its loggers when it is imported.
        logger = logging.getLogger(f"{name}.utilities.rank_zero")
        logger.addFilter(lambda record: record.levelno >= logging.WARNING)
    for message in (
        ".*LeafSpec.*deprecated",  # Lightning 2.6 on torch >= 2.13
        ".*_prims_common.check.*deprecated",  # torch.compile calls it in torch 2.11 to 2.13
        "TensorFloat32 tensor cores.*not enabled",  # float32 products shall stay float32
        ".*exists and is not empty",  # `train` continues run folders on purpose
        ".*sync_dist=True",  # `modules` gathers scores of all processes before logging them
        ".*predict returned None",  # `restore` writes slices itself
        ".*does not have many workers",  # right for small data; data.num_workers adds workers
        "Grad strides do not match bucket view strides",  # from one-channel filters; harmless
    ):
        warnings.filterwarnings("ignore", message=message)


def _stop(sentence: str, status: int = 2) -> NoReturn:
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(status)


def explain(error: Exception, config_name: str) -> str | None:
    """Explain a mistake of the user in one sentence; return None for a bug.

    Args:
        error: The exception.
        config_name: Root file of the command, whose options were typed.
    """
    from hydra.errors import HydraException, InstantiationException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, InstantiationException):
        return _refused_arguments(error)
    if isinstance(error, yaml.MarkedYAMLError):
        return f"a configuration file is not valid YAML: {' '.join(str(error).split())}; correct it"
    if not isinstance(error, HydraException | OmegaConfBaseException):
        return None
    if (told := typed.explain(error)) is not None:
        return told
    text = str(error)
    if found := re.search(r"Could not override '([^']+)'", text):
        return _unknown_option(found.group(1), config_name)
    if found := re.search(r"Could not find '([^']+)/([^/']*)'", text):
        group, name = found.groups()
        if group.startswith("hydra/") and name in _EXTRAS:
            extra = _EXTRAS[name]
            return f"this needs the extra {extra}; type pip install 'amir-lightning[{extra}]'"
        choices = ", ".join(SearchPath.of(config_name).choices(group))
        return f"unknown {group} '{name}'; choose from {choices} ({group}=<name>)"
    if found := re.search(r"Ambiguous value for argument '([^']+)'", text):
        return (
            f"{found.group(1)} holds several values; join tasks with '+', write a list as [a,b], "
            "or sweep over the values with -m"
        )
    if found := re.search(r"Missing mandatory value: (\S+)", text):
        return f"{found.group(1)} is not set; type {found.group(1)}=<value>"
    first = text.strip().splitlines()[0] if text.strip() else type(error).__name__
    return f"{first.rstrip('.')}; options are written name=value, and --help lists them"


def _refused_arguments(error: BaseException) -> str | None:
    """Explain why the object of a ``_target_`` node could not be built."""
    cause = error.__cause__
    if isinstance(cause, InputError):
        return str(cause)
    if found := re.search(r"Error locating target '([^']+)'", str(error)):
        reason = " ".join(str(cause and (cause.__cause__ or cause)).split())
        return (
            f"_target_ is {found.group(1)}, which cannot be imported ({reason}); correct the name, "
            "or start the command in the folder of the module"
        )
    if isinstance(cause, TypeError) and "argument" in str(cause):
        node = re.search(r"full_key: (\S+)", str(error))
        where = f" (in {node.group(1)})" if node else ""
        return f"{cause}{where}; --cfg job lists the options that exist"
    return None


def _unknown_option(key: str, config_name: str) -> str:
    cfg = SearchPath.of(config_name).compose(config_name, [])
    cfg.pop("hydra")
    known = [name for name, _ in leaves(OmegaConf.to_container(cfg))]
    by_leaf = {name.split(".")[-1]: name for name in reversed(known)}
    near = difflib.get_close_matches(key, known, n=1) or [
        by_leaf[leaf] for leaf in difflib.get_close_matches(key.split(".")[-1], by_leaf, n=1)
    ]
    hint = f"did you mean '{near[0]}'?" if near else "no option has a similar name;"
    return (
        f"unknown option '{key}'; {hint} python -m amir_lightning.{config_name} --cfg job lists all"
    )
