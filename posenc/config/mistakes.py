"""A user's mistake in options or config: one message, which says what to type, and exit status 2."""

import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.errors import HydraException, InstantiationException
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from posenc.checks import ConfigError
from posenc.config.explain import explain, one_line
from posenc.runs.reading import plain_text

MISTAKE = 2
"""Exit status after a user's mistake."""
BROKEN_OFF: list[Callable[[], object]] = []
"""Functions that report the finished jobs if an error of Hydra or of a launcher ends a sweep."""


def first_cause(error: InstantiationException) -> BaseException | None:
    """The error of the constructor that Hydra has called, behind Hydra's own errors; None if Hydra called none."""
    cause = error.__cause__
    while isinstance(cause, InstantiationException) and cause.__cause__ is not None:
        cause = cause.__cause__
    return cause


@contextmanager
def mistakes(configs: Path) -> Iterator[None]:
    """A context manager: a mistake in config or options prints one message and exits with status 2."""
    try:
        yield
    except (HydraException, OmegaConfBaseException, ConfigError) as error:
        print(f"error: {plain_text(explain(error, configs))}", file=sys.stderr)
        while BROKEN_OFF:  # each is called once, even if a process runs several commands
            BROKEN_OFF.pop()()
        sys.exit(MISTAKE)
    except YAMLError as error:
        print(f"error: a config file is not YAML: {plain_text(str(error))}", file=sys.stderr)
        sys.exit(MISTAKE)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except OSError as error:
        what = plain_text(str(error.filename or "a file"))
        print(f"error: {what} cannot be written or read ({error.strerror}).", file=sys.stderr)
        sys.exit(MISTAKE)
    except Exception as error:
        hydras = isinstance(error, ValueError) and str(error).startswith("Unable to configure")  # its logging
        if hydras or (isinstance(error, TypeError | ValueError) and _composing(error)):
            told = plain_text(one_line(str(error)))
            print(f"error: the command line does not make a config: {told}.", file=sys.stderr)
            sys.exit(MISTAKE)
        if type(error).__module__.partition(".")[0] not in ("joblib", "submitit", "ray"):
            raise
        while BROKEN_OFF:
            BROKEN_OFF.pop()()
        reason = (str(error).strip().splitlines() or [""])[0]
        print(f"error: the process of a run died ({type(error).__name__}: {reason})", file=sys.stderr)
        print("finished runs are kept: the same command continues with the rest.", file=sys.stderr)
        sys.exit(1)


def _composing(error: Exception) -> bool:
    """Whether Hydra raised the error because of the command line. Some of these errors have no type of their own."""
    files = [Path(frame.filename).parts for frame in traceback.extract_tb(error.__traceback__)]
    inside = any(parts[-2:] == ("jobs", "job.py") for parts in files)
    return not inside and not {"hydra", "omegaconf"}.isdisjoint(files[-1])
