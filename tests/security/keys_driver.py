"""Kills `keys` commands at random moments and between any two steps; tells what was left.

It imports once and forks for every try. Usage: ``keys_driver.py FOLDER RANDOM_TRIES SEED``;
the outcome comes as JSON on standard output.
"""

from __future__ import annotations

import functools
import io
import json
import os
import random
import re
import select
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from amas.providers.cli.keys import editing, rotation
from amas.providers.cli.keys.inventory import take_inventory
from amas.providers.secret import Secret
from amas.providers.security.master_key import MasterKey, generate
from amas.providers.security.secrets import seal

OLD, NEW = MasterKey(generate()), MasterKey(generate())
OLD_KEY, NEW_KEY = (Secret("sk-" + word * 6) for word in ("old-", "new-"))

OFTEN = ("set", "rotate-master")
STEPS = ("open", "fdopen", "fsync", "fchmod", "replace", "unlink")

TEXT = """\
# head
providers:
  security: {{master_key: "file:master"}}   # master
  llm:
    a:            # a's
      api_key: "{a}"   # a's key

      timeout: 30
    b: {{api_keys: ['{b0}', '{b1}'], options: {{client_secret: "{c}"}}}}  # flow
    # about d
    d:
      model: openai/x   # last
# end
"""


def sealed(place: str) -> str:
    """Seal the old key with the old master key."""
    return seal(OLD_KEY, f"providers.llm.{place}", OLD, now=time.time())


CONTENT = TEXT.format(
    a=sealed("a.api_key"),
    b0=sealed("b.api_key"),
    b1=sealed("b.api_key"),
    c=sealed("b.options.client_secret"),
)
COMMENTS = re.findall("#.*", CONTENT)


class House:
    """A folder with a configuration and the file of its master keys."""

    def __init__(self, folder: Path) -> None:
        self.config, self.master = folder / "c.yaml", folder / "master"

    def restore(self, *masters: MasterKey) -> None:
        """Bring it into the state before a command."""
        for path, text in (
            (self.config, CONTENT),
            (self.master, "".join(f"{each.text.get_secret_value()}\n" for each in masters)),
        ):
            path.unlink(missing_ok=True)
            path.touch(0o600)
            path.write_text(text)
        self.config.chmod(0o640)

    def look(self, *, finished: Callable[[set[str]], bool]) -> str:
        """Check that all is whole, and say whether it is the state before or after the command."""
        content = self.config.read_bytes()
        inventory = take_inventory(str(self.config), content, {})
        assert not inventory.warnings, inventory.warnings
        values = {}
        for entry in inventory.entries:
            assert entry.kept == "none" or entry.value is not None, (entry.path, entry.why)
            if entry.value is not None:
                assert entry.value in (OLD_KEY, NEW_KEY)
                values[entry.path] = f"{entry.master} {entry.value == NEW_KEY}"
        assert re.findall("#.*", content.decode()) == COMMENTS
        assert self.config.stat().st_mode & 0o777 == 0o640
        assert self.master.stat().st_mode & 0o777 == 0o600
        for rest in self.config.parent.glob(".*.amas-keys"):
            assert rest.stat().st_mode & 0o777 in {0o600, 0o640}
            assert not any(key.get_secret_value() in rest.read_text() for key in (OLD_KEY, NEW_KEY))
        return "after" if finished(set(values.values())) else "before"


def fork(work: Callable[[], object]) -> int:
    """Run work in a child process."""
    child = os.fork()
    if child == 0:
        sys.stderr = io.StringIO()
        try:
            work()
        except BaseException:  # noqa: BLE001 -- the child must not run on as its parent
            os._exit(1)
        os._exit(0)
    return child


def random_kills(house: House, command: Command, tries: int, rng: random.Random) -> Counter[str]:
    """Kill a command at random moments."""
    began = time.monotonic()
    for _ in range(3):
        house.restore(*command.masters)
        assert os.waitpid(fork(command.work), 0)[1] == 0
    length = (time.monotonic() - began) / 3
    found: Counter[str] = Counter()
    for _ in range(tries):
        house.restore(*command.masters)
        child = fork(command.work)
        select.select([], [], [], rng.uniform(0, length * 1.2))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        found[house.look(finished=command.finished)] += 1
    return found


def step_kills(house: House, command: Command) -> Counter[str]:
    """Kill a command before each of its steps, one after the other, until it gets through."""
    found: Counter[str] = Counter()
    for allowed in range(1000):
        house.restore(*command.masters)
        _, status = os.waitpid(fork(functools.partial(_with_steps, allowed, command.work)), 0)
        found[house.look(finished=command.finished)] += 1
        if not os.WIFSIGNALED(status):
            assert status == 0
            break
    return found


def _with_steps(allowed: int, work: Callable[[], object]) -> None:
    left = [allowed]

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))
    work()


class Command:
    """A command, the master keys before it, and how its end is told."""

    def __init__(
        self,
        work: Callable[[], object],
        masters: tuple[MasterKey, ...],
        finished: Callable[[set[str]], bool],
    ) -> None:
        self.work, self.masters, self.finished = work, masters, finished


def main(folder: Path, tries: int, seed: int) -> None:
    """Try all commands."""
    house = House(folder)
    rng = random.Random(seed)

    def store(name: str) -> Callable[[], object]:
        return lambda: editing.store_key(house.config, name, None, NEW_KEY, dry_run=False)

    def rotate(*, new: bool) -> Callable[[], object]:
        return lambda: rotation.rotate_master_command(
            house.config, new=new, keep_old=False, dry_run=False
        )

    is_new = f"{OLD.id} True"
    commands = {
        "set": Command(store("a"), (OLD,), lambda found: is_new in found),
        "set, added": Command(store("d"), (OLD,), lambda found: is_new in found),
        "rotate-master": Command(
            rotate(new=False), (NEW, OLD), lambda found: found == {f"{NEW.id} False"}
        ),
        "rotate-master --new": Command(
            rotate(new=True),
            (OLD,),
            lambda found: not any(each.startswith(OLD.id) for each in found),
        ),
    }
    began = time.monotonic()
    told: dict[str, object] = {
        name: {
            "random": random_kills(house, command, tries, rng) if name in OFTEN else None,
            "steps": step_kills(house, command),
        }
        for name, command in commands.items()
    }
    told["seconds"] = time.monotonic() - began
    told["heavy"] = sorted({"litellm", "openai", "aiohttp"} & sys.modules.keys())
    print(json.dumps(told))  # noqa: T201 -- this is its answer


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
