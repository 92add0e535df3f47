"""The commands of ``amas-providers migrate``: what they take, and what they call."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..ending import end

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Find the way over from the old service modules and from vendors' SDKs.",
)


class Old(StrEnum):
    """The old module whose providers are wanted."""

    LLM_SERVICE = "llm_service"
    UNIVERSAL_AI_MANAGER = "universal_ai_manager"
    ULTIMATE_FALLBACK_SYSTEM = "ultimate_fallback_system"
    MANAGER = "manager"
    ALL = "all"


@app.command()
def scan(
    path: Annotated[Path, typer.Argument(help="Folder, or file, to read.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of lines.")] = False,
) -> None:
    """List where a code base uses the old modules and vendors' SDKs, and what to do.

    It reads only: nothing of the code is imported or executed. Every line begins with
    file:line:column. What is marked "best effort" is a good guess.
    """
    from .report import scan_command  # noqa: PLC0415 -- help must not wait for what scans need

    end(lambda: scan_command(path, as_json=as_json))


@app.command()
def config(
    source: Annotated[
        Old, typer.Option("--from", help="Whose addresses and models are written.")
    ] = Old.ALL,
    file: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write; standard output without it."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite the file if there is one.")
    ] = False,
) -> None:
    """Write a providers: section from the variables that are set for the old modules.

    Keys are written as references such as ${DEEPSEEK_API_KEY}, never as what they hold.
    """
    from .config import config_command  # noqa: PLC0415 -- help must not wait for what it needs

    end(lambda: config_command(source.value, file, force=force))
