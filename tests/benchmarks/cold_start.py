"""What a fresh process waits for: the import, the start, the first call. Ours and the peers'.

Each has processes of its own, in turns, and its best is shown: the first read from the disk.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks.static_upstream import MODEL, static_upstream

OURS, WARM = "ours", "ours, warm_up: true"

# A child prints the seconds of its import, and of its first call once it is ready for it.
_FRAME = """
import asyncio, json, os, sys, time
url, config = sys.argv[1:]
asked = {{"model": "{model}", "messages": [{{"role": "user", "content": "hello"}}]}}
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
began = time.perf_counter()
{imports}
imported = time.perf_counter() - began

async def main():
    {ready}
    began = time.perf_counter()
    await {call}
    print(json.dumps([imported, time.perf_counter() - began]), flush=True)

asyncio.run(main())
"""
_MANAGER = (
    "from amas.providers import ProviderManager",
    "manager = ProviderManager.from_config(config); await manager.initialize_all_providers()",
    'manager.generate(asked["messages"])',
)
_CHILDREN: Mapping[str, tuple[str, str, str]] = {
    "openai SDK": (
        "import openai",
        'client = openai.AsyncOpenAI(api_key="none", base_url=url, max_retries=0)',
        "client.chat.completions.create(**asked)",
    ),
    "any-llm": (
        "from any_llm import AnyLLM",
        'client = AnyLLM.create("openai", api_key="none", api_base=url)',
        "client.acompletion(**asked)",
    ),
    "litellm.acompletion": (
        "import litellm",
        'asked["model"] = "openai/" + asked["model"]',
        'litellm.acompletion(**asked, api_base=url, api_key="none", max_retries=0)',
    ),
    OURS: _MANAGER,
    WARM: _MANAGER,
}


@dataclass(frozen=True, slots=True)
class ColdStart:
    """How long a fresh process takes, in seconds.

    Args:
        imported: The import alone.
        answered: From the start of the process to its first answer.
        call: The first call alone, once all is ready for it.
    """

    imported: float
    answered: float
    call: float


def cold_starts(url: str) -> dict[str, ColdStart]:
    """Measure everybody against the static server at ``url``."""
    url = f"{url}/plain/v1"
    found: dict[str, list[ColdStart]] = {name: [] for name in _CHILDREN}
    row = {"base_url": url, "local": True, "api_key": "none", "health_probe": "off"}
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "providers.yaml"
        for _ in range(3):
            for name, starts in found.items():
                section = {"manager": {"warm_up": name == WARM}, "llm": {"openai": row}}
                config.write_text(json.dumps({"providers": section}), encoding="utf-8")
                starts.append(_once(name, url, str(config)))
    return {
        name: ColdStart(*map(min, zip(*map(astuple, each), strict=True)))
        for name, each in found.items()
    }


def _once(name: str, url: str, config: str) -> ColdStart:
    imports, ready, call = _CHILDREN[name]
    code = _FRAME.format(model=MODEL, imports=imports, ready=ready, call=call)
    command = [sys.executable, "-W", "ignore", "-c", code, url, config]
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        line, answered = child.stdout.readline(), time.perf_counter() - began
    imported, first = json.loads(line)
    return ColdStart(imported, answered, first)


def main() -> None:
    """Measure, and print a table."""
    with static_upstream() as url:
        found = cold_starts(url)
    base = found["litellm.acompletion"]
    shown = Table("", "import s", "first answer s", "of litellm's", "first call ms", "of litellm's")
    for name, each in found.items():
        whole = f"{each.answered:.2f}", f"{each.answered / base.answered:.2f}x"
        call = f"{each.call * 1000:.1f}", f"{each.call / base.call:.3f}x"
        shown.add_row(name, f"{each.imported:.2f}", *whole, *call)
    Console(width=100).print(shown)


if __name__ == "__main__":
    main()
