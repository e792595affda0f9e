"""`python -m posenc init` writes the user's first own encoding and task into a folder."""

import shutil
from pathlib import Path

from posenc.checks import ConfigError
from posenc.terminal import TRAIN

FILES = Path(__file__).with_name("files")
"""The encoding of docs/own_encoding.md and the task of docs/own_task.md."""


def show(folder: Path) -> None:
    """Copy the files into `folder`, and print the command to train. Raises ConfigError if one of the files exists."""
    names = sorted(path.relative_to(FILES) for path in FILES.rglob("*") if path.suffix in (".py", ".yaml"))
    there = [str(folder / name) for name in names if (folder / name).exists()]
    if there:
        raise ConfigError(f"{there[0]} exists already, and nothing is overwritten; begin in an empty folder: init DIR.")
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(FILES / name, folder / name)
        print(folder / name)
    inside = "" if folder.resolve() == Path.cwd() else f"cd {folder} && "
    print(f"train with them: {inside}{TRAIN} -m encoding=my_encoding,none dataset=my_task trainer.max_steps=200")
