"""The command line: Hydra does the work; here a user's mistake becomes one clear message and an exit status."""

import os
import re
import signal
import sys
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from posenc.checks import ConfigError

MISTAKE = 2
"""Exit status after a user's mistake."""


def launch(main: Callable[..., Any]) -> None:
    """Run a `hydra.main` function; a mistake in config or options prints one message and exits with status 2.

    With HYDRA_FULL_ERROR=1 in the environment every error keeps its traceback.
    """
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        main()
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises to us instead of printing by itself
    try:
        main()
    except (HydraException, OmegaConfBaseException, ConfigError) as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        sys.exit(MISTAKE)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except OSError as error:
        print(f"error: {error.filename or 'a file'} cannot be written or read ({error.strerror}).", file=sys.stderr)
        sys.exit(MISTAKE)
    finally:
        os.environ.pop("HYDRA_FULL_ERROR")


def explain(error: Exception) -> str:
    """The message of an error; a misspelt option is answered by those that exist."""
    text = str(error).strip()
    key = re.search(r"Could not override '([^']+)'", text)
    if key is not None:
        return _unknown_key(key.group(1)) or text
    missing = re.search(r"Could not find '(\w+)/([^']+)'.*?Available options in '\w+':\n(.*)", text, re.DOTALL)
    if missing is not None:
        group, wrong, options = missing.group(1), missing.group(2), missing.group(3).split()
        return f"{group}={wrong} does not exist; the options are {', '.join(options)}.{_nearest(wrong, options)}"
    cause = error.__cause__
    if isinstance(error, HydraException) and isinstance(cause, OmegaConfBaseException):
        text += f" ({str(cause).splitlines()[0]})"
    return text


def _unknown_key(key: str) -> str | None:
    """Name the keys that stand beside a key that does not exist."""
    from hydra import compose
    from hydra.core.global_hydra import GlobalHydra

    if not GlobalHydra().is_initialized():
        return None
    chosen = [word for word in sys.argv[1:] if re.fullmatch(r"(encoding|dataset|model|positions|trainer)=\w+", word)]
    config = compose("train", overrides=chosen)
    parent, _, wrong = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    if not OmegaConf.is_dict(node):
        return f"{key} does not exist: {parent} has no options of its own." if parent else None
    options = [str(name) for name in node if not str(name).startswith("_")]
    return f"{key} does not exist; {parent or 'the config'} has {', '.join(options)}.{_nearest(wrong, options)}"


def _nearest(wrong: str, options: list[str]) -> str:
    near = get_close_matches(wrong, options, n=1)
    return f" Did you mean {near[0]}?" if near else ""
