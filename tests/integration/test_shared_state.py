"""Two services in processes of their own, which share their state through a real redis-server."""

from __future__ import annotations

import json
import queue
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis

from amas.providers import ProviderConfigError, ProviderManager
from amas.providers.testing.upstream import Fault, RecordedRequest, ThreadedUpstream

if TYPE_CHECKING:
    from tests.conftest import RedisServer

pytestmark = pytest.mark.slow

DRIVER = Path(__file__).with_name("shared_state_driver.py")
PREFIX = "shared-test"
# Long enough for a busy machine; a test that works takes nothing of it.
PATIENCE = 60.0
# Where time is not what is tested, a busy machine must not look like a server that is away.
PATIENT = 2.0
# Nothing but traffic tells of a provider in these tests.
NEVER = 86400


class Service:
    """A process that runs the driver."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(DRIVER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self._answers: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._answers.put(line)

    def say(self, do: str, **options: Any) -> None:
        """Give a command, and do not wait for its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **options}) + "\n")

    def hear(self) -> Any:
        """Wait for the answer to the oldest command that has none."""
        told = json.loads(self._answers.get(timeout=PATIENCE))
        assert "failed" not in told, told["failed"]
        return told["answer"]

    def ask(self, do: str, **options: Any) -> Any:
        """Give a command, and return its answer."""
        self.say(do, **options)
        return self.hear()

    def call(self) -> dict[str, Any]:
        """Make one call; it must be answered."""
        (call,) = self.ask("call")
        assert call["error"] is None
        found: dict[str, Any] = call
        return found

    def status(self, name: str = "first") -> dict[str, Any]:
        """Return how a provider is doing, as this process sees it."""
        found: dict[str, Any] = self.ask("status")["providers"][name]
        return found

    def hears_others(self) -> bool:
        """Tell whether it has its Redis; asked often, but not so often that calls suffer."""
        time.sleep(0.05)
        return self.ask("status")["why"] is None

    def state_log(self) -> list[str]:
        """Return what was logged of the shared state, without the details."""
        lines = [line.split() for line in self.ask("logged")]
        return [line[1] for line in lines if line[1].startswith("shared_state")]

    def kill(self) -> None:
        """End it without warning."""
        self.process.send_signal(signal.SIGKILL)
        self.stop()

    def end_input(self) -> None:
        """Let it come to its end."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def stop(self) -> None:
        """Wait until it has ended."""
        with self.process:  # closes both pipes, and waits
            self.end_input()
            self._reader.join(PATIENCE)


@pytest.fixture(scope="module")
def processes() -> Iterator[list[Service]]:
    """Keep the processes from one test to the next: each needs seconds to import LiteLLM."""
    started: list[Service] = []
    yield started
    for service in started:
        service.end_input()
    for service in started:
        service.stop()


@dataclass
class House:
    """Two services, the server they share, and the upstreams of their two providers."""

    redis: RedisServer
    first: ThreadedUpstream
    second: ThreadedUpstream
    services: list[Service]
    keys: list[str]

    @property
    def one(self) -> Service:
        """The first service."""
        return self.services[0]

    @property
    def two(self) -> Service:
        """The second service."""
        return self.services[1]

    def config(self, **manager: Any) -> dict[str, Any]:
        """Return the configuration of both services: ``first`` is asked first."""
        breaker = {"failure_threshold": 1, "failure_rate": 0.001, "cooldown": 60} | manager.pop(
            "breaker", {}
        )
        row = {"provider": "openai", "model": "gpt-4o", "timeout": manager.pop("timeout", 10)}
        return {
            "providers": {
                "manager": {
                    "state": self.redis.url,
                    "state_prefix": PREFIX,
                    "max_retries": 0,
                    "deadline": 10,
                    "health_check_interval": NEVER,
                    "circuit_breaker": breaker,
                    **manager,
                },
                "security": {"plaintext_keys": "allow"},
                "llm": {
                    "first": {**row, "base_url": f"{self.first.url}/v1", "api_keys": self.keys},
                    "second": {
                        **row,
                        "base_url": f"{self.second.url}/v1",
                        "api_key": f"{self.keys[0]}-second",
                        "rpm": 100_000,
                        "tpm": 10_000_000,
                    },
                },
            }
        }

    def start(self) -> None:
        """Start what does not run."""
        self.services[:] = [item for item in self.services if item.process.poll() is None]
        while len(self.services) < 2:
            self.services.append(Service())

    def open(
        self,
        *,
        alone: bool = False,
        patience: float = PATIENT,
        lease_margin: float = 5.0,
        **manager: Any,
    ) -> None:
        """Let both services build their managers."""
        config = self.config(**manager)
        self.start()
        for service in self.services:
            service.say(
                "open", config=config, alone=alone, patience=patience, lease_margin=lease_margin
            )
        for service in self.services:
            service.hear()

    def break_first(self) -> None:
        """Let the first provider's circuit open in the first service."""
        self.first.fault(status=503, times=None)
        assert self.one.call()["provider"] == "second"
        assert self.one.status()["circuit"] == "open"
        self.first.clear()

    def asked(self) -> list[RecordedRequest]:
        """Return the calls that the first provider's upstream was sent."""
        return [item for item in self.first.requests if item.endpoint == "chat"]

    def contents(self) -> dict[str, str]:
        """Return what is in Redis, having seen that each key is ours and ends some time."""
        found = {}
        with Redis.from_url(self.redis.url, decode_responses=True) as client:
            for name in client.scan_iter():
                kind = str(client.type(name))
                found[name] = str(client.dump(name)) if kind != "string" else str(client.get(name))
                # One that has ended since it was listed is -2.
                assert client.pttl(name) not in {-1, 0}, f"{name} stays for ever"
                assert name.startswith(f"{PREFIX}:"), name
        return found


@pytest.fixture
def house(redis_server: RedisServer, processes: list[Service], fake_key: str) -> Iterator[House]:
    """Run everything; afterwards nothing is left in the services, and no key is in Redis."""
    with ThreadedUpstream("first") as first, ThreadedUpstream("second") as second:
        keys = [f"{fake_key}-{number}" for number in (1, 2, 3)]
        found = House(redis_server, first, second, processes, keys)
        yield found
        for service in found.services:
            if service.process.poll() is None:
                assert service.ask("close") == []
        told = "".join(f"{name} {text}" for name, text in found.contents().items())
        assert fake_key not in told


def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait until something holds; fail if it never does."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it never came"
        time.sleep(0.01)


def until_asked(service: Service, provider: str) -> None:
    """Call until a provider answers; news take a moment to get from one process to the other."""
    until(lambda: bool(service.call()["provider"] == provider))


def calls_of(house: House) -> list[dict[str, Any]]:
    """Return the calls that both services have made since they began, by the time at which they ended."""
    calls = [call for service in house.services for call in service.ask("calls")]
    return sorted(calls, key=lambda call: call["at"] + call["seconds"])


def test_a_circuit_that_one_opens_is_heeded_by_the_other_at_once(house: House) -> None:
    """The very next call of the other process does not ask the broken provider any more."""
    house.open(breaker={"failure_threshold": 3})
    assert house.two.call()["provider"] == "first"
    house.first.fault(status=503, times=None)
    calls = house.one.ask("call", count=3)
    assert [call["provider"] for call in calls] == ["second"] * 3
    house.first.clear()
    assert house.two.call()["provider"] == "second"
    assert house.asked() == []
    status = house.two.status()
    assert (status["state"], status["circuit"], status["failures"]) == ("circuit_open", "open", 0)
    assert "another process" in status["reason"]


def test_what_one_learns_of_a_key_the_other_knows(house: House) -> None:
    """A key that cools down and one that was refused are not used by the other process."""
    cooling, refused, good = house.keys
    house.first.fault(
        Fault.rate_limited(30, match=lambda item: item.credential == cooling, times=None)
    )
    house.first.fault(Fault.unauthorized(match=lambda item: item.credential == refused, times=None))
    house.open()
    assert house.one.call()["provider"] == "first"
    assert sorted(str(item.credential) for item in house.asked()) == house.keys
    house.first.clear()
    assert [house.two.call()["provider"] for _ in range(6)] == ["first"] * 6
    assert {item.credential for item in house.asked()} == {good}
    keys = house.two.status()["keys"]
    assert [key["state"] for key in keys] == ["cooling_down", "set_aside", "available"]
    assert 20 < keys[0]["retry_after"] <= 30
    names = {name.rpartition(":")[0] for name in house.contents()}
    assert names >= {f"{PREFIX}:state:{kind}:first" for kind in ("key", "cooldown")}


def test_one_caller_of_fifty_gets_the_probe(house: House) -> None:
    """Over both processes one request finds out, the others are answered elsewhere, both close."""
    house.open(breaker={"cooldown": 0.4})
    house.break_first()
    assert house.two.call()["provider"] == "second"
    time.sleep(0.5)  # the cooldown, and its jitter
    found_out = threading.Event()
    house.first.upstream.reply = lambda _: f"here again: {found_out.wait(PATIENCE)}"
    for service in house.services:
        service.ask("begin", callers=25, pause=NEVER)
    try:
        until(lambda: len(calls_of(house)) == 49)
        assert {call["provider"] for call in calls_of(house)} == {"second"}
    finally:
        found_out.set()
    until(lambda: len(calls_of(house)) == 50)
    assert calls_of(house)[-1]["provider"] == "first"
    assert len(house.asked()) == 1
    for service in house.services:
        service.ask("end")
    for service in house.services:
        until_asked(service, "first")
        assert service.status()["state"] == "available"


@dataclass
class Traffic:
    """The calls of one service before and after a moment."""

    before: list[dict[str, Any]]
    after: list[dict[str, Any]]

    def slowest(self) -> tuple[float, float]:
        """Return the milliseconds of the slowest call before, and of the slowest one after."""
        return self._of_both(max)

    def median(self) -> tuple[float, float]:
        """Return the same of the usual call."""
        return self._of_both(statistics.median)

    def _of_both(self, measure: Callable[[list[float]], float]) -> tuple[float, float]:
        before, after = (
            measure([1000 * call["seconds"] for call in part]) for part in (self.before, self.after)
        )
        return before, after

    def is_undisturbed(self) -> bool:
        """Tell whether no call was 100 ms slower, and at most some waited for an answer at all."""
        (slowest, slowest_after), (median, median_after) = self.slowest(), self.median()
        return slowest_after < slowest + 100 and median_after < median + 40


def traffic_around(house: House, work: Callable[[], None]) -> list[Traffic]:
    """Let both services call all the time, do something after a while, and return the calls."""
    for service in house.services:
        service.ask("begin", callers=3, pause=0.01)
    time.sleep(0.8)
    moment = time.monotonic()
    work()
    found = []
    for service in house.services:
        service.say("end")
    for service in house.services:
        traffic = Traffic([], [])
        for call in service.hear():
            ended_before = call["at"] + call["seconds"] < moment
            (traffic.before if ended_before else traffic.after).append(call)
        found.append(traffic)
    return found


@pytest.mark.parametrize("how", ["killed", "held up"])
def test_a_redis_that_vanishes_in_the_middle_of_traffic(house: House, how: str) -> None:
    """No call is lost or slow, each process says so once, and they share again when it is back."""
    vanish, come_back = {
        "killed": (house.redis.kill, house.redis.start),
        "held up": (house.redis.pause, house.redis.resume),
    }[how]
    house.open(patience=0.05)
    logs: list[list[str]] = []

    def interrupt() -> None:
        told = []
        for service in house.services:
            until(service.hears_others)
            told.append(len(service.state_log()))
        vanish()
        time.sleep(0.8)
        come_back()
        for service, before in zip(house.services, told, strict=True):
            until(service.hears_others)
            logs.append(service.state_log()[before:])

    # On a busy machine a call may be slow for other reasons, but not time after time.
    for _ in range(3):
        traffic = traffic_around(house, interrupt)
        for part in traffic:
            assert min(len(part.before), len(part.after)) > 10
            assert [call for call in part.before + part.after if call["error"]] == []
            figures = "slowest {:.1f} and {:.1f} ms, median {:.1f} and {:.1f} ms".format(
                *part.slowest(), *part.median()
            )
            calls = f"{len(part.before)} calls before and {len(part.after)} after"
            print(f"redis {how}: {calls}: {figures}")  # noqa: T201 -- pytest -rP shows it
        if all(part.is_undisturbed() for part in traffic):
            break
    else:
        pytest.fail("calls were slow each time")
    assert {tuple(log[:2]) for log in logs} == {("shared_state_away", "shared_state_back")}
    house.break_first()
    until_asked(house.two, "second")


def test_without_a_redis_each_works_alone_until_there_is_one(house: House) -> None:
    """Circuits open and are heeded locally; what was decided meanwhile is told later."""
    house.redis.kill()
    house.open(alone=True)
    house.first.fault(status=503, times=None)
    assert house.one.call()["provider"] == "second"
    assert [house.one.call()["provider"] for _ in range(3)] == ["second"] * 3
    assert len(house.asked()) == 1
    house.first.clear()
    assert house.two.call()["provider"] == "first"
    told = house.one.ask("status")["why"]
    assert "Connect call failed" in told
    assert [service.state_log() for service in house.services] == [["shared_state_away"]] * 2
    house.redis.start()
    for service in house.services:
        until(service.hears_others)
    until_asked(house.two, "second")


def test_a_password_is_used_and_never_shown(house: House) -> None:
    """With the right one all is shared; a wrong one is a warning, and each works alone."""
    right, wrong = "right-" + "password", "wrong-" + "password"
    with Redis.from_url(house.redis.url) as client:
        client.config_set("requirepass", right)
        try:
            urls = [house.redis.url.replace("//", f"//:{word}@") for word in (right, wrong)]
            house.one.ask("open", config=house.config(state=urls[0]))
            house.two.ask("open", config=house.config(state=urls[1]), alone=True)
            house.break_first()
            assert house.two.call()["provider"] == "first"
            why = house.two.ask("status")["why"]
            warning, *more = (line for line in house.two.ask("logged") if "shared_" in line)
        finally:
            client.config_set("requirepass", "")
    assert "WRONGPASS" in why or "invalid" in why.lower()
    assert warning.startswith(f"WARNING shared_state_away server='127.0.0.1:{house.redis.port}/0'")
    assert wrong not in why + warning
    assert more == []
    assert house.one.state_log() == []


def test_a_process_that_dies_with_the_probe_blocks_nobody_for_long(house: House) -> None:
    """Its lease ends with the time that a probe may take, and the other process probes."""
    timeout, margin = 0.8, 0.4
    house.open(breaker={"cooldown": 0.2}, timeout=timeout, lease_margin=margin)
    house.break_first()
    assert house.two.call()["provider"] == "second"
    time.sleep(0.3)
    house.first.fault(hang=True)
    house.one.say("call")
    house.first.wait_for(lambda item: item.endpoint == "chat", within=PATIENCE)
    began = time.monotonic()
    house.one.kill()
    leases = [name for name in house.contents() if name.startswith(f"{PREFIX}:lease:")]
    assert len(leases) == 1
    answers: list[str] = []
    while not answers or answers[-1] == "second":
        assert time.monotonic() < began + 5, "the provider never came back"
        answers.append(house.two.call()["provider"])
        time.sleep(0.02)
    waited = time.monotonic() - began
    assert len(house.asked()) == 2
    assert timeout - 0.1 < waited < timeout + margin + 1.5
    assert len(answers) > 5


@pytest.mark.parametrize(
    "address", ["redis://:{}@host:port/0", "rediss://:{}@host:99999/0", "http://:{}@host/0", "{}"]
)
def test_an_address_that_is_none_is_told_without_its_password(house: House, address: str) -> None:
    """The error of the configuration says what to write, and has no part of what was written."""
    word = "pass" + "word" + "1234"
    with pytest.raises(ProviderConfigError, match=r"redis://") as raised:
        ProviderManager.from_config(house.config(state=address.format(word)))
    assert "state" in str(raised.value)
    assert word not in str(raised.value)


SERVICE = """
import asyncio, gc, json, sys
from amas.providers import ProviderManager
from amas.providers.manager.rate_limits import RateLimits
from amas.providers.manager.redis_store import RedisStore

for shared in (RedisStore, RateLimits):
    shared.__init__.__kwdefaults__["timeout"] = 2.0

async def serve(manager):
    result = await manager.generate("hi")
    assert await manager.refresh() is None
    return result["provider"]

config = json.load(sys.stdin)
for ended in ("with a shutdown", "without"):
    manager = ProviderManager.from_config(config)
    for _ in range(3):
        print(asyncio.run(serve(manager)), flush=True)
    if ended == "with a shutdown":
        asyncio.run(manager.shutdown())
    manager = None
    gc.collect()
print("done", flush=True)
"""


def test_a_service_with_a_loop_per_request(house: House) -> None:
    """Each asyncio.run shares as well, and leaves nothing open, neither here nor in Redis."""
    with Redis.from_url(house.redis.url) as client:
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-W", "error", "-c", SERVICE],
            # Importing LiteLLM in development mode takes long on a loaded machine.
            input=json.dumps(house.config(deadline=60)),
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        connected = client.client_list()
    # Development mode names callbacks that took long; a loaded machine has those.
    said = [line for line in done.stderr.splitlines() if not line.startswith("Executing <")]
    assert (done.returncode, said) == (0, []), done.stderr
    *providers, last = done.stdout.split()
    assert (len(providers), last) == (6, "done")
    assert set(providers) <= {"first", "second"}  # whoever has started first
    assert len(connected) == 1
