"""The command, started the way a person starts it."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from amas.providers import NoProviderAvailableError
from amas.providers.cli import app as cli
from amas.providers.cli import demo
from amas.providers.cli.app import app
from amas.providers.cli.configuration import nobody_there
from amas.providers.testing.upstream import Fault, ThreadedUpstream, parse_fault

COMMAND = [sys.executable, "-X", "dev", "-W", "error", "-m", "amas.providers.cli"]


@dataclass
class Done:
    """How the command ended."""

    code: int
    out: str
    err: str


def run(*arguments: str, given: str = "", **environ: str) -> Done:
    """Run the command in this process, where LiteLLM has to be imported only once."""
    result = CliRunner().invoke(app, arguments, input=given, env=environ)
    return Done(result.exit_code, result.stdout, result.stderr)


def start(*arguments: str, **environ: str) -> Done:
    """Run the command in a process of its own, in development mode, with warnings as errors."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environ},
    )
    # Development mode names callbacks that took long; a loaded machine has those.
    err = "".join(
        line for line in done.stderr.splitlines(True) if not line.startswith("Executing <")
    )
    return Done(done.returncode, done.stdout, err)


@pytest.fixture
def vendor() -> Iterator[ThreadedUpstream]:
    """Run a server that stands in for every vendor."""
    with ThreadedUpstream("vendor", reply="The sky is blue.") as upstream:
        yield upstream


@pytest.fixture
def config(vendor: ThreadedUpstream, tmp_path: Path) -> Path:
    """Write a configuration whose openai is that server."""
    return write(
        tmp_path, {"openai": {"api_key": "${KEY}", "base_url": vendor.url, "max_retries": 0}}
    )


def write(folder: Path, llm: dict[str, object]) -> Path:
    """Write a configuration of these providers."""
    path = folder / "providers.yaml"
    path.write_text(yaml.safe_dump({"providers": {"llm": llm}}, sort_keys=False), encoding="utf-8")
    return path


def test_answer_goes_to_stdout_and_who_gave_it_to_stderr(config: Path, fake_key: str) -> None:
    """A script reads the answer and nothing else."""
    done = run("generate", "-c", str(config), "Why?", KEY=fake_key)
    assert (done.code, done.out) == (0, "The sky is blue.\n")
    assert "[openai gpt-" in done.err
    assert "tokens" in done.err


@pytest.mark.parametrize("arguments", [[], ["-"]])
def test_prompt_is_read_from_standard_input(
    config: Path, vendor: ThreadedUpstream, fake_key: str, arguments: list[str]
) -> None:
    """Without a prompt, or with a dash for it, standard input is the prompt."""
    done = run("generate", "-c", str(config), *arguments, given="Why?\n", KEY=fake_key)
    assert done.code == 0, done.err
    assert vendor.requests[-1].json["messages"] == [{"role": "user", "content": "Why?\n"}]


def test_options_reach_the_vendor(config: Path, vendor: ThreadedUpstream, fake_key: str) -> None:
    """System prompt, model, length and temperature are the request's."""
    done = run(
        "generate", "-c", str(config), "Why?", "--system", "Be brief.", "--model", "gpt-4o",
        "--max-tokens", "7", "--temperature", "0.5", "--deadline", "20", "--provider", "openai",
        KEY=fake_key,
    )  # fmt: skip
    assert done.code == 0, done.err
    sent = vendor.requests[-1].json
    assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (sent["model"], sent["max_tokens"], sent["temperature"]) == ("gpt-4o", 7, 0.5)


def test_json_has_everything(config: Path, fake_key: str) -> None:
    """--json prints the whole result as one line."""
    done = run("generate", "-c", str(config), "Why?", "--json", KEY=fake_key)
    result = json.loads(done.out)
    assert (result["content"], result["provider"]) == ("The sky is blue.", "openai")
    assert [attempt["outcome"] for attempt in result["attempts"]] == ["ok"]


def test_stream_is_printed_as_it_comes(config: Path, fake_key: str) -> None:
    """--stream ends with a line break; with --json each piece is a line."""
    done = run("generate", "-c", str(config), "Why?", "--stream", KEY=fake_key)
    assert (done.code, done.out) == (0, "The sky is blue.\n")
    done = run("generate", "-c", str(config), "Why?", "--stream", "--json", KEY=fake_key)
    pieces = [json.loads(line) for line in done.out.splitlines()]
    assert "".join(piece["content"] for piece in pieces) == "The sky is blue."
    assert pieces[-1]["finish_reason"] == "stop"


def test_failover_is_told(tmp_path: Path, vendor: ThreadedUpstream, fake_key: str) -> None:
    """Who failed before the answer stands behind it."""
    vendor.fault(Fault(status=503, times=None, match="first-model"))
    path = write(
        tmp_path,
        {
            "openai": {
                "api_key": fake_key,
                "base_url": vendor.url,
                "model": "first-model",
                "max_retries": 0,
            },
            "local": {"base_url": vendor.url},
        },
    )
    done = run("generate", "-c", str(path), "Why?")
    assert (done.code, done.out) == (0, "The sky is blue.\n")
    assert "after openai (unavailable)" in done.err
    assert fake_key not in done.out + done.err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["Why?", "--provider", "opnai"], 2, "did you mean 'openai'"),
        (["   "], 2, "the prompt is empty"),
        (["Why?", "--deadline", "0"], 2, "deadline must be"),
        (["Why?", "--max-tokens", "0"], 2, "greater than or equal to 1"),
        (["Why?", "--no-such-option"], 2, "No such option"),
    ],
)
def test_wrong_usage_ends_with_2(
    config: Path, fake_key: str, arguments: list[str], code: int, says: str
) -> None:
    """A mistake of the person at the terminal is told, and is not an outage."""
    done = run("generate", "-c", str(config), *arguments, KEY=fake_key)
    assert (done.code, done.out) == (code, "")
    assert says in done.err


def test_outage_ends_with_1(config: Path, vendor: ThreadedUpstream, fake_key: str) -> None:
    """When everybody fails there is no answer, and the key is not in the explanation."""
    vendor.fault(status=401, echo_key=True, times=None)
    done = run("generate", "-c", str(config), "Why?", KEY=fake_key)
    assert (done.code, done.out) == (1, "")
    assert "AllProvidersFailedError" in done.err
    assert fake_key not in done.err


@pytest.mark.slow
def test_first_start_says_what_to_set() -> None:
    """Without any key or local model the next steps are told, the demo among them."""
    done = start("generate", "Why?")
    assert (done.code, done.out) == (1, "")
    for hint in ("export OPENAI_API_KEY=", "ollama serve", "--config FILE", "amas-providers demo"):
        assert hint in done.err


def test_configuration_mistakes_end_with_2(tmp_path: Path) -> None:
    """Each mistake is a line with its place; nothing is asked."""
    path = tmp_path / "providers.yaml"
    path.write_text("providers:\n  llm:\n    groq: {timeuot: 3}\n  manger: {}\n", encoding="utf-8")
    for command in ("generate", "providers", "check"):
        done = run(command, "-c", str(path), given="Why?")
        assert (done.code, done.out) == (2, "")
        assert f"{path}:3:12: providers.llm.groq.timeuot" in done.err
        assert "did you mean 'timeout'" in done.err
        assert f"{path}:4:3: providers.manger" in done.err


def test_configuration_is_found_by_its_variable(config: Path, fake_key: str) -> None:
    """AMAS_PROVIDERS_CONFIG stands for --config."""
    done = run("generate", "Why?", AMAS_PROVIDERS_CONFIG=str(config), KEY=fake_key)
    assert done.out == "The sky is blue.\n"


def test_providers_shows_state_and_reason(
    tmp_path: Path, vendor: ThreadedUpstream, fake_key: str
) -> None:
    """Who is available, who is not and why, in fallback order."""
    path = write(
        tmp_path,
        {
            "openai": {"api_key": "${KEY}", "base_url": vendor.url},
            "anthropic": {"api_key": "${NO_SUCH_KEY}"},
            "local": {"base_url": "http://127.0.0.1:9", "dispatch": "litellm"},
        },
    )
    done = run("providers", "-c", str(path), "--json", KEY=fake_key)
    status = json.loads(done.out)
    assert {name: item["state"] for name, item in status.items()} == {
        "openai": "available",
        "anthropic": "disabled",
        "local": "unavailable",
    }
    assert status["openai"]["check_ms"] > 0
    assert (status["openai"]["way"], status["local"]["way"]) == ("direct", "litellm: as configured")
    assert "${NO_SUCH_KEY} is not set" in status["anthropic"]["reason"]
    assert "NO_SUCH_KEY" in done.err
    shown = run("providers", "-c", str(path), KEY=fake_key)
    assert shown.code == 0
    words = ("openai", "available", "disabled", "unavailable", "direct", "as configured")
    assert all(word in shown.out for word in words)
    assert fake_key not in shown.out + shown.err


def test_check_asks_each_provider(tmp_path: Path, vendor: ThreadedUpstream, fake_key: str) -> None:
    """One that does not answer makes the check fail; --free asks for nothing that costs."""
    path = write(
        tmp_path,
        {
            "openai": {"api_key": fake_key, "base_url": vendor.url},
            "groq": {"api_key": fake_key, "base_url": vendor.url, "model": "no-such-model"},
            "local": {"base_url": "http://127.0.0.1:9"},
        },
    )
    vendor.fault(Fault(code="model_not_found", match="no-such-model", times=None))
    done = run("check", "-c", str(path), "--json")
    verdicts = {row["provider"]: row for row in json.loads(done.out)}
    assert done.code == 1
    assert verdicts["openai"]["ok"]
    assert "404" in verdicts["groq"]["error"]
    assert not verdicts["local"]["ok"]
    asked = len([item for item in vendor.requests if item.endpoint == "chat"])
    done = run("check", "-c", str(path), "--free")
    assert "the configuration is valid" in done.err
    assert len([item for item in vendor.requests if item.endpoint == "chat"]) == asked


def test_check_of_a_sound_configuration_ends_with_0(config: Path, fake_key: str) -> None:
    """All well is exit code 0; nobody enabled is not well."""
    assert run("check", "-c", str(config), KEY=fake_key).code == 0
    done = run("check", "-c", str(config))
    assert (done.code, "no provider is enabled" in done.err) == (1, True)


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    """Help needs neither LiteLLM nor openai nor aiohttp."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "amas.providers.cli", "--help"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    imported = {
        line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()
    }
    assert not imported & {"litellm", "openai", "aiohttp", "httpx", "pydantic"}
    assert "Exit codes:" in done.stdout


@pytest.mark.slow
def test_demo_tells_its_story_without_a_warning() -> None:
    """The whole demo runs in development mode with warnings as errors, in under 20 seconds."""
    began = time.monotonic()
    done = start("demo")
    assert (done.code, done.err) == (0, ""), done.out
    assert "All 10 scenes ended as told." in done.out
    assert time.monotonic() - began < 60


def test_demo_notices_when_something_is_not_as_told(capsys: pytest.CaptureFixture[str]) -> None:
    """A scene that ends otherwise is named, and the demo fails."""
    wrong = demo.Scene("Nobody is well", {"openai": Fault(status=400)}, "anthropic", [])
    lost = demo.Scene("No text", {"openai": Fault(cut_after=1)}, "openai", [], stream=True)
    assert asyncio.run(demo.tell([wrong, lost])) == 1
    told = capsys.readouterr()
    assert "NOT AS TOLD: answered by: expected 'anthropic', got None" in told.out
    assert "scene 1: error: expected None, got 'InvalidRequestError'" in told.err
    assert "scene 2: error: expected None, got 'StreamInterruptedError'" in told.err


def test_upstream_serves_until_interrupted() -> None:
    """The server says where it listens, does the faults asked for, and ends on Ctrl-C."""
    server = subprocess.Popen(
        [*COMMAND, "upstream", "--port", "0", "--fault", "status=503,times=1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        # A shell's background job has interrupts ignored, and hands that down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    try:
        assert server.stdout is not None
        told = (word for line in server.stdout for word in line.split())
        url = next(word for word in told if word.startswith("http://"))
        statuses = [ask(url) for _ in range(2)]
    finally:
        server.send_signal(signal.SIGINT)
        rest, _ = server.communicate(timeout=20)
        code = server.returncode
    assert statuses == [503, 200]
    assert (code, "Traceback" in rest) == (130, False), rest


def ask(url: str) -> int:
    """Return the status of a chat request."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", body, {"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_taken_port_is_explained(vendor: ThreadedUpstream) -> None:
    """A port in use is told, with the way out."""
    done = run("upstream", "--port", vendor.url.rpartition(":")[2])
    assert (done.code, "take another --port" in done.err) == (1, True)


def test_wrong_fault_is_explained() -> None:
    """A fault that does not exist is named, with an example."""
    done = run("upstream", "--fault", "statsu=503")
    assert done.code == 2
    assert "statsu" in done.err
    assert "status=503" in done.err


def test_upstreams_help_has_everything_a_fault_can_be() -> None:
    """Each field and each ready-made fault is named, and how often one strikes."""
    told = " ".join(run("upstream", "--help").out.split())
    with pytest.raises(ValueError, match="fields: ") as refused:
        parse_fault("no-such")
    named = re.findall(r"(?:fields|ready-made): ([^;]+);", str(refused.value))
    words = ", ".join(named).split(", ")
    assert len(words) > 20
    assert [word for word in words if not re.search(rf"\b{word}\b", told)] == []
    assert "hits one request unless" in told


def test_generate_counts_the_warnings_of_the_file(
    tmp_path: Path, vendor: ThreadedUpstream, fake_key: str
) -> None:
    """One line stands for all warnings; what stops the call is told by its error."""
    path = write(
        tmp_path,
        {
            "openai": {"api_key": fake_key, "base_url": vendor.url},
            "gone": {"model": "groq/x", "api_key": "${NO_SUCH_KEY}"},
        },
    )
    done = run("generate", "-c", str(path), "Why?")
    first, *others = done.err.splitlines()
    assert first == f"2 warnings: see `amas-providers config validate {path}`"
    assert (done.code, len(others)) == (0, 1)
    asked = run("generate", "-c", str(path), "--provider", "gone", "Why?")
    assert (asked.code, "${NO_SUCH_KEY} is not set" in asked.err) == (1, True)
    checked = run("check", "-c", str(path)).err
    assert (checked.count("warning: "), "plain text" in checked) == (2, True)
    assert fake_key not in checked + done.err


def test_reader_that_leaves_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Output into a closed pipe ends quietly."""

    async def leave() -> int:
        raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with pytest.raises(typer.Exit) as ending:
        cli.run(leave())
    assert ending.value.exit_code == 0


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), UnicodeError("ascii")])
def test_output_that_cannot_be_written_is_told(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    """A full disk or a terminal without the characters is told without a traceback."""

    async def fail() -> int:
        raise error

    with pytest.raises(typer.Exit) as ending:
        cli.run(fail())
    assert ending.value.exit_code == 1
    assert "the output cannot be written" in capsys.readouterr().err


def test_error_after_a_cut_stream_begins_a_line(
    config: Path, vendor: ThreadedUpstream, fake_key: str
) -> None:
    """The text so far ends with a line break before the error is told."""
    vendor.fault(cut_after=2)
    done = run("generate", "-c", str(config), "Why?", "--stream", KEY=fake_key)
    assert (done.code, done.out) == (1, "The sky \n")
    assert done.err.startswith("StreamInterruptedError")


def test_first_start_with_a_key_does_not_ask_for_one(
    monkeypatch: pytest.MonkeyPatch, fake_key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who has set a key is not told that there is none."""
    error = NoProviderAvailableError("no provider can be asked")
    nobody_there(error, None)
    assert "No key was found" in capsys.readouterr().err
    monkeypatch.setenv("OPENAI_API_KEY", fake_key)
    nobody_there(error, None)
    told = capsys.readouterr().err
    assert "No key was found" not in told
    assert "No Ollama answers" in told


def test_module_runs_under_the_src_name_too() -> None:
    """The host imports the package as src.amas as well; both work."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "src.amas.providers.cli", "--help"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=root,
    )
    assert done.returncode == 0, done.stderr
