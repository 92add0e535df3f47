"""The commands of ``amas-providers audit``: what they take, and what they call."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..completion import outcome_names
from ..ending import end

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Prove that the records of calls are as they were written, show and find them.",
)

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="AMAS_PROVIDERS_CONFIG",
        help="YAML file whose providers.audit.path says where the records are.",
        show_default=False,
    ),
]
FilesArgument = Annotated[
    list[Path] | None,
    typer.Argument(help="Files with records, instead of those of the configuration."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
SinceOption = Annotated[
    str | None,
    typer.Option(
        help="From when on: so long ago (30m, 24h, 7d), a day (2026-11-24), or a time"
        " (2026-11-24T02:40Z). A time without a zone is one in UTC.",
        show_default=False,
    ),
]
UntilOption = Annotated[
    str | None,
    typer.Option(
        help="Until when, written like --since; a day is in it whole.", show_default=False
    ),
]


class Format(StrEnum):
    """How records are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


@app.command()
def verify(  # noqa: PLR0917 -- typer reads a command's options from its signature
    files: FilesArgument = None,
    config: ConfigOption = None,
    checkpoints: Annotated[
        Path | None,
        typer.Option(help="Folder of the checkpoints, if not as configured or beside the files."),
    ] = None,
    no_checkpoint: Annotated[
        bool,
        typer.Option("--no-checkpoint", help="Do without: then nobody sees what was cut off."),
    ] = False,
    master_key_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the master keys, also former ones, if not as configured or in"
            " AMAS_MASTER_KEY."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check that no record was changed, removed, inserted or cut off.

    Exit codes: 0 all is as it was written; 1 it is not, and the first such record of each chain
    is named; 2 wrong usage, or there is nothing to check.
    """

    def work() -> int:
        from .verify import verify_command  # noqa: PLC0415 -- help must not wait for it

        return verify_command(
            config,
            files or [],
            checkpoints=checkpoints,
            with_checkpoint=not no_checkpoint,
            master_key_file=master_key_file,
            as_json=as_json,
        )

    end(work)


@app.command()
def tail(
    files: FilesArgument = None,
    config: ConfigOption = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many records.")] = 20,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is added, until interrupted.")
    ] = False,
) -> None:
    """Show the last records, a line each. It needs no key, and proves nothing."""

    def work() -> int:
        from .tail import tail_command  # noqa: PLC0415 -- help must not wait for it

        return tail_command(config, files or [], lines, follow=follow)

    end(work)


@app.command()
def query(  # noqa: PLR0917 -- typer reads a command's options from its signature
    files: FilesArgument = None,
    config: ConfigOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    caller: Annotated[
        str | None, typer.Option(help="Who called; '' for nobody named.", show_default=False)
    ] = None,
    provider: Annotated[
        str | None,
        typer.Option(help="Who was asked, also if another one answered.", show_default=False),
    ] = None,
    outcome: Annotated[
        str | None,
        typer.Option(
            help="How it ended, such as ok or timeout; failed for whatever failure.",
            show_default=False,
            autocompletion=outcome_names,
        ),
    ] = None,
    request_id: Annotated[
        str | None, typer.Option(help="The id of one call.", show_default=False)
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(help="The kind of record, such as call or access.", show_default=False),
    ] = None,
    as_: Annotated[
        Format, typer.Option("--format", help="A table, JSON Lines, or CSV.")
    ] = Format.TABLE,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="The last so many; a table shows 1000.", show_default=False),
    ] = None,
) -> None:
    """Find records, oldest first. It needs no key, and proves nothing: see verify."""

    def work() -> int:
        from .query import query_command  # noqa: PLC0415 -- help must not wait for it

        wanted = {
            "caller": caller,
            "provider": provider,
            "outcome": outcome,
            "request_id": request_id,
            "kind": kind,
        }
        return query_command(
            config, files or [], (since, until), wanted, form=as_.value, limit=limit
        )

    end(work)
