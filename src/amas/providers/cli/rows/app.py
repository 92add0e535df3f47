"""The commands of ``amas-providers providers``, and ``init``: what they take, and what they call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer

from ...errors import ProviderConfigError
from ..completion import known_names
from ..ending import end
from ..keys.asking import refuse_arguments, refuse_keys

app = typer.Typer(
    invoke_without_command=True,
    rich_markup_mode=None,
    help="Show the configured providers: state, model, latency, and why one is unavailable."
    " With a command: add one, or list the known.",
)

# What the parser does not know it would repeat in its message, and it might be a key.
LENIENT: Final = {"allow_extra_args": True, "ignore_unknown_options": True}

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="AMAS_PROVIDERS_CONFIG",
        help="YAML file with a providers: section. Without it, every provider of the"
        " catalogue whose key is in the environment, and a local Ollama.",
        show_default=False,
    ),
]
FileOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="AMAS_PROVIDERS_CONFIG",
        help="YAML file to add it to; made if it is not there.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
ModelOption = Annotated[
    str | None,
    typer.Option(help="Model to ask; by default the catalogue's, or the server's only one."),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        "--base-url",
        metavar="URL",
        help="Its address. With one, any name is an OpenAI-compatible server.",
    ),
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--key-from",
        metavar="VARIABLE",
        help="Environment variable that has its key; none if it wants no key.",
    ),
]


@app.callback()
def show(context: typer.Context, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the configured providers, unless there is a command."""
    if context.invoked_subcommand is not None:
        return
    from .. import commands  # noqa: PLC0415 -- help must not wait for what calls need

    end(lambda: asyncio.run(commands.providers(config, as_json=as_json)))


@app.command(context_settings=LENIENT)
def add(  # noqa: PLR0917 -- typer reads a command's options from its signature
    context: typer.Context,
    name: Annotated[
        str,
        typer.Argument(
            help="A name of the catalogue, a prefix of LiteLLM, or any name with --base-url.",
            show_default=False,
            autocompletion=known_names,
        ),
    ],
    config: FileOption = None,
    model: ModelOption = None,
    base_url: AddressOption = None,
    key_from: Annotated[
        str | None,
        typer.Option(
            "--key-from",
            metavar="VARIABLE",
            help="Environment variable that has its key; - to read it from standard input and keep"
            " it sealed in the file; none if it wants no key. By default the catalogue's variable.",
        ),
    ] = None,
    row_name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Name of the row; NAME by default.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="LiteLLM's own parameter for it, such as api_version=…; may be repeated.",
        ),
    ] = None,
    local: Annotated[
        bool,
        typer.Option("--local", help="It is a server of one's own, in a private network."),
    ] = False,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Do not ask the provider first.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check, print the row, write nothing.")
    ] = False,
) -> None:
    """Add a provider to a file, once it has accepted its key. Comments and order stay.

    The key is checked by listing models, which is free; where a vendor lists them for everybody,
    by asking for one token. A key never stands in the file as plain text.
    """

    def work() -> int:
        from .adding import How, add_command  # noqa: PLC0415 -- help must not wait for it
        from .planning import Wish  # noqa: PLC0415

        wish = Wish(
            name=name,
            row_name=row_name,
            model=model,
            base_url=base_url,
            key_from=key_from,
            local=local,
            options=option or (),
        )
        return add_command(
            _required(context, config), wish, How(check=not no_check, dry_run=dry_run)
        )

    _end(context, work)


@app.command()
def catalog(
    search: Annotated[
        str | None,
        typer.Option(
            "--search",
            "-s",
            metavar="TEXT",
            help="Only those that have this somewhere: in the name, model, key variable, needs, or"
            " among what they can do, such as vision.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the known providers: key variable, default model, and what else each needs."""

    def work() -> int:
        from .listing import catalog_command  # noqa: PLC0415 -- help must not wait for it

        return catalog_command(search, as_json=as_json)

    end(work)


def init(  # noqa: PLR0917 -- typer reads a command's options from its signature
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The file to write.")] = Path("providers.yaml"),
    provider: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A provider it is to have; may be repeated. By default those whose keys are in the"
            " environment, and an Ollama that runs.",
            autocompletion=known_names,
        ),
    ] = None,
    model: ModelOption = None,
    base_url: AddressOption = None,
    key_from: KeyOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    no_schema: Annotated[
        bool, typer.Option("--no-schema", help="Write no schema for editors beside it.")
    ] = False,
) -> None:
    """Write a configuration that works, from the keys in the environment and a local Ollama.

    No key is written: the file refers to the variables.
    """

    def work() -> int:
        from .init import How, init_command  # noqa: PLC0415 -- help must not wait for it
        from .planning import Wish  # noqa: PLC0415

        names = provider or []
        if len(names) != 1 and (model or base_url or key_from):
            raise ProviderConfigError(
                "--model, --base-url and --key-from are for one provider: give exactly one"
                " --provider, and add others with `amas-providers providers add`"
            )
        wishes = [
            Wish(name=name, model=model, base_url=base_url, key_from=key_from) for name in names
        ]
        return init_command(file, wishes, How(yes=yes, force=force, schema=not no_schema))

    _end(context, work)


def _required(context: typer.Context, config: Path | None) -> Path:
    # `providers --config FILE add …`: what is typed goes before the variable.
    above = context.parent
    if above is not None and _typed(above) and not _typed(context):
        config = above.params["config"]
    if config is None:
        raise ProviderConfigError(
            "say which file with --config FILE, such as --config providers.yaml, or in the variable"
            " AMAS_PROVIDERS_CONFIG"
        )
    return config


def _typed(context: Any) -> bool:
    source = context.get_parameter_source("config")
    return source is not None and source.name == "COMMANDLINE"


def _end(context: typer.Context, work: Callable[[], int]) -> NoReturn:
    """Do a command's work unless it was given what might be a key, and end with its exit code."""

    def checked() -> int:
        refuse_arguments(context.args)
        refuse_keys(_texts(context.params.values()))
        return work()

    end(checked)


def _texts(values: Iterable[object]) -> Iterator[str]:
    for value in values:
        yield from _texts(value) if isinstance(value, list | tuple) else (str(value),)
