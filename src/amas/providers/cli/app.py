"""The commands: what they take, and what they call."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from .audit.app import ConfigOption as RecordsOption
from .audit.app import FilesArgument, SinceOption, UntilOption
from .audit.app import app as audit
from .completion import asked_models, configured_names
from .config.app import app as config_commands
from .ending import end
from .keys.app import app as keys
from .migrate.app import app as migrate
from .rows.app import LENIENT, ConfigOption, JsonOption, init
from .rows.app import app as providers

app = typer.Typer(
    name="amas-providers",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog=(
        "Exit codes: 0 done; 1 no answer, or a provider failed its check;"
        " 2 wrong usage or configuration; 130 interrupted."
        " Completion for a shell that is not the current one (bash, zsh, fish, pwsh) is printed by:"
        " _AMAS_PROVIDERS_COMPLETE=source_zsh amas-providers"
    ),
    help="Ask language models through whichever provider can answer.",
)
app.add_typer(migrate, name="migrate")
app.add_typer(keys, name="keys")
app.add_typer(audit, name="audit")
app.add_typer(config_commands, name="config")
app.add_typer(providers, name="providers")
app.command(context_settings=LENIENT)(init)


def run(work: Coroutine[Any, Any, int]) -> None:
    """Run a command's work, and end with its exit code or with that of its error."""
    end(lambda: asyncio.run(work))


@app.command()
def generate(
    text: Annotated[
        str | None, typer.Argument(help="The prompt; from standard input if absent or '-'.")
    ] = None,
    config: ConfigOption = None,
    provider: Annotated[
        str | None, typer.Option(help="Whom to ask first.", autocompletion=configured_names)
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Model of the provider asked first, or an alias.", autocompletion=asked_models
        ),
    ] = None,
    system: Annotated[str | None, typer.Option(help="System prompt.")] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest answer, in tokens.")
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="Sampling temperature.")] = None,
    caller: Annotated[
        str | None, typer.Option(help="Who asks, where the configuration has access rules.")
    ] = None,
    deadline: Annotated[
        float | None, typer.Option(help="Seconds for the call, all attempts together.")
    ] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Print the answer as it comes.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Ask a prompt; the answer goes to stdout, everything else to stderr."""
    from . import commands  # noqa: PLC0415 -- help must not wait for what calls need

    asked = {
        "provider": provider,
        "model": model,
        "system_prompt": system,
        "max_tokens": max_tokens,
        "temperature": temperature,
        "caller": caller,
        "deadline": deadline,
    }
    prompt = sys.stdin.read() if text in {None, "-"} else text
    run(commands.generate(config, prompt or "", asked, stream=stream, as_json=as_json))


@app.command()
def status(
    config: ConfigOption = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on showing it until interrupted.")
    ] = False,
    every: Annotated[
        float, typer.Option(min=0.1, help="Seconds between two looks with --watch.")
    ] = 1.0,
    as_json: JsonOption = False,
) -> None:
    """Show each provider's circuit, health, load, latency and last error.

    With state: redis, circuits, keys, cooldowns and mean latencies are those of all processes;
    with state: memory they are those of a new one. Load, success and last errors are of the
    calls of one process: ask manager.status() in your service for them.
    """
    from . import commands  # noqa: PLC0415 -- help must not wait for what calls need

    run(commands.status(config, every=every if watch else None, as_json=as_json))


@app.command()
def check(
    config: ConfigOption = None,
    free: Annotated[
        bool, typer.Option("--free", help="Only list models; ask nothing that costs.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check the configuration, then ask each provider for one word."""
    from . import commands  # noqa: PLC0415 -- help must not wait for what calls need

    run(commands.check(config, free=free, as_json=as_json))


@app.command()
def report(
    files: FilesArgument = None,
    config: RecordsOption = None,
    since: SinceOption = "24h",
    until: UntilOption = None,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a page with charts; it needs nothing else."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what is slow, since when, and what it cost, from the records of calls."""

    def work() -> int:
        from .report import report_command  # noqa: PLC0415 -- help must not wait for it

        times = (since or "24h", until)
        return report_command(config, files or [], times, html=html, as_json=as_json)

    end(work)


@app.command()
def demo() -> None:
    """Show failover at work against local servers; needs no key and no network."""
    from .demo import tell  # noqa: PLC0415 -- help must not wait for what the demo needs

    run(tell())


@app.command()
def upstream(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8089,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FAULT",
            help="Fault on demand, such as status=503,times=2; may be repeated. It hits one request"
            " unless it has times=N or times=forever.",
        ),
    ] = None,
) -> None:
    """Run a local server that speaks the vendors' wire formats, for trying things out.

    A fault is name=value, separated by commas; a name alone means true.

    Which requests: times=N or forever (1); on=generate, models, embeddings, token or any (generate);
    match=REGEX (in path and model).

    Instead of an answer: status=CODE, code=WORD, message=TEXT, retry_after=SECONDS, hang, reset,
    malformed, empty (or empty=content), redirect=URL, redirect_status=CODE, echo_key.

    With the answer: delay=SECONDS, trickle=SECONDS (between chunks); after N chunks cut_after=N,
    truncate_after=N, stream_error_after=N or stall_after=N.

    Ready-made, as the first word: rate_limited, quota_exceeded, context_window, content_policy,
    model_not_found, unauthorized, overloaded.
    """
    from . import commands  # noqa: PLC0415 -- help must not wait for what the server needs

    run(commands.upstream(host, port, fault or []))
