"""The former name of a command of `python -m posenc`."""

from posenc.runs.former import command

command("posenc.statistics")
