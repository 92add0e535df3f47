"""`amas-providers audit` and `report`: records are proven, shown, found and added up."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from amas.providers.cli.app import app
from amas.providers.cli.audit.times import read_range
from amas.providers.cli.audit.wording import line
from amas.providers.errors import ProviderConfigError
from amas.providers.manager.observation import audit_key
from amas.providers.observability.audit.trail import AuditTrail
from amas.providers.observability.events import (
    AccessDecision,
    CallEnded,
    CircuitChanged,
    ConfigurationChanged,
    Event,
)
from amas.providers.security.master_key import MasterKey, generate
from amas.providers.types import Attempt

HOUR = 3600.0
FORMULA = "=cmd|'/c calc'!A1"


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


def call(at: float, number: int, **fields: Any) -> CallEnded:
    """Make the event of a call that was answered."""
    answered: Attempt = {
        "provider": "local",
        "model": "qwen3",
        "outcome": "ok",
        "status_code": None,
        "latency_ms": 250.0,
        "error": None,
    }
    values: dict[str, Any] = {
        "caller": "osint",
        "provider": "local",
        "model": "qwen3",
        "outcome": "ok",
        "attempts": (answered,),
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        "cost_usd": 0.25,
        "latency_ms": 251.0,
        **fields,
    }
    return CallEnded(at=at, request_id=f"req_{number}", **values)


class House:
    """A trail of some hours, its configuration and its master key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = generate()
        self.path = folder / "logs" / "provider-audit.jsonl"
        self.config = folder / "c.yaml"
        self.configure(f"audit: {{path: {self.path}}}")
        self.environ: dict[str, str | None] = {
            "AMAS_PROVIDERS_CONFIG": str(self.config),
            "AMAS_MASTER_KEY": self.key.get_secret_value(),
        }
        self.now = datetime.now(UTC).timestamp()
        self.write(self.events())

    def configure(self, audit: str) -> None:
        """Write a configuration; its providers are wrong, which is no matter here."""
        self.config.write_text(f"providers:\n  {audit}\n  llm: {{openai: {{nonsense: 1}}}}\n")

    def events(self) -> list[Event]:
        """Return what has happened in the last hours."""
        failed: Attempt = {
            "provider": "openai",
            "model": "gpt",
            "outcome": "timeout",
            "status_code": 504,
            "latency_ms": 9_000.0,
            "error": None,
        }
        ok = call(0, 0).attempts[0]
        now = self.now
        opened: dict[str, Any] = {"provider": "openai", "before": "closed", "after": "open"}
        return [
            call(now - 30 * HOUR, 1, caller="old"),
            call(now - 5 * HOUR, 2, attempts=(failed, ok), latency_ms=9_251.0),
            CircuitChanged(at=now - 5 * HOUR, key=None, outcome="timeout", **opened),
            call(now - 4 * HOUR, 3, caller=FORMULA, cost_usd=None),
            call(
                now - 3 * HOUR,
                4,
                outcome="timeout",
                status_code=504,
                attempts=(failed,),
                provider="openai",
                caller=None,
                usage=None,
                cost_usd=None,
            ),
            AccessDecision(
                at=now - 2 * HOUR,
                request_id="req_5",
                caller="in\x1b[31mtern",
                allowed=False,
                reason="there is no rule",
            ),
            ConfigurationChanged(at=now - HOUR, taken=True, added=("a", "b")),
        ]

    def write(self, events: Sequence[Event], **settings: Any) -> None:
        """Write events as another run of the service does."""
        now = [event.at for event in events[:1]]
        trail = AuditTrail(
            self.path,
            [audit_key(MasterKey(self.key))],
            wall=lambda: now[0],
            **settings,
        )
        trail.handle(events)
        now[0] = events[-1].at
        trail.close()
        assert trail.trouble is None

    def run(self, *arguments: object) -> Done:
        """Run the command in this process."""
        result = CliRunner().invoke(app, [str(each) for each in arguments], env=self.environ)
        assert isinstance(result.exception, SystemExit | None), result.exception
        return Done(result.exit_code, result.stdout, result.stderr)

    def query(self, *arguments: object) -> list[dict[str, Any]]:
        """Return the records that `query` finds."""
        done = self.run("audit", "query", "--format", "json", *arguments)
        assert (done.code, done.err) == (0, "")
        return [json.loads(text) for text in done.out.splitlines()]


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Give out a trail."""
    return House(tmp_path)


# --- verify ---------------------------------------------------------------------------------------


def test_a_trail_as_it_was_written_is_ok(house: House) -> None:
    """Each chain is shown with its records, times and files, and the last line says ok."""
    done = house.run("audit", "verify")
    assert (done.code, done.err) == (0, "")
    assert "provider-audit" in done.out
    assert (
        done.out.splitlines()[-1] == "ok: 9 records in 1 file of 1 chain are as they were written"
    )


@pytest.mark.parametrize("how", ["config", "variable", "file"])
def test_the_master_key_comes_from_where_it_is_kept(house: House, how: str) -> None:
    """The configuration names it, or the variable has it, or a file that is given."""
    key = house.folder / "key"
    key.write_text(house.key.get_secret_value())
    key.chmod(0o600)
    arguments: list[object] = []
    if how == "config":
        house.configure(f"security: {{master_key: 'file:key'}}\n  audit: {{path: {house.path}}}")
        house.environ["AMAS_MASTER_KEY"] = None
    else:
        house.environ["AMAS_PROVIDERS_CONFIG"] = None
        arguments = [house.path]
    if how == "file":
        house.environ["AMAS_MASTER_KEY"] = None
        arguments += ["--master-key-file", key]
    assert house.run("audit", "verify", *arguments).code == 0


def test_the_first_changed_record_is_named(house: House) -> None:
    """A single changed character is named with file, line and number, and the exit code is 1."""
    text = house.path.read_text()
    house.path.write_text(text.replace('"caller":"old"', '"caller":"odd"'))
    done = house.run("audit", "verify")
    assert done.code == 1
    assert f"{house.path}:2: changed, seq 2\n" in done.out
    assert done.out.splitlines()[-1].startswith("NOT ok: 1 problem; 1 record in 1 file")
    told = json.loads(house.run("audit", "verify", "--json").out)
    assert told["ok"] is False
    assert told["problems"] == [{"file": str(house.path), "line": 2, "seq": 2, "what": "changed"}]
    assert told["chains"][0]["records"] == told["records"] == 1


def test_what_was_cut_off_is_seen_by_the_checkpoint(house: House) -> None:
    """Without the checkpoint a missing end is not seen, and that is said."""
    house.path.write_bytes(b"".join(house.path.read_bytes().splitlines(True)[:-2]))
    done = house.run("audit", "verify")
    assert done.code == 1
    assert "cut off: the checkpoint knows record 9" in done.out
    done = house.run("audit", "verify", "--no-checkpoint")
    assert done.code == 0
    assert "without checkpoints it is not known whether" in done.err


def test_checkpoints_are_looked_for_where_they_are(house: House) -> None:
    """Their folder comes from the configuration, or from the option, or is that of the file."""
    apart = house.folder / "apart"
    apart.mkdir()
    checkpoint = house.path.with_suffix(".checkpoint")
    checkpoint.rename(apart / checkpoint.name)
    assert house.run("audit", "verify").code == 1
    assert house.run("audit", "verify", "--checkpoints", apart).code == 0
    house.configure(f"audit: {{path: {house.path}, checkpoint: {apart}}}")
    assert house.run("audit", "verify").code == 0


def test_what_is_no_problem_is_a_note(house: House) -> None:
    """A last line that is not complete is told on stderr, and all is ok."""
    with house.path.open("ab") as file:
        file.write(b'{"seq":10,')
    done = house.run("audit", "verify", "--json")
    assert done.code == 0
    assert "note: " in done.err
    assert "not complete" in done.err
    assert len(json.loads(done.out)["notes"]) == 1


@pytest.mark.parametrize(
    ("audit", "arguments", "said"),
    [
        ("audit: {content: none}", [], "providers.audit.path is not set"),
        ("manager: {}", [], "providers.audit.path is not set"),
        ("audit: {path: /no/such.jsonl}", [], "/no/such.jsonl: there are no records"),
        ("audit: {pth: x}", [], "did you mean 'path'?"),
        ("audit: 5", [], "must be a mapping"),
        ("manager: {}", ["/no/such.jsonl"], "cannot be read: No such file"),
    ],
    ids=["no-path", "no-section", "no-file", "unknown-key", "no-mapping", "missing-file"],
)
def test_nothing_to_verify_is_wrong_usage(
    house: House, audit: str, arguments: list[str], said: str
) -> None:
    """It is said what is missing, where, and what to do; the exit code is 2."""
    house.configure(audit)
    done = house.run("audit", "verify", *arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err


def test_a_configuration_that_is_no_mapping_is_wrong_usage(house: House) -> None:
    """A `providers:` that holds something else has no records."""
    house.config.write_text("providers: [1]\n")
    assert house.run("audit", "tail").code == 2


@pytest.mark.parametrize("content", [None, b"\xff", b"tiny"], ids=["none", "bytes", "weak"])
def test_without_a_usable_master_key_nothing_is_proven(house: House, content: bytes | None) -> None:
    """No key, or what is none, is wrong usage; nothing of it is repeated."""
    house.environ["AMAS_MASTER_KEY"] = None
    arguments: list[object] = []
    if content is not None:
        key = house.folder / "key"
        key.write_bytes(content)
        key.chmod(0o600)
        arguments = ["--master-key-file", key]
    done = house.run("audit", "verify", *arguments)
    assert (done.code, done.out) == (2, "")
    assert "master key" in done.err
    assert "tiny" not in done.err


def test_a_master_key_that_others_may_read_is_refused(house: House) -> None:
    """A file with a key must be its owner's alone."""
    key = house.folder / "key"
    key.write_text(house.key.get_secret_value())
    key.chmod(0o644)
    done = house.run("audit", "verify", "--master-key-file", key)
    assert done.code == 2
    assert "others than its owner" in done.err


def test_what_should_be_known_of_the_section_is_said(house: House) -> None:
    """A master key that is not set is told before it is missed."""
    house.environ["AMAS_MASTER_KEY"] = None
    house.configure(f'security: {{master_key: ["${{MISSING}}"]}}\n  audit: {{path: {house.path}}}')
    done = house.run("audit", "verify")
    assert done.code == 2
    assert "MISSING" in done.err


def test_nothing_said_is_wrong_usage(house: House) -> None:
    """Without a configuration and without files there are no records."""
    house.environ["AMAS_PROVIDERS_CONFIG"] = None
    done = house.run("audit", "tail")
    assert done.code == 2
    assert "--config FILE" in done.err


def test_of_files_that_are_gone_the_checkpoint_tells(house: House) -> None:
    """Nobody can have a trail pass by removing all of it but the checkpoint."""
    house.path.unlink()
    done = house.run("audit", "verify")
    assert done.code == 1
    assert "the file is missing" in done.out
    assert house.run("audit", "verify", "--no-checkpoint").code == 2
    assert house.run("audit", "tail").code == 2


def test_what_is_no_file_does_not_stop_the_rest(house: House) -> None:
    """A folder or a pipe with the name of a file of the trail is a problem of its own."""
    os.mkfifo(house.path.with_name("provider-audit-2.jsonl"))
    house.path.with_name("provider-audit.000009.jsonl").mkdir()
    done = house.run("audit", "verify")
    assert done.code == 1
    assert done.out.count("it is not a file") == 2
    assert done.out.splitlines()[-1].startswith("NOT ok: 2 problems; 9 records in 1 file")


def test_a_chain_under_another_name_is_told(house: House) -> None:
    """The configuration says which chain must be where."""
    for path in list(house.path.parent.iterdir()):
        path.rename(path.with_name(path.name.replace("audit.", "audit-2.")))
    done = house.run("audit", "verify")
    assert done.code == 1
    assert "was written as provider-audit.jsonl" in done.out


# --- tail -----------------------------------------------------------------------------------------


def test_the_last_records_are_shown_without_a_key(house: House) -> None:
    """A line each, readable, harmless to a terminal."""
    house.environ["AMAS_MASTER_KEY"] = None
    done = house.run("audit", "tail", "-n", "7")
    assert (done.code, done.err) == (0, "")
    lines = [text.split("Z  ", 1)[1] for text in done.out.splitlines()]
    assert lines == [
        (
            "call           osint -> local qwen3  ok  9.3 s  15 tokens  $0.2500"
            "  [openai:timeout local:ok]  req_2"
        ),
        "circuit        provider=openai before=closed after=open outcome=timeout cause=calls",
        f"call           {FORMULA} -> local qwen3  ok  251 ms  15 tokens  cost unknown  req_3",
        "call           (none) -> openai qwen3  timeout 504  251 ms  req_4",
        r"access         request_id=req_5 caller=in\x1b[31mtern allowed=no reason=there is no rule",
        "configuration  taken=yes added=a,b",
        "end",
    ]


def test_a_record_that_is_none_of_ours_is_a_line_as_well() -> None:
    """Whatever stands in a record, it has a line."""
    record = {"time": "2026-11-24T06:00:00Z", "kind": "call", "attempts": 5, "tokens": [1]}
    assert line(record) == "2026-11-24 06:00:00Z  call           (none) -> (none)  (none)  -"


def test_what_is_added_is_followed_until_interrupted(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records come as they are written, over a rotation, until Ctrl-C ends it with 130."""
    rounds = iter([[call(house.now, 10)], [call(house.now, 11)]])

    def wait(_seconds: float) -> None:
        events = next(rounds, None)
        if events is None:
            raise KeyboardInterrupt
        house.write(events, max_bytes=1_000)

    monkeypatch.setattr("amas.providers.cli.audit.tail.time.sleep", wait)
    done = house.run("audit", "tail", "-n", "0", "--follow")
    assert done.code == 130
    shown = [text.split()[-1] for text in done.out.splitlines() if "  call " in text]
    assert shown == ["req_10", "req_11"]
    assert len(list(house.path.parent.glob("*.jsonl"))) > 1


def test_the_first_record_is_waited_for(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who follows may begin before the service does."""
    house.configure(f"audit: {{path: {house.folder}/new/a.jsonl}}")
    house.path = house.folder / "new" / "a.jsonl"
    assert house.run("audit", "tail").code == 2
    rounds = iter([[call(house.now, 10)]])

    def wait(_seconds: float) -> None:
        events = next(rounds, None)
        if events is None:
            raise KeyboardInterrupt
        house.write(events)

    monkeypatch.setattr("amas.providers.cli.audit.tail.time.sleep", wait)
    done = house.run("audit", "tail", "--follow")
    assert done.code == 130
    assert "there are no records yet; waiting for the first" in done.err
    assert "req_10" in done.out


def test_a_process_that_follows_ends_with_130(house: House) -> None:
    """The command itself is ended by the signal of Ctrl-C, without a traceback."""
    process = subprocess.Popen(
        [sys.executable, "-m", "amas.providers.cli", "audit", "tail", "-f", str(house.path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ},
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = [process.stdout.readline() for _ in range(9)]
        process.send_signal(signal.SIGINT)
        assert (process.wait(20), process.stderr.read()) == (130, "")
    assert lines[-1].endswith("end\n")


# --- query ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--kind", "call"], [1, 2, 3, 4]),
        (["--kind", "call", "--since", "24h"], [2, 3, 4]),
        (["--kind", "call", "--since", "24h", "--until", "210m"], [2, 3]),
        (["--caller", "osint"], [2]),
        (["--caller", "", "--kind", "call"], [4]),
        (["--provider", "openai", "--kind", "call"], [2, 4]),
        (["--outcome", "failed"], [4]),
        (["--request-id", "req_3"], [3]),
        (["--kind", "call", "--limit", "2"], [3, 4]),
    ],
    ids=[
        *("kind", "since", "until", "caller", "nobody", "provider"),
        *("failed", "request", "limit"),
    ],
)
def test_records_are_found(house: House, arguments: list[str], found: list[int]) -> None:
    """Every condition is one of the command's options."""
    assert [record["request_id"] for record in house.query(*arguments)] == [
        f"req_{number}" for number in found
    ]


def test_a_table_has_what_matters(house: House) -> None:
    """The table shows calls by their figures and everything else by what it tells."""
    done = house.run("audit", "query", "--since", "24h")
    assert (done.code, done.err) == (0, "")
    rows = [[cell.strip() for cell in text.split("│")[2:-1]] for text in done.out.splitlines()]
    assert ["call", "osint", "local", "qwen3", "ok", "9.3 s", "15", "$0.2500", "req_2"] in rows
    assert ["call", FORMULA, "local", "qwen3", "ok", "251 ms", "15", "unknown", "req_3"] in rows
    assert any(row[-1:] == ["taken=yes added=a,b"] for row in rows)
    assert "\x1b[31m" not in done.out


def test_a_table_is_cut_and_says_so(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a limit a table has its last rows, and says how many there are."""
    monkeypatch.setattr("amas.providers.cli.audit.query._TABLE_LIMIT", 2)
    done = house.run("audit", "query", "--kind", "call")
    assert "the last 2 of 4" in done.err
    assert "req_3" in done.out
    assert "req_2" not in done.out
    assert house.run("audit", "query", "--kind", "call", "--limit", "3").err == ""


def test_csv_is_safe_in_a_spreadsheet(house: House) -> None:
    """Rows follow RFC 4180, what would be a formula is a text, and unknown costs are empty."""
    done = house.run("audit", "query", "--format", "csv", "--since", "24h")
    assert done.code == 0
    rows = list(csv.DictReader(io.StringIO(done.out, newline="")))
    by_request = {row["request_id"]: row for row in rows}
    assert by_request["req_3"]["caller"] == "'" + FORMULA
    assert by_request["req_3"]["cost_usd"] == ""
    assert by_request["req_2"]["cost_usd"] == "0.25"
    assert by_request["req_2"]["total_tokens"] == "15"
    assert by_request["req_2"]["attempts"] == "openai:timeout local:ok"
    assert by_request["req_5"]["caller"] == r"in\x1b[31mtern"
    assert json.loads(by_request["req_5"]["more"])["reason"] == "there is no rule"
    assert all(row["seq"].isdigit() for row in rows)


def test_json_does_nothing_to_a_terminal(house: House) -> None:
    """A name with control characters is escaped, and any other is written as it is."""
    house.write([call(house.now, 20, caller="Zoë"), call(house.now, 21, caller="a\x9b31m\u202e")])
    done = house.run("audit", "query", "--format", "json", "--since", "1h")
    assert '"Zoë"' in done.out
    assert '"a\\u009b31m\\u202e"' in done.out
    assert done.out.replace("\n", "").isprintable()


def test_lines_that_are_no_records_are_told(house: House) -> None:
    """They are left out, counted, and told on stderr, in a query and in a report."""
    with house.path.open("ab") as file:
        file.write(b"no record\n")
    for arguments in (["audit", "query"], ["report"]):
        done = house.run(*arguments)
        assert done.code == 0
        assert f"note: {house.path}: 1 line could not be read, and is left out" in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--since", "yesterday"], "--since takes how long ago (30m, 24h, 7d), a day"),
        (["--until", "9999999999999h"], "--until takes"),
        (["--since", "999999999w"], "--since takes"),
        (["--since", "1h", "--until", "2h"], "--until must be later than --since"),
        (["--outcome", "timout"], "did you mean 'timeout'?"),
        (["--kind", "calls"], "did you mean 'call'?"),
        (["--format", "xml"], "'table', 'json', 'csv'"),
        (["/no/such.jsonl"], "/no/such.jsonl: cannot be read"),
    ],
    ids=["since", "until", "long", "order", "outcome", "kind", "format", "file"],
)
def test_a_wrong_word_is_answered_with_the_right_ones(
    house: House, arguments: list[str], said: str
) -> None:
    """What is not accepted is wrong usage, and it is said what is."""
    done = house.run("audit", "query", *arguments)
    assert (done.code, done.out) == (2, "")
    assert said in " ".join(done.err.split())


NOW = datetime(2026, 11, 24, 6, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("typed", "first", "behind"),
    [
        ("90s", NOW - timedelta(seconds=90), None),
        ("30m", NOW - timedelta(minutes=30), None),
        ("2w", NOW - timedelta(weeks=2), None),
        ("2026-11-24", NOW.replace(hour=0, minute=0), NOW.replace(day=25, hour=0, minute=0)),
        ("2026-11-24T02:40", NOW.replace(hour=2, minute=40), None),
        ("2026-11-24 02:40Z", NOW.replace(hour=2, minute=40), None),
        ("2026-11-24T02:40+01:00", NOW.replace(hour=1, minute=40), None),
    ],
)
def test_times_are_read_as_they_are_typed(
    typed: str, first: datetime, behind: datetime | None
) -> None:
    """Spans, days and times; a day is in the range whole, and no zone is UTC."""
    assert read_range(typed, None, NOW) == (first, None)
    assert read_range(None, typed, NOW) == (None, behind or first)


def test_one_day_is_a_range() -> None:
    """The same day as begin and end is that day, and an empty range is a mistake."""
    first, behind = read_range("2026-11-24", "2026-11-24", NOW)
    assert first is not None
    assert behind is not None
    assert behind - first == timedelta(days=1)
    with pytest.raises(ProviderConfigError):
        read_range("1h", "1h", NOW)


# --- report ---------------------------------------------------------------------------------------


def test_a_report_says_first_what_matters(house: House) -> None:
    """Sentences come first, then tables; costs that are not known are counted."""
    done = house.run("report")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[1] == (
        "It cost $0.2500 in 24 hours, $0.00 of that in the last hour;"
        " 3 requests of unknown cost not included."
    )
    for title in ("Total", "Providers", "Callers", "Models", "Outcomes", "Circuits opened"):
        assert f"\n{title} " in done.out
    assert "A call counts at each provider that it asked" in done.out


def test_a_report_takes_a_range_and_files(house: House) -> None:
    """The range and the files are chosen as in a query."""
    told = json.loads(house.run("report", "--json", "--since", "2d", house.path).out)
    assert told["total"]["calls"] == 4
    assert told["total"]["requests_of_unknown_cost"] == 3
    assert told["providers"]["openai"]["requests_of_unknown_cost"] == 2
    assert told["providers"]["openai"]["failed"] == 2
    assert told["providers"]["openai"]["p95_ms"] == 9_000
    assert told["circuits_opened"] == {"openai": 1}
    assert told["refused"] == {"in\x1b[31mtern": 1}
    told = json.loads(house.run("report", "--json", "--since", "260m", "--until", "200m").out)
    assert told["total"] == {
        **told["total"],
        "calls": 1,
        "cost_usd": None,
        "requests_of_unknown_cost": 1,
    }


def test_a_report_compares_with_the_time_before(house: House) -> None:
    """What was slow in all of the range is told, as records before it say what is usual."""
    now = house.now
    slow = [
        call(
            now - minutes * 60,
            minutes,
            latency_ms=ms,
            attempts=({**call(0, 0).attempts[0], "latency_ms": ms},),
        )
        for minutes in range(2_000, 0, -2)
        for ms in (6_000.0 if minutes < 200 else 500.0,)
    ]
    house.write(slow)
    told = json.loads(house.run("report", "--json", "--since", "3h").out)
    assert re.match(r"local is slow since about [^:]*\d\d:\d\d UTC: p95 6.0 s", told["findings"][0])
    assert told["total"]["calls"] < 100


def test_a_page_is_written_whole_and_for_its_owner_alone(house: House) -> None:
    """The file has mode 0600, a link stays one, and nothing else is left in the folder."""
    folder = house.folder / "pages"
    folder.mkdir()
    page, link = folder / "r.html", folder / "latest.html"
    page.write_text("old")
    page.chmod(0o644)
    link.symlink_to(page)
    done = house.run("report", "--html", link)
    assert (done.code, done.err) == (0, f"written: {link}\n")
    assert page.read_text().startswith("<!doctype html>")
    assert page.stat().st_mode & 0o777 == 0o600
    assert link.is_symlink()
    assert {path.name for path in folder.iterdir()} == {"r.html", "latest.html"}


@pytest.mark.parametrize(
    ("where", "said"),
    [("no/r.html", "cannot be written: No such file"), ("", "not a regular file")],
    ids=["no-folder", "folder"],
)
def test_a_page_that_cannot_be_written_is_told(house: House, where: str, said: str) -> None:
    """It is said where and why, before the tables."""
    done = house.run("report", "--html", house.folder / where)
    assert (done.code, done.out) == (2, "")
    assert said in done.err


def test_a_page_that_breaks_off_leaves_the_old_one(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk the page of yesterday stays, and no half of a new one."""
    page = house.folder / "r.html"
    page.write_text("old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("amas.providers.cli.report.os.fsync", full)
    done = house.run("report", "--html", page)
    assert done.code == 2
    assert "No space left on device" in done.err
    assert page.read_text() == "old"
    assert not list(house.folder.glob(".r.html*"))


def test_a_range_in_the_future_is_wrong_usage(house: House) -> None:
    """A report needs something that has happened."""
    done = house.run("report", "--since", "2999-01-01")
    assert (done.code, done.out) == (2, "")
    assert "--since must be in the past" in done.err


def test_help_does_not_wait_for_what_commands_need() -> None:
    """Neither pydantic nor rich, nor what reads or adds up records, is imported for the help."""
    code = (
        "import sys; import amas.providers.cli.app; "
        "print([name for name in sys.modules if name.split('.')[0] in ('pydantic', 'rich')"
        " or '.observability.' in name or name == 'amas.config.provider_settings'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
