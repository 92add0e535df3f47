"""The commands of ``amas-providers config``: what they take, and what they call."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..completion import environment_names, field_names
from ..ending import end
from .parts import Part

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Check, show, compare and explain configurations.",
)

FileArgument = Annotated[
    Path | None, typer.Argument(help="YAML file with a providers: section.", show_default=False)
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="AMAS_PROVIDERS_CONFIG",
        help="YAML file with a providers: section.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@app.command()
def validate(
    file: FileArgument = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Check a file; nobody is called.

    Each problem and each warning has a line that says where it stands and what to do.

    Exit codes: 0 it can be used, perhaps with warnings; 2 it cannot.
    """

    def work() -> int:
        from .validating import validate_command  # noqa: PLC0415 -- help must not wait for it

        return validate_command(file or config, as_json=as_json)

    end(work)


@app.command()
def show(
    file: FileArgument = None,
    config: ConfigOption = None,
    resolved: Annotated[
        bool, typer.Option("--resolved", help="Fill in defaults and follow references.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show a configuration with all its layers, and where each value stands; never a secret.

    The layers, the lowest first: files that it extends, the file, its overlay (of c.yaml under
    AMAS_ENVIRONMENT=production: c.production.yaml), variables (AMAS_PROVIDERS__LLM__OPENAI__TIMEOUT).
    """

    def work() -> int:
        from .showing import show_command  # noqa: PLC0415 -- help must not wait for it

        return show_command(file or config, resolved=resolved, as_json=as_json)

    end(work)


@app.command()
def diff(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="The file; where --config names it, the one to compare with.", show_default=False
        ),
    ] = None,
    other: Annotated[
        Path | None, typer.Argument(help="The file to compare with.", show_default=False)
    ] = None,
    config: ConfigOption = None,
    environment: Annotated[
        str | None,
        typer.Option(
            help="Compare with what holds under this AMAS_ENVIRONMENT.",
            autocompletion=environment_names,
        ),
    ] = None,
) -> None:
    """Show what differs in effect between two configurations, with all their layers.

    Exit codes: 0 nothing; 1 something; 2 one of them cannot be used.
    """

    def work() -> int:
        from .comparing import diff_command  # noqa: PLC0415 -- help must not wait for it

        if other is not None or (config is None and environment is not None):
            return diff_command(file or config, other, environment)
        return diff_command(config, file, environment)

    end(work)


@app.command()
def schema() -> None:
    """Print the JSON schema for editors, which complete and check files by it.

    Save it as providers.schema.json beside the file, whose first line is then
    `# yaml-language-server: $schema=providers.schema.json`.
    """

    def work() -> int:
        from ....config.json_schema import schema_text  # noqa: PLC0415 -- help must not wait for it
        from ..output import answer  # noqa: PLC0415 -- likewise

        answer(schema_text(), end="")
        return 0

    end(work)


@app.command()
def explain(
    field: Annotated[
        str | None,
        typer.Argument(
            help="A field, such as llm.openai.timeout, or the end of it, such as timeout;"
            " all of them if absent.",
            show_default=False,
            autocompletion=field_names,
        ),
    ] = None,
) -> None:
    """Explain a field, or list all.

    It says what the field means, what it takes, its default, an example, and where it stands.
    """

    def work() -> int:
        from .explaining import explain_command  # noqa: PLC0415 -- help must not wait for it

        return explain_command(field)

    end(work)


@app.command(hidden=True)
def reference(
    part: Annotated[Part, typer.Option(help="Which.")],
) -> None:
    """Print a generated part of the README, in Markdown."""

    def work() -> int:
        from .reference import reference_command  # noqa: PLC0415 -- help must not wait for it

        return reference_command(part)

    end(work)
