"""The commands of ``amas-providers keys``: what they take, and what they call."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer
from typer.core import TyperGroup
from typing_extensions import override

from ...errors import ProviderConfigError
from ..completion import configured_names
from ..ending import end
from .asking import refuse_arguments


class _Discreet(TyperGroup):
    """Commands that do not repeat the name of one that there is not: it might be a key."""

    @override
    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None:
            ctx.fail(f"No such command; there are {', '.join(self.list_commands(ctx))}.")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_Discreet,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Keep keys sealed in the configuration, and rotate them."
    " A key is typed hidden or piped in; it is never an argument.",
)

# What the parser does not know it would repeat in its message, and it might be a key.
_LENIENT: Final = {"allow_extra_args": True, "ignore_unknown_options": True}
_NUMBER: Final = re.compile(r"[0-9]{1,5}")

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
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would be, write nothing.")]
KeyOption = Annotated[
    str | None,
    typer.Option("--key", metavar="N", help="Which of the provider's api_keys, from 1."),
]
ProviderArgument = Annotated[
    str,
    typer.Argument(
        help="The provider's name.", show_default=False, autocompletion=configured_names
    ),
]


@app.command("generate-master", context_settings=_LENIENT)
def generate_master(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="New file to write it to, which only you may read."),
    ] = None,
) -> None:
    """Make a master key: 32 random bytes."""

    def work() -> int:
        from .generation import generate_command  # noqa: PLC0415 -- help must not wait for it

        return generate_command(file)

    _end(context, work)


@app.command("set", context_settings=_LENIENT)
def set_key(
    context: typer.Context,
    provider: ProviderArgument,
    config: ConfigOption = None,
    key: KeyOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Seal a provider's key into the file; its row is added if the catalogue knows it."""

    def work() -> int:
        from .editing import set_command  # noqa: PLC0415 -- help must not wait for it

        return set_command(_required(config), provider, _index(key), dry_run=dry_run)

    _end(context, work)


@app.command(context_settings=_LENIENT)
def encrypt(
    context: typer.Context,
    config: ConfigOption = None,
    provider: Annotated[
        str | None,
        typer.Option("--print", metavar="PROVIDER", help="Print a value for pasting instead."),
    ] = None,
    field: Annotated[
        str, typer.Option("--field", help="With --print: api_key, proxy or options.NAME.")
    ] = "api_key",
    dry_run: DryRunOption = False,
) -> None:
    """Seal every key that stands in the file as plain text."""

    def work() -> int:
        from .editing import encrypt_command, print_command  # noqa: PLC0415 -- as above

        if provider is not None:
            return print_command(_required(config), provider, field)
        return encrypt_command(_required(config), dry_run=dry_run)

    _end(context, work)


@app.command("list", context_settings=_LENIENT)
def list_keys(
    context: typer.Context,
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Show every key: how it is kept, fingerprint, age and whether it opens; never the key."""

    def work() -> int:
        from .listing import list_command  # noqa: PLC0415 -- help must not wait for it

        return list_command(_required(config), as_json=as_json)

    _end(context, work)


@app.command("rotate-master", context_settings=_LENIENT)
def rotate_master(
    context: typer.Context,
    config: ConfigOption = None,
    new: Annotated[
        bool,
        typer.Option("--new", help="Make a new master key first, in the file master_key names."),
    ] = False,
    keep_old: Annotated[
        bool,
        typer.Option("--keep-old", help="With --new: leave the old one in that file, for others."),
    ] = False,
    dry_run: DryRunOption = False,
) -> None:
    """Seal every value again with the first of the master keys."""

    def work() -> int:
        from .rotation import rotate_master_command  # noqa: PLC0415 -- help must not wait for it

        return rotate_master_command(_required(config), new=new, keep_old=keep_old, dry_run=dry_run)

    _end(context, work)


@app.command(context_settings=_LENIENT)
def rotate(  # noqa: PLR0917 -- typer reads a command's options from its signature
    context: typer.Context,
    provider: ProviderArgument,
    config: ConfigOption = None,
    key: KeyOption = None,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Do not ask the provider about the new key.")
    ] = False,
    dry_run: DryRunOption = False,
) -> None:
    """Exchange a provider's key, once the provider has accepted the new one."""

    def work() -> int:
        from .rotation import rotate_command  # noqa: PLC0415 -- help must not wait for it

        return rotate_command(
            _required(config), provider, _index(key), check=not no_check, dry_run=dry_run
        )

    _end(context, work)


def _required(config: Path | None) -> Path:
    if config is None:
        raise ProviderConfigError(
            "say which file with --config FILE, or in the variable AMAS_PROVIDERS_CONFIG"
        )
    return config


def _index(text: str | None) -> int | None:
    if text is None:
        return None
    if _NUMBER.fullmatch(text):
        return int(text) - 1
    # Not repeated: somebody may have taken it for the place of the key itself.
    raise ProviderConfigError("--key takes a number: which of the provider's api_keys, from 1")


def _end(context: typer.Context, work: Callable[[], int]) -> NoReturn:
    """Do a command's work unless it was given what might be a key, and end with its exit code."""

    def checked() -> int:
        refuse_arguments(context.args)
        return work()

    end(checked)
