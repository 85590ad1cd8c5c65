"""``amir <command> <options>``, the same as ``python -m amir_lightning.<command> <options>``."""

import ast
import difflib
import pkgutil
import runpy
import sys
from pathlib import Path

from amir_lightning.config import CONF_DIR


def main() -> None:
    """Run the command that was typed, or list the commands."""
    typed = sys.argv[1:2]
    commands = _commands()
    if not typed or typed[0] in ("-h", "--help", "help"):
        print("usage: amir <command> <options>; amir <command> --help lists the options\n")
        width = max(map(len, commands))
        for name in commands:
            print(f"  {name:{width}}  {_summary(name)}")
        return
    (name,) = typed
    if name not in commands:
        near = difflib.get_close_matches(name, commands, 1)
        known = f"did you mean '{near[0]}'?" if near else f"choose from {', '.join(commands)}"
        print(f"error: unknown command '{name}'; {known} (amir lists them)", file=sys.stderr)
        sys.exit(2)
    del sys.argv[1]
    # Find the user's modules in the current folder, as `python -m` does.
    if not sys.flags.safe_path and sys.path[0] != str(Path.cwd()):
        sys.path.insert(0, str(Path.cwd()))
    # Set `__main__` as `python -m` does: Lightning reads the module's name there to start further
    # processes.
    runpy.run_module(f"amir_lightning.{name}", run_name="__main__", alter_sys=True)


def _commands() -> list[str]:
    """Names of the packages and modules here that have a root file in ``conf/``."""
    found = (one.name for one in pkgutil.iter_modules([str(Path(__file__).parent)]))
    return [name for name in found if (CONF_DIR / f"{name}.yaml").exists()]


def _summary(name: str) -> str:
    """First line of the command's docstring, without the example before the colon."""
    room = Path(__file__).parent / name
    file = room / "__main__.py" if room.is_dir() else room.with_suffix(".py")
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0].rpartition("``: ")[-1].rstrip(".")


if __name__ == "__main__":
    main()
