"""What the scanner finds in a code base, and what it leaves alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from amas.providers.cli.migrate.findings import Finding
from amas.providers.cli.migrate.scan import Report, scan
from amas.providers.cli.migrate.vocabulary import address, variable, vocabulary
from amas.providers.llm.catalog import load_catalog

MARK = re.compile(r"#! (?P<kinds>.*)$")


def write(root: Path, files: dict[str, str]) -> Path:
    """Write the files of a tree."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def marked(root: Path, files: dict[str, str]) -> set[tuple[str, int, str, str]]:
    """Read what a tree's files themselves say, behind ``#!``, that is to be found in their lines."""
    return {
        (str(root / name), number, *mark.strip().split(" ", 1))
        for name, text in files.items()
        for number, line in enumerate(text.split("\n"), 1)
        if (match := MARK.search(line))
        for mark in match["kinds"].split(",")
    }


def found(report: Report) -> set[tuple[str, int, str, str]]:
    """Return what was found, in the form of ``marked``."""
    return {(one.path, one.line, one.kind, one.subject) for one in report.findings}


def check(root: Path, files: dict[str, str]) -> Report:
    """Scan a tree, and compare with what its files say."""
    report = scan(write(root, files))
    assert found(report) == marked(root, files)
    return report


def only(root: Path, text: str, name: str = "app.py") -> list[Finding]:
    """Scan a tree of one file."""
    return scan(write(root, {name: text})).findings


IMPORTS = """\
import amas.services.llm_service  #! import llm_service
import amas.services.llm_service as one, amas.services.universal_ai_manager as two  #! import llm_service, import universal_ai_manager
import src.amas.services.ultimate_fallback_system  #! import ultimate_fallback_system
import services.llm_service  #! import llm_service
import ultimate_fallback_system  #! import ultimate_fallback_system
import llm_service as service  #! import llm_service
from amas.services import llm_service as three  #! import llm_service
from amas.services import LLMService  #! import llm_service
from amas.services import *  #! import llm_service
from src.amas.services import universal_ai_manager as four, vector_service  #! import universal_ai_manager
from amas.services.llm_service import LLMService as Service  #! import llm_service
from src.amas.services.universal_ai_manager import (  #! import universal_ai_manager
    get_universal_ai_manager,
    generate_ai_response as ask,
)
from services.llm_service import get_api_key  #! import llm_service
from services import llm_service as five  #! import llm_service
from ultimate_fallback_system import *  #! import ultimate_fallback_system
from universal_ai_manager import ProviderStatus  #! import universal_ai_manager
from standalone_universal_ai_manager import get_api_key as key  #! import standalone_universal_ai_manager
from amas.providers.manager import provider_manager  #! import providers.manager
from src.amas.providers.manager import validate_environment  #! import providers.manager
from amas.providers import manager  #! import providers.manager
import amas.providers.manager as six  #! import providers.manager
from amas.config.settings import AMASConfig  #! import config.settings
from amas.config import get_settings  #! import config.settings
from src.amas.config import settings  #! import config.settings
from amas.services.ai_service_manager import get_api_key as other  #! import ai_service_manager
from intelligent_fallback_system import get_api_key as another  #! import intelligent_fallback_system

try:
    from amas.services.universal_ai_manager import UniversalAIManager  #! import universal_ai_manager
except ImportError:
    UniversalAIManager = None

if True:
    import universal_ai_manager  #! import universal_ai_manager


def later():
    from amas.services.ultimate_fallback_system import get_fallback_stats  #! import ultimate_fallback_system

    class Inner:
        import amas.services.universal_ai_manager  #! import universal_ai_manager


import importlib
from importlib import import_module

importlib.import_module("amas.services.llm_service")  #! import llm_service
import_module("ultimate_fallback_system")  #! import ultimate_fallback_system
importlib.import_module(".llm_service", "amas.services")  #! import llm_service
importlib.import_module("..services.universal_ai_manager", package="src.amas.core")  #! import universal_ai_manager
__import__("src.amas.services.universal_ai_manager")  #! import universal_ai_manager
importlib.util.find_spec(name="services.llm_service")  #! import llm_service
pytest.importorskip("amas.services.llm_service")  #! import llm_service
"""

RELATIVE = {
    "src/amas/__init__.py": "from .config.settings import AMASConfig  #! import config.settings\n",
    "src/amas/orchestrator.py": "from .providers.manager import provider_manager  #! import providers.manager\n",
    "src/amas/services/__init__.py": (
        "from .llm_service import LLMService  #! import llm_service\n"
        "from . import universal_ai_manager  #! import universal_ai_manager\n"
    ),
    "src/amas/core/deep/agent.py": (
        "from ...services.llm_service import LLMService  #! import llm_service\n"
        "from ...services import ultimate_fallback_system  #! import ultimate_fallback_system\n"
        "from ... import services  #! \n"
    ).replace("  #! \n", "\n"),
    # On a path that begins below amas, the package is `services` itself.
    "elsewhere/services/__init__.py": "",
    "elsewhere/services/user.py": "from .llm_service import LLMService  #! import llm_service\n",
}


def test_every_form_of_import_is_found_at_its_line(tmp_path: Path) -> None:
    """All names of section 7 and all of Python's ways to import are found, and nothing else."""
    report = check(tmp_path, {"app.py": IMPORTS})
    assert not report.notes
    assert all(one.certain for one in report.findings)


def test_relative_imports_are_resolved_by_the_package(tmp_path: Path) -> None:
    """Dots count from where the file lies, whatever folder the scan begins at."""
    check(tmp_path, RELATIVE)
    services = scan(tmp_path / "src/amas/services").findings
    assert [(one.line, one.subject) for one in services] == [
        (1, "llm_service"),
        (2, "universal_ai_manager"),
    ]


def test_dots_that_lead_out_of_the_file_system_are_no_import(tmp_path: Path) -> None:
    """More dots than folders are simply not resolved."""
    text = f"from {'.' * 99}llm_service import LLMService\nimportlib.import_module('.x', '')\n"
    assert only(tmp_path, text) == []


def test_column_counts_characters_from_one(tmp_path: Path) -> None:
    """An editor can jump to the place, also behind letters of several bytes and after `;`."""
    text = 'ä = "äöü"; import openai\nif ä: import json, groq\n'
    places = [(one.line, one.column, one.subject) for one in only(tmp_path, text)]
    assert places == [(1, 12, "openai"), (2, 20, "groq")]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_lines_are_pythons(tmp_path: Path, newline: str) -> None:
    """A form feed ends no line, and every line end of Python's does."""
    (tmp_path / "app.py").write_bytes(f"x = 1{newline}\x0c{newline}import openai{newline}".encode())
    assert [(one.line, one.column) for one in scan(tmp_path).findings] == [(3, 1)]


SDKS = """\
import openai  #! import openai
import anthropic as claude  #! import anthropic
import google.generativeai as genai  #! import google.generativeai
from google import genai as google  #! import google.genai
from google.genai import types  #! import google.genai
from groq import AsyncGroq  #! import groq
import cohere  #! import cohere
from mistralai.client import MistralClient  #! import mistralai
from cerebras.cloud.sdk import Cerebras  #! import cerebras.cloud.sdk
import together, ollama, replicate  #! import together, import ollama, import replicate
from huggingface_hub import InferenceClient, snapshot_download  #! import huggingface_hub
import litellm  #! import litellm
from langchain_openai import ChatOpenAI  #! import langchain_openai
from langchain_community.chat_models import ChatOllama  #! import langchain_community.chat_models
import huggingface_hub as hub

client = openai.OpenAI(api_key="x")  #! call openai
client.chat.completions.create(model="gpt-4o")  #! call openai
client.close()
client.api_key = "y"
hub.InferenceClient()  #! call huggingface_hub
hub.snapshot_download()
model = genai.GenerativeModel("gemini-pro")  #! call google.generativeai
model.generate_content("x")  #! call google.generativeai


class Agent:
    def __init__(self) -> None:
        self.client = AsyncGroq()  #! call groq

    async def ask(self):
        try:
            return await self.client.chat.completions.create()  #! call groq
        except (openai.RateLimitError, ValueError):  #! use openai
            raise
        except openai.SomethingError:  #! use openai
            raise


patch("openai.OpenAI")  #! name openai
patch("huggingface_hub.snapshot_download")
"""


def test_vendors_sdks_are_found(tmp_path: Path) -> None:
    """Imports, clients, questions and caught errors of every SDK are found."""
    report = check(tmp_path, {"app.py": SDKS})
    todo = {one.what: one.todo for one in report.findings}
    assert todo["catches RateLimitError of openai"] == "catch amas.providers.RateLimitError"
    assert todo["catches SomethingError of openai"] == "catch amas.providers.ProviderError"


USES = """\
import asyncio
import amas.services
from amas import services
from amas.services.llm_service import LLMService, get_api_key  #! import llm_service
from src.amas.services.universal_ai_manager import get_universal_ai_manager as make  #! import universal_ai_manager
import src.amas.services.ultimate_fallback_system as ufs  #! import ultimate_fallback_system
from amas.providers.manager import provider_manager as pm  #! import providers.manager
from amas.config import get_settings  #! import config.settings

service = LLMService({"llm_service_url": "x", "glm_api_key": "y"})  #! call llm_service, key llm_service
amas.services.llm_service.LLMService({})  #! call llm_service
services.llm_service.LLMService  #! use llm_service
first, manager = 1, make()  #! call universal_ai_manager
system = ufs.UltimateFallbackSystem() if ufs else None  #! call ultimate_fallback_system
manager.generate("x", strategy="priority")  #! call universal_ai_manager
manager.active_providers  #! read universal_ai_manager
manager.providers["glm"].base_url = "x"  #! read universal_ai_manager
system.query_with_fallback("x")  #! call ultimate_fallback_system
ufs.ultimate_fallback_system.generate_response("x")  #! call ultimate_fallback_system
ufs.generate_ai_response("x")  #! call ultimate_fallback_system
provider = pm.get_best_provider()  #! call providers.manager
provider.infer("x")  #! call providers.manager
(again := make()).get_stats()  #! call universal_ai_manager
again.get_provider_health  #! use universal_ai_manager
loaded = importlib.import_module("amas.services.llm_service")  #! import llm_service
loaded.LLMService({})  #! call llm_service
__import__("amas.services.llm_service").services.llm_service.LLMService({})  #! import llm_service, call llm_service
settings = get_settings()  #! call config.settings
settings.ai.openai_api_key  #! read config.settings
settings.llm.url  #! read config.settings
settings.get_api_keys()  #! call config.settings
settings.debug
run(settings)


class Agent(LLMService):  #! use llm_service
    def early(self):
        self.llm.health_check()  #! call llm_service

    def __init__(self, service: "LLMService | None", other: Optional[LLMService] = None) -> None:  #! use llm_service
        self.llm = service  #! use llm_service
        service.generate_embedding("x")  #! call llm_service
        if not other:  #! use llm_service
            other.close()  #! call llm_service
        self.unknown().generate("x")

    async def ask(self):
        async with make() as inner:  #! call universal_ai_manager
            await inner.reset_stats()  #! call universal_ai_manager
        typed: LLMService = build()  #! use llm_service
        typed.models  #! read llm_service


Agent({}).generate("x")  #! call llm_service
key = lambda LLMService: LLMService()
"""


def test_uses_of_what_is_bound_are_found(tmp_path: Path) -> None:
    """Calls, reads and hand-overs of objects made from the old modules are found, as good guesses."""
    report = check(tmp_path, {"app.py": USES})
    guesses = {one.kind for one in report.findings if not one.certain}
    assert guesses == {"call", "read", "use"}


BY_NAME = """\
class Agent:
    def __init__(self, llm_service=None) -> None:
        self.llm_service = llm_service  #! use llm_service

    async def ask(self, llm_service: Any):
        await self.llm_service.generate(prompt="x", max_tokens=5)  #! call llm_service
        await llm_service.generate_response("x")  #! call llm_service
        await app.service_manager.get_llm_service().generate("x")  #! call llm_service
        services = [("llm", self.manager.get_llm_service())]  #! use llm_service
        request.app.llm_service.no_such_method()  #! use llm_service
        return self.llm_service.current_model  #! read llm_service


class Other:
    def __init__(self) -> None:
        self.llm_service = EnhancedService()
        self.orchestrator.provider_manager.get_provider_status()

    async def ask(self):
        return await self.llm_service.generate("x")


provider_manager = None
provider_manager.get_provider_status()  #! call providers.manager
"""


def test_names_that_everybody_uses_are_taken_for_what_they_say(tmp_path: Path) -> None:
    """`llm_service` is the old service unless the file says what else it is."""
    report = check(tmp_path, {"app.py": BY_NAME})
    assert not any(one.certain for one in report.findings)


def test_class_of_the_same_name_is_not_the_old_one(tmp_path: Path) -> None:
    """A file that defines LLMService itself uses its own."""
    text = """\
class LLMService:
    def generate_response(self, prompt): ...

class Orchestrator:
    def __init__(self) -> None:
        self.llm_service = LLMService("x")

    def ask(self, llm_service: LLMService):
        llm_service.generate_response("x")
        return self.llm_service.generate_response("x")
"""
    assert only(tmp_path, text) == []


VARIABLES = """\
import os
from os import environ, getenv

os.getenv("OPENAI_API_KEY")  #! variable OPENAI_API_KEY
getenv("GEMINIAI_API_KEY", "")  #! variable GEMINIAI_API_KEY
os.environ["DEEPSEEK_API_KEY"]  #! variable DEEPSEEK_API_KEY
os.environ["GLM_API_KEY"] = "x"  #! variable GLM_API_KEY
environ.get("AI_GROQ_API_KEY")  #! variable AI_GROQ_API_KEY
os.environ.pop("NVIDIAAI_API_KEY", None)  #! variable NVIDIAAI_API_KEY
"AMAS_LLM_HOST" in os.environ  #! variable AMAS_LLM_HOST
get_api_key("GROK_API_KEY")  #! variable GROK_API_KEY
monkeypatch.setenv("KIMI_API_KEY", "x")  #! variable KIMI_API_KEY
os.getenv("HOME")
os.environ["DATABASE_URL"]
table.get("OPENAI_API_KEY")
"OPENAI_API_KEY" in table
os.getenv(name)
"""


def test_reads_of_old_variables_are_found(tmp_path: Path) -> None:
    """Every way to read a variable is found, if an old module or a vendor's SDK reads it."""
    check(tmp_path, {"app.py": VARIABLES})


def test_every_variable_has_its_place() -> None:
    """A variable of the catalogue names its row, one of settings its new name, others nothing."""
    assert "`gemini`" in (variable("GEMINIAI_API_KEY") or "")
    assert "set GROQ_API_KEY" in (variable("AI_GROQ_API_KEY") or "")
    assert "different vendors" in (variable("DEEPSEEK_API_KEY") or "")
    assert variable("AI_NOBODY_API_KEY") is None
    assert all(variable(name) for entry in load_catalog().values() for name in entry.env)


ADDRESSES = """\
URL = "https://api.openai.com/v1/chat/completions"  #! address openai
httpx.post(f"https://api.groq.com/openai/v1/{path}")  #! address groq
old = "https://api.openrouter.ai/v1"  #! address openrouter
new = "https://openrouter.ai/api/v1/chat"  #! address openrouter
page = "https://openrouter.ai/docs"
docs = "see https://platform.openai.com/docs and https://example.com/v1"
local = "http://localhost:11434"
broken = "https://[api.openai.com/v1"


def ask():
    \"\"\"Asks https://api.openai.com/v1.\"\"\"
"""


def test_addresses_of_vendors_are_found(tmp_path: Path) -> None:
    """Addresses of the catalogue's vendors in literals are found; their web pages are not."""
    check(tmp_path, {"app.py": ADDRESSES})


def test_hosts_come_from_the_catalogue() -> None:
    """Every vendor of the catalogue is known by its address."""
    for entry in load_catalog().values():
        if entry.base_url and not entry.local:
            met = address(entry.base_url)
            assert met is not None
            assert met.base_url is not None
            assert met.base_url.split("/")[2] == entry.base_url.split("/")[2]


STRINGS = """\
patch("amas.services.llm_service.LLMService")  #! name llm_service
patch("amas.services.llm_service.LLMService.generate")  #! name llm_service
patch("amas.services.llm_service.httpx.AsyncClient")  #! name llm_service
patch("amas.providers.manager.provider_manager.get_best_provider")  #! name providers.manager
patch("ultimate_fallback_system.generate_ai_response")  #! name ultimate_fallback_system
ENTRY = "src.amas.services.universal_ai_manager:main"  #! name universal_ai_manager
found = "universal_ai_manager" in text  #! name universal_ai_manager
names = ["llm_service", "provider_manager", "settings", "generate"]
files = ["src/amas/services/llm_service.py", "my_llm_service.py"]  #! name llm_service
script = '''
import asyncio
from src.amas.services.universal_ai_manager import get_universal_ai_manager, generate_ai_response as ask  #! import universal_ai_manager
manager = get_universal_ai_manager()  #! call universal_ai_manager
print(asyncio.run(ask("x")))  #! call universal_ai_manager
'''
subprocess.run("python -c 'from standalone_universal_ai_manager import get_manager; print(1)'")  #! import standalone_universal_ai_manager
os.system("python -m amas.services.universal_ai_manager")  #! command universal_ai_manager
subprocess.run(["python", "-m", "src.amas.services.ultimate_fallback_system"])  #! name ultimate_fallback_system
text = "We import together what we need from services."
"""


def test_strings_are_read(tmp_path: Path) -> None:
    """Targets of patches, entry points, code, commands and files in strings are found."""
    check(tmp_path, {"app.py": STRINGS})


TEXTS = {
    "run.sh": (
        "#!/bin/sh\n"
        "python -m amas.services.universal_ai_manager  #! command universal_ai_manager\n"
        "exec python3.11 -u -m src.amas.services.ultimate_fallback_system --x  #! command ultimate_fallback_system\n"
        "python3 standalone_universal_ai_manager.py  #! name standalone_universal_ai_manager\n"
        "python -c 'import openai; print(1)'  #! import openai\n"
        "# python -m amas.services.universal_ai_manager\n"
        "pip install openai\n"
        "python -m http.server\n"
    ),
    "Dockerfile": 'CMD ["python", "-m", "amas.services.llm_service"]  #! command llm_service\n',
    "docker/web.Dockerfile": "RUN python -m services.llm_service  #! command llm_service\n",
    "Makefile": "ask:\n\tpython -m ultimate_fallback_system  #! command ultimate_fallback_system\n",
    ".github/workflows/ci.yml": (
        "steps:\n"
        "  - run: |\n"
        "      python - <<E\n"
        "      from amas.services.universal_ai_manager import generate_ai_response  #! import universal_ai_manager\n"
        "      print(generate_ai_response('x'))  #! call universal_ai_manager\n"
        "  - run: curl https://api.deepseek.com/v1/models  #! address deepseek\n"
    ),
    "pyproject.toml": (
        "[project.scripts]\n"
        'ask = "amas.services.llm_service:main"  #! name llm_service\n'
        'new = "amas.providers.cli:main"\n'
    ),
    "script": "#!/usr/bin/env python3\nimport openai  #! import openai\n",
    "tool": "#!/bin/bash\npython -m amas.services.llm_service  #! command llm_service\n",
}


def test_text_files_are_read_by_line(tmp_path: Path) -> None:
    """Scripts, workflows, Dockerfiles and their like are found to start or name old modules."""
    report = check(tmp_path, TEXTS)
    assert report.files == len(TEXTS)


def test_notebook_is_read_as_its_lines(tmp_path: Path) -> None:
    """The lines of a notebook's cells are strings of JSON."""
    text = (
        '{"cells": [{"source": [\n"from amas.services.llm_service import LLMService\\n",\n"# x"]}]}'
    )
    (one,) = only(tmp_path, text, "note.ipynb")
    assert (one.line, one.kind, one.subject) == (2, "import", "llm_service")


BROKEN = """\
from standalone_universal_ai_manager import get_api_key  #! import standalone_universal_ai_manager
# import openai
import anthropic  #! import anthropic
from ultimate_fallback_system import (  #! import ultimate_fallback_system
    generate_ai_response,  # the main thing
    get_fallback_stats,
)
module = importlib.import_module("amas.services.llm_service")  #! import llm_service
key = os.environ.get("GROK_API_KEY")  #! variable GROK_API_KEY
if generate_ai_response("x"):  #! call ultimate_fallback_system
    self.llm_service.generate("x")  #! call llm_service
    manager.get_llm_service().health_check()  #! call llm_service
    url = "https://api.openai.com/v1"  #! address openai
print(f"{x["y"]
"""


def test_file_with_a_syntax_error_is_read_by_line(tmp_path: Path) -> None:
    """What Python cannot read is not lost, and the report says how it was read."""
    report = check(tmp_path, {"app.py": BROKEN})
    (note,) = report.notes
    assert note.why.startswith("syntax error in line ")
    assert note.why.endswith("read line by line")
    assert not any(one.certain for one in report.findings if one.kind == "import")


CLEAN = {
    "openai_helper.py": "def generate(prompt):\n    return prompt\n",
    "app.py": """\
import json, google.cloud.storage
import openai_helper
import huggingface_hub, langchain, langchain_openai
from google.cloud import secretmanager
from huggingface_hub import snapshot_download
from langchain_openai import OpenAIEmbeddings
from openai_helper import generate
from config.settings import get_settings
from src.config.settings import AISettings
from providers.manager import Manager
from providers import manager as providers_manager
from amas.providers import ProviderManager, ProviderError
from amas.providers.manager.provider_manager import ProviderManager as Same
from amas.providers.manager import circuit_breaker
from amas.services.vector_service import VectorService
from amas.services.ai_service_manager import AIServiceManager
from myapp.services.llm_service import LLMService
from . import openai, groq
from .ollama import client
import ai_service_manager
import importlib

importlib.import_module(f"plugins.{name}")
importlib.import_module("plugins.openai")
importlib.import_module(name)
manager = ProviderManager.from_config("x")
manager.generate("x")
same = Same.from_config("x")
same.get_provider_status()
patch("amas.providers.manager.provider_manager.ProviderManager")
import amas.providers.manager.provider_manager as new
new.ProviderManager().get_provider("x")
import amas.providers.manager.provider_manager
amas.providers.manager.provider_manager.ProviderManager().get_provider("x")
generate = openai_helper.generate
generate("x").generate_response("x").query_with_fallback("x")
service = AIServiceManager()
service.generate("x")
openai.chat.completions.create()
model.generate(prompt, max_tokens=5)
words = "please import openai, then", "the services.py of config.settings", "openai.com", 5, b"openai"
""",
    "package/__init__.py": "",
    "package/openai.py": "",
    "package/user.py": "from . import openai\nfrom package import openai as ours\n",
    "tools/together.py": "",
    "tools/run.py": "import together\nfrom together import Together\nTogether().chat.create()\ntogether.x()\n",
    "replicate/__init__.py": "def run(): ...\n",
    "deep/down/use.py": "import replicate\nreplicate.run()\n",
    "notes.md": "from amas.services.llm_service import LLMService\n",
    "data.csv": "import openai\n",
    "binary": "\x00import openai",
    "Makefile.am": "all:\n\techo import\n",
    "values.yaml": "services:\n  llm_service:\n    image: openai\n",
}


def test_clean_tree_raises_no_alarm(tmp_path: Path) -> None:
    """Local modules and variables with such names, and the new package itself, are left alone."""
    report = scan(write(tmp_path, CLEAN))
    assert report.findings == []
    assert report.notes == []


def test_sibling_beside_a_package_does_not_hide_the_sdk(tmp_path: Path) -> None:
    """Inside a package, `import openai` means the SDK, whatever lies next to it."""
    write(tmp_path, {"pkg/__init__.py": "", "pkg/openai.py": "", "pkg/user.py": "import openai\n"})
    (one,) = scan(tmp_path).findings
    assert one.path == str(tmp_path / "pkg/user.py")


def test_old_modules_own_source_is_one_finding(tmp_path: Path) -> None:
    """Of an old module itself only what it imports of the others is told beside the module."""
    text = (
        "from standalone_universal_ai_manager import get_api_key\n"
        "import groq\nos.getenv('GROK_API_KEY')\nURL = 'https://api.openai.com/v1'\n"
    )
    names = ["src/amas/services/ultimate_fallback_system.py", "standalone_universal_ai_manager.py"]
    report = scan(write(tmp_path, dict.fromkeys(names, text)))
    assert [(one.kind, one.line, one.subject) for one in report.findings] == [
        ("module", 1, "ultimate_fallback_system"),
        ("import", 1, "standalone_universal_ai_manager"),
        ("module", 1, "standalone_universal_ai_manager"),
    ]
    assert "drop-in" in report.findings[0].todo
    assert "delete it" in report.findings[2].todo


# --- hostile trees --------------------------------------------------------------------------------


def test_folders_of_others_are_skipped_and_said(tmp_path: Path) -> None:
    """Version control, installed packages and virtual environments are no code of the user's."""
    skipped = [".git", ".venv", "node_modules", "web/node_modules", "__pycache__"]
    write(tmp_path, {f"{name}/x.py": "import openai\n" for name in skipped})
    write(tmp_path, {"my env/pyvenv.cfg": "", "my env/x.py": "import openai\n"})
    report = scan(tmp_path)
    assert report.findings == []
    assert report.files == 0
    noted = {os.path.relpath(note.path, tmp_path): note.why for note in report.notes}
    assert noted == dict.fromkeys([*skipped, "my env"], "folder skipped")


def test_links_are_not_followed(tmp_path: Path) -> None:
    """A loop of links ends nowhere, and a link that leads out is not read."""
    outside = write(tmp_path / "outside", {"x.py": "import openai\n"})
    tree = write(tmp_path / "tree", {"a/x.py": "import groq\n"})
    (tree / "a/loop").symlink_to(tree)
    (tree / "out").symlink_to(outside)
    (tree / "x.py").symlink_to(outside / "x.py")
    (tree / "gone.txt").symlink_to(tree / "nowhere")
    report = scan(tree)
    assert [one.subject for one in report.findings] == ["groq"]
    assert {note.path for note in report.notes} == {
        str(tree / name) for name in ("a/loop", "out", "x.py")
    }
    link = tmp_path / "link"
    link.symlink_to(tree)
    assert [one.path for one in scan(link).findings] == [str(link / "a/x.py")]


def test_what_cannot_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pipes, huge files, forbidden files and folders cost nothing but a note."""
    write(tmp_path, {"good.py": "import openai\n", "huge.py": "x = 1\n" * 400_000})
    os.mkfifo(tmp_path / "pipe.py")
    write(tmp_path, {"closed/x.py": "", "secret.py": ""})
    real_scandir, real_open = os.scandir, os.open

    def scandir(path: Path) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return real_scandir(path)

    def opened(path: str, flags: int, *rest: int, **more: int) -> int:
        if str(path).endswith("secret.py"):
            raise PermissionError(13, "Permission denied", path)
        return real_open(path, flags, *rest, **more)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(os, "open", opened)
    report = scan(tmp_path)
    assert [one.subject for one in report.findings] == ["openai"]
    assert {Path(note.path).name: note.why for note in report.notes} == {
        "closed": "cannot be read (Permission denied)",
        "huge.py": "cannot be read (the file is larger than 2048 KiB)",
        "pipe.py": "not a regular file",
        "secret.py": "cannot be read (Permission denied)",
    }
    assert scan(tmp_path / "pipe.py").notes[0].why.startswith("cannot be read")


def test_single_file_can_be_scanned(tmp_path: Path) -> None:
    """The path may be a file, with or without an ending."""
    write(tmp_path, {"x.py": "import openai\n", "tool": "#!/usr/bin/python\nimport groq\n"})
    assert [one.subject for one in scan(tmp_path / "x.py").findings] == ["openai"]
    assert [one.subject for one in scan(tmp_path / "tool").findings] == ["groq"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"# coding: latin-1\nx = '\xe4'\nimport openai\n", None),
        (b"\xef\xbb\xbfx = 1\n\nimport openai\n", None),
        (b"x = '\xe4'\n\nimport openai\n", "of an unknown encoding, read as UTF-8"),
        (b"# coding: no-such\n\nimport openai\n", "of an unknown encoding, read as UTF-8"),
        (b"# coding: rot13\n\nimport openai\n", "not valid ROT13, read as far as it is"),
        (b"# coding: ascii\n# \xe4\nimport openai\n", "not valid ASCII, read as far as it is"),
        (b"\n\x00\nimport openai\n", "no Python: it has NUL bytes, read line by line"),
        (
            b"# coding: raw_unicode_escape\n# \\ud800\nimport openai\n",
            "no Python, read line by line",
        ),
        (b"#\n#\nimport openai\nx = " + b"(" * 5000, "syntax error in line 4, read line by line"),
        (b"#\n#\nimport openai\nx = " + b"-" * 4000 + b"1", "nested too deeply, read line by line"),
    ],
)
def test_odd_python_is_not_lost(tmp_path: Path, content: bytes, why: str | None) -> None:
    """Whatever the encoding or the nesting, the import is found in its line."""
    (tmp_path / "x.py").write_bytes(content)
    report = scan(tmp_path)
    assert [(one.line, one.subject) for one in report.findings] == [(3, "openai")]
    assert [note.why for note in report.notes] == ([why] if why else [])


def test_scripts_of_windows_are_read(tmp_path: Path) -> None:
    """A PowerShell script in UTF-16 is text like any other."""
    (tmp_path / "x.ps1").write_bytes("python -m amas.services.llm_service\r\n".encode("utf-16"))
    assert [one.kind for one in scan(tmp_path).findings] == ["command"]


def test_names_of_files_may_be_anything(tmp_path: Path) -> None:
    """Names that are no UTF-8 are names all the same."""
    Path(os.fsdecode(os.fsencode(str(tmp_path)) + b"/\xe4.py")).write_text("import openai\n")
    assert [one.subject for one in scan(tmp_path).findings] == ["openai"]


def test_scanned_code_is_not_executed(tmp_path: Path) -> None:
    """Reading a file leaves no trace of it in this process, and no warning of its mistakes."""
    before = set(sys.modules)
    trap = "import openai\nopen('trap', 'w')\nraise SystemExit\nx = '\\d' is 1\n"
    write(tmp_path, {"trap.py": trap, "sitecustomize.py": trap, "conftest.py": trap})
    assert len(scan(tmp_path).findings) == 3
    assert not (tmp_path / "trap").exists()
    assert not Path("trap").exists()
    assert not {"trap", "sitecustomize"} & (set(sys.modules) - before)


@pytest.mark.parametrize(
    "text",
    [
        "x = '" + "a" * 500_000 + "'",
        "x = '" + "a/" * 250_000 + "'",
        "x = '" + "a." * 250_000 + "'",
        "x = [" + "'ä', " * 50_000 + "]",
        "from " * 100_000,
        "import a," + "a," * 200_000,
        "from a import (\n" * 30_000,
        "services." * 60_000,
        "x = 'services." + "llm_service." * 60_000 + "'",
        "f(" + " " * 500_000,
        "https://" * 60_000,
        "\n".join(f"def f{number}(): x = {number}" for number in range(5000)),
        "def f():\n" + "    x = 1\n" * 20_000,
    ],
    ids=lambda text: repr(text[:16]),
)
@pytest.mark.parametrize("name", ["x.py", "x.sh"])
def test_hostile_text_takes_no_long_time(tmp_path: Path, name: str, text: str) -> None:
    """No text makes a search go back and forth: half a megabyte takes seconds at most."""
    began = time.process_time()
    only(tmp_path, text, name)
    assert time.process_time() - began < 5


def test_deep_folders_are_read(tmp_path: Path) -> None:
    """Folders may lie deeper than functions may call each other."""
    top = here = tmp_path / "a"
    try:
        for _ in range(600):
            here.mkdir()
            here /= "a"
        here.with_name("x.py").write_text("import openai\n", encoding="utf-8")
        report = scan(tmp_path)
    finally:
        # Neither shutil nor pytest can remove such a tree.
        subprocess.run(["rm", "-rf", str(top)], check=True)
    assert [one.subject for one in report.findings] == ["openai"]


def test_findings_are_sorted(tmp_path: Path) -> None:
    """Two runs give the same list, by path, line and column."""
    write(tmp_path, {"b.py": "import groq; import openai\n", "a/z.py": "\n\nimport groq\n"})
    findings = scan(tmp_path).findings
    assert findings == sorted(findings, key=lambda one: (one.path, one.line, one.column))
    assert findings == scan(tmp_path).findings


def test_vocabulary_is_consistent() -> None:
    """Every word of the vocabulary says what to do, in one line, and names a section there is."""
    known = vocabulary()
    words = list(known.variables.values())
    for module in known.modules.values():
        assert module.section in known.sections
        assert set(module.gives) <= module.methods.keys()
        words += [module.do, *module.methods.values(), *module.attributes.values()]
        words += [*module.keys.values(), *(row["do"] for row in module.names.values())]
        assert {row["is"] for row in module.names.values()} <= {
            "class", "factory", "function", "instance", "other",
        }  # fmt: skip
    assert all(word and "\n" not in word and not word.endswith(".") for word in words)


def test_sections_stand_in_the_guide() -> None:
    """Every part of MIGRATION.md that a finding names is one of its headings."""
    guide = Path(__file__).parents[3] / "MIGRATION.md"
    headings = {
        line.lstrip("#").strip().replace("`", "")
        for line in guide.read_text(encoding="utf-8").splitlines()
        if line.startswith("#")
    }
    assert set(vocabulary().sections.values()) <= headings
