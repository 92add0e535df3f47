"""How a command ends: with its exit code, or with that of what went wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

import typer

from ..errors import ProviderConfigError, ProviderError
from . import output


def end(work: Callable[[], int]) -> NoReturn:
    """Do a command's work, and end with its exit code or with that of its error."""
    try:
        code = work()
    except ProviderConfigError as error:
        for problem in error.problems:
            output.say(problem)
        code = 2
    except ProviderError as error:
        output.say(f"{type(error).__name__}: {error}")
        code = 1
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        # The reader of our output has left, as in ``… | head``; nothing is wrong.
        sys.stderr.close()
        code = 0
    except (OSError, UnicodeError) as error:
        output.say(f"the output cannot be written: {error}")
        code = 1
    raise typer.Exit(code)
