"""Files as people really get them wrong, and what they are told: where, what, and what to do.

`test_config_mistakes.py` goes through the fields one by one; here are whole files, read as
`amas-providers config validate` reads them. Each message was reviewed by eye.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import pytest
import yaml

from amas.config.json_schema import document_schema
from amas.config.provider_settings import load_settings
from amas.config.yaml_source import parse_yaml
from amas.providers.errors import ProviderConfigError
from amas.providers.llm.catalog import load_catalog
from amas.providers.llm.litellm_provider import LiteLLMProvider

pytestmark = pytest.mark.usefixtures("uncovered")

KEYLIKE = "sk-" + "planted" * 5
ENVIRON = {"OPENAI_API_KEY": "sk-" + "x" * 20, "WORD": "fast"}
VALIDATOR = jsonschema.Draft7Validator(document_schema())

SEEN = True
# What a schema cannot see: what is only wrong beside something else in the file, in the environment
# or in the catalogue; what YAML, which editors read by its version 1.2, does not tell apart.
HIDDEN = False
NO_YAML = None


class Mistake(NamedTuple):
    """A file, and what is expected.

    Args:
        name: What is wrong with it.
        content: What it has.
        place: Line and column that the message names.
        what: How the message begins, behind the path.
        way_out: What it says to do.
        seen: Whether editors see it by the schema; None where there is nothing to check.
    """

    name: str
    content: str | bytes
    place: str
    what: str
    way_out: str
    seen: bool | None


def row(line: str) -> str:
    """Return a file with a line in a provider's row."""
    return f"providers:\n  llm:\n    openai:\n      {line}\n"


def manager(line: str) -> str:
    """Return a file with a line in the section of the manager."""
    return section("manager", line)


def section(name: str, line: str) -> str:
    """Return a file with a line in a section."""
    return f"providers:\n  {name}:\n    {line}\n  llm:\n    openai: {{}}\n"


# A row is a line.
# fmt: off
MISTAKES = [
    Mistake("a field misspelt", row("timeot: 30"), "4:7", "unknown key", "did you mean 'timeout'?", SEEN),
    Mistake("a field in camel case", row("apiKey: none"), "4:7", "unknown key", "did you mean 'api_key'?", SEEN),
    Mistake("a field with a dash", row("api-key: none"), "4:7", "unknown key", "did you mean 'api_key'?", SEEN),
    Mistake("a field in capitals", row("Timeout: 30"), "4:7", "unknown key", "did you mean 'timeout'?", SEEN),
    Mistake("another tool's field", row("api_base: https://api.openai.com/v1"), "4:7", "unknown key", "did you mean 'base_url'?", SEEN),
    Mistake("a parameter beside the fields", row("temperature: 0.2"), "4:7", "unknown key", "the vendor's own settings go under options:, default", SEEN),
    Mistake("a section misspelt", "providers:\n  manger:\n    strategy: priority\n", "2:3", "unknown key", "did you mean 'manager'?", SEEN),
    Mistake("the section misspelt", "provider:\n  llm:\n    openai: {}\n", "1:1", "there is no `providers:` section", "rename 'provider', if that is it", SEEN),
    Mistake("another name of the section", "llm_providers:\n  openai: {}\n", "1:1", "there is no `providers:` section", "rename 'llm_providers', if that is it", SEEN),
    Mistake("llm at the top", "llm:\n  openai: {}\n", "1:1", "there is no `providers:` section", "begin with it, and put `llm:` and your providers bel", SEEN),
    Mistake("a provider at the top", "openai:\n  api_key: none\n", "1:1", "there is no `providers:` section", "begin with it, and put `llm:` and your providers bel", SEEN),
    Mistake("a provider beside llm", "providers:\n  openai:\n    api_key: none\n", "2:3", "unknown key", "providers go under providers.llm: did you mean llm.o", SEEN),
    Mistake("an unknown provider beside llm", "providers:\n  my_vllm:\n    base_url: http://localhost:8000/v1\n", "2:3", "unknown key", "providers go under providers.llm: did you mean llm.m", SEEN),
    Mistake("llm misspelt", "providers:\n  llms:\n    openai: {}\n", "2:3", "unknown key", "did you mean 'llm'?", SEEN),
    Mistake("a manager's field at a provider", row("strategy: fastest"), "4:7", "unknown key here", "it belongs under providers.manager", SEEN),
    Mistake("a provider's field at the manager", manager("timeout: 30"), "3:5", "unknown key here", "it belongs under providers.llm.<name>", SEEN),
    Mistake("wrong indent", "providers:\n  llm:\n    openai:\n      timeout: 30\n     max_retries: 1\n", "5:6", "the indentation does not fit the lines above", "line it up", NO_YAML),
    Mistake("too little indent", "providers:\n  llm:\n    openai:\n    timeout: 30\n", "4:5", "is a field of a provider, not a provider", "indent it below its name", SEEN),
    Mistake("a tab", "providers:\n  llm:\n\t openai: {}\n", "3:1", "a tab is used for indentation", "use spaces", NO_YAML),
    Mistake("no as a provider", "providers:\n  llm:\n    no: {model: openai/x}\n", "3:5", "the key 'no' is not read as a text", "write it in quotes", HIDDEN),
    Mistake("on as a provider", "providers:\n  llm:\n    on: {model: openai/x}\n", "3:5", "the key 'on' is not read as a text", "write it in quotes", HIDDEN),
    Mistake("null as a provider", "providers:\n  llm:\n    null: {model: openai/x}\n", "3:5", "this key is empty", "write a name before the colon", HIDDEN),
    Mistake("a number as a provider", "providers:\n  llm:\n    123: {model: openai/x}\n", "3:5", "the key '123' is not read as a text", "write it in quotes", HIDDEN),
    Mistake("a provider twice", "providers:\n  llm:\n    openai: {}\n    groq: {}\n    openai: {timeout: 5}\n", "5:5", "'openai' is written twice, first in line 3, co", "keep one", HIDDEN),
    Mistake("a field twice", row("timeout: 30\n      timeout: 40"), "5:7", "'timeout' is written twice, first in line 4, c", "keep one", HIDDEN),
    Mistake("a section twice", "providers:\n  llm: {}\n  manager: {}\n  llm: {openai: {}}\n", "4:3", "'llm' is written twice, first in line 2, colum", "keep one", HIDDEN),
    Mistake("a space in a provider's name", "providers:\n  llm:\n    my openai: {provider: openai}\n", "3:5", "a provider's name begins with a letter or digi", "rename it", SEEN),
    Mistake("a slash in a provider's name", "providers:\n  llm:\n    groq/llama: {}\n", "3:5", "nothing says which service this is: 'groq/llam", "for any OpenAI-compatible server, `provider: openai`", SEEN),
    Mistake("a list of providers", "providers:\n  llm:\n    - openai\n    - groq\n", "3:5", "must be a mapping, not a list", "write `name: {…}` lines below it", SEEN),
    Mistake("a list of rows", "providers:\n  llm:\n    - name: openai\n      api_key: none\n", "3:5", "must be a mapping, not a list", "write `name: {…}` lines below it", SEEN),
    Mistake("a list for the section", "providers:\n  - openai\n", "2:3", "must be a mapping, not a list", "begin with `llm:`", SEEN),
    Mistake("a text for the section", "providers: openai\n", "1:12", "must be a mapping, not a text", "begin with `llm:`", SEEN),
    Mistake("a text for a provider", "providers:\n  llm:\n    openai: gpt-5.4-mini\n", "3:13", "must be a mapping, not a text", "write `key: value` lines below it", SEEN),
    Mistake("a reference for a provider", "providers:\n  llm:\n    openai: ${OPENAI_API_KEY}\n", "3:13", "must be a mapping, not a text", "write `key: value` lines below it", SEEN),
    Mistake("a mapping for a text", row("model: {name: gpt-5.4-mini}"), "4:14", "must be a text, not a mapping", 'write for example `model: "groq/llama-3.3-70b-versat', SEEN),
    Mistake("a mapping for a list", manager("fallback_order: {first: openai}"), "3:21", "must be a list, not a mapping", "write for example `fallback_order: [openai, anthropi", SEEN),
    Mistake("a text for a list", manager("fallback_order: openai, groq"), "3:21", "must be a list, not a text", "write for example `fallback_order: [openai, anthropi", SEEN),
    Mistake("two documents", "providers:\n  llm: {openai: {}}\n---\nproviders:\n  llm: {groq: {}}\n", "3:1", "a second document begins here", "keep one, without `---` between", NO_YAML),
    Mistake("an unclosed quote", row('api_key: "${OPENAI_API_KEY}'), "4:16", "a quote is opened here and never closed", "close it", NO_YAML),
    Mistake("an unclosed bracket", manager("fallback_order: [openai"), "4:6", "a comma or the closing bracket ] is missing be", "add it", NO_YAML),
    Mistake("an unclosed brace", row("params: {temperature: 0.2"), "5:1", "a comma or the closing brace } is missing befo", "add it", NO_YAML),
    Mistake("no colon", "providers:\n  llm:\n    openai\n      timeout: 30\n", "3:11", "a colon is missing here", "write `key:`", NO_YAML),
    Mistake("no space after the colon", row("timeout:30"), "4:7", "must be a mapping, not a text; a space is miss", "write `key: value`", SEEN),
    Mistake("no space after the colon, and more lines", row("timeout:30\n      max_retries: 1"), "4:15", "a space is missing after the colon", "write `key: value`", NO_YAML),
    Mistake("an equals sign", row("timeout = 30"), "4:7", "must be a mapping, not a text; this is `=` whe", "write `key: value`", SEEN),
    Mistake("an equals sign, and more lines", row("timeout=30\n      max_retries: 1"), "4:14", "this is `=` where a colon belongs", "write `key: value`", NO_YAML),
    Mistake("a full-width colon", row("timeout\uff1a 30\n      max_retries: 1"), "4:14", "this is a full-width colon", "write a plain `:` and a space", NO_YAML),
    Mistake("a non-breaking space", row("timeout:\u00a030\n      max_retries: 1"), "4:15", "this is no plain space, though it looks like o", "type it anew", NO_YAML),
    Mistake("a non-breaking space for an indent", "providers:\n  llm:\n\u00a0\u00a0\u00a0\u00a0openai: {}\n", "3:1", "no plain space indents this line, though it lo", "type it anew", HIDDEN),
    Mistake("curly quotes", row("api_key: \u201cnone\u201d"), "4:16", "api_key has characters that no key has (space,", "copy it anew", SEEN),
    Mistake("curly quotes at a number", row("timeout: \u201c30\u201d"), "4:16", "must be a number, not '“30”'", "write for example `timeout: 30`, in seconds", SEEN),
    Mistake("an undefined alias", row("params: *defaults"), "4:15", "this alias (*name) has no anchor (&name) befor", "define it, or quote", NO_YAML),
    Mistake("a star without quotes", "providers:\n  security:\n    access:\n      *: {providers: [openai]}\n  llm: {openai: {}}\n", "4:8", "a `*` has a meaning of its own here", 'write it in quotes: "*"', NO_YAML),
    Mistake("a pattern without quotes", "providers:\n  security:\n    access:\n      bot: {providers: [*]}\n  llm: {openai: {}}\n", "4:26", "a `*` has a meaning of its own here", 'write it in quotes: "*"', NO_YAML),
    Mistake("a merge of a list", row("<<: [1, 2]"), "4:12", "`<<` takes the alias of a mapping", "write `<<: *name`", HIDDEN),
    Mistake("a tag of Python's", row("params: !!python/object/apply:os.system [ls]"), "4:15", "tags (!name) are not allowed", "remove it (a variable is written ${NAME})", HIDDEN),
    Mistake("a tag of another tool's", row("api_key: !env OPENAI_API_KEY"), "4:16", "tags (!name) are not allowed", "remove it (a variable is written ${NAME})", HIDDEN),
    Mistake("a percent sign first", row("model: %gpt"), "4:14", "a value cannot begin with this character", "write it in quotes", NO_YAML),
    Mistake("a value that begins with @", row("model: @cf/meta/llama-3.1-8b-instruct"), "4:14", "a value cannot begin with this character", "write it in quotes", NO_YAML),
    Mistake("a comment glued on", row("timeout: 30#seconds"), "4:16", "must be a number, not '30#seconds'", "write for example `timeout: 30`, in seconds", SEEN),
    Mistake("a colon in a value", row("model: llama: 8b"), "4:19", "a `: ` too many", "quote the value, or add the colon missing above", NO_YAML),
    Mistake("a Windows path in double quotes", section("audit", 'path: "C:\\logs\\users.jsonl"'), "3:14", "an escape in double quotes that YAML does not ", "use single quotes, or `\\\\`", NO_YAML),
    Mistake("a template's braces", row("api_key: {{ openai_key }}"), "4:16", "must be a text, not a mapping", 'write for example `api_key: "${OPENAI_API_KEY}"`', SEEN),
    Mistake("empty", "", "1:1", "the file is empty", "begin it with `providers:`", SEEN),
    Mistake("only comments", "# providers:\n#   llm: {}\n", "1:1", "the file is empty", "begin it with `providers:`", SEEN),
    Mistake("only the word", "providers\n", "1:1", "the file must be a mapping", "begin it with `providers:`", SEEN),
    Mistake("UTF-16", "providers:\n  llm: {}\n".encode("utf-16"), "1:1", "this is not UTF-8", "save the file as UTF-8", HIDDEN),
    Mistake("Latin-1", "providers:\n  llm: {} # für alle\n".encode("latin-1"), "2:14", "this is not UTF-8", "save the file as UTF-8", NO_YAML),
    Mistake("a NUL", "providers:\n  llm: {openai: {model: a\0b}}\n", "2:26", "the character U+0000 may not stand in YAML", "remove it", NO_YAML),
    Mistake("a .env file", "OPENAI_API_KEY=" + KEYLIKE + "\nGROQ_API_KEY=" + KEYLIKE + "\n", "1:1", "the file must be a mapping", "begin it with `providers:`", SEEN),
    Mistake("an INI file", "[providers]\nopenai = " + KEYLIKE + "\n", "2:1", "this is not valid YAML", "check indentation, colons, brackets and quotes", NO_YAML),
    Mistake("a JSON file cut off", '{"providers": {"llm": {"openai": {"timeout": 30}}\n', "2:1", "a comma or the closing brace } is missing befo", "add it", NO_YAML),
    Mistake("a JSON file with a mistake", '{"providers": {"llm": {"openai": {"timeot": 30}}}}\n', "1:35", "unknown key", "did you mean 'timeout'?", SEEN),
    Mistake("a merge conflict", "providers:\n<<<<<<< HEAD\n  llm: {}\n=======\n  llm: {openai: {}}\n>>>>>>> other\n", "2:1", "a merge conflict was left here", "resolve it", NO_YAML),
    Mistake("a binary file", bytes(range(128, 256)), "1:1", "this is not UTF-8", "save the file as UTF-8", NO_YAML),
    Mistake("deep nesting", "providers: " + "{a: " * 200, "1:264", "nested deeper than 64 levels", "flatten it", NO_YAML),
    Mistake("1001 providers", "providers:\n  llm:\n" + "".join(f"    p{i}: {{provider: openai}}\n" for i in range(1001)), "3:5", "has 1001 providers", "at most 1000 are possible", SEEN),
    Mistake("a huge file", "providers: {}\n# " + "x" * (1 << 20), "1:1", "the file is larger than 1024 KiB", "give the path of a YAML file", HIDDEN),
    Mistake("an unknown strategy", manager("strategy: fastets"), "3:15", "must be priority, round_robin, weighted, intel", "did you mean 'fastest'?", SEEN),
    Mistake("a strategy of another tool's", manager("strategy: round-robin"), "3:15", "must be priority, round_robin, weighted, intel", "did you mean 'round_robin'?", SEEN),
    Mistake("seconds with a unit", row("timeout: 30s"), "4:16", "must be a number, not '30s'", "write for example `timeout: 30`, in seconds", SEEN),
    Mistake("a number in quotes", row('timeout: "30"'), "4:16", "must be a number, not '30'", "write for example `timeout: 30`, in seconds", SEEN),
    Mistake("seconds below zero", row("timeout: -1"), "4:16", "must be above 0, not -1", "write for example `timeout: 30`, in seconds", SEEN),
    Mistake("no seconds", row("timeout: 0"), "4:16", "must be above 0, not 0", "write for example `timeout: 30`, in seconds", SEEN),
    Mistake("milliseconds", row("timeout: 1000000"), "4:16", "must be 86400 or less, not 1000000", "write for example `timeout: 30`, in seconds", SEEN),
    Mistake("1e9 seconds", row("timeout: 1e9"), "4:16", "must be 86400 or less, not 1000000000", "write for example `timeout: 30`, in seconds", SEEN),
    Mistake("infinite seconds", row("timeout: .inf"), "4:16", "is not a finite number", "write a number", HIDDEN),
    Mistake("none for no timeout", row("timeout: none"), "4:16", "must be a number, not 'none'", "write for example `timeout: 30`, in seconds", SEEN),
    Mistake("a truth value for a number", row("max_retries: yes"), "4:20", "must be a whole number, not true", "write for example `max_retries: 3`", SEEN),
    Mistake("a number for a truth value", row("enabled: 1"), "4:16", "must be true or false, not 1", "write for example `enabled: true`", SEEN),
    Mistake("a truth value in quotes", row('enabled: "no"'), "4:16", "must be true or false, not 'no'", "write for example `enabled: true`", HIDDEN),
    Mistake("half a retry", row("max_retries: 2.5"), "4:20", "must be a whole number, not 2.5", "write for example `max_retries: 3`", SEEN),
    Mistake("a thousands separator", row("context_window: 128,000"), "4:23", "must be a whole number, not '128,000'", "write for example `context_window: 128000`", SEEN),
    Mistake("K for thousands", row("context_window: 128K"), "4:23", "must be a whole number, not '128K'", "write for example `context_window: 128000`", SEEN),
    Mistake("weight 0", row("weight: 0"), "4:15", "must be above 0, not 0", "write for example `weight: 2`", SEEN),
    Mistake("a share in per cent", manager("retry_budget: 20%"), "3:19", "must be a number, not '20%'", "write for example `retry_budget: 0.2`", SEEN),
    Mistake("a price without its output", row("price: {input: 0.15}"), "4:7", "is missing", "write for example `output: 0.6`", SEEN),
    Mistake("a price as a number", row("price: 0.15"), "4:14", "must be a mapping, not a number", "write `key: value` lines below it, such as `input: …", SEEN),
    Mistake("an unknown capability", row("capabilities: [streaming]"), "4:22", "must be stream, tools, json_object, json_schem", "did you mean 'stream'?", SEEN),
    Mistake("an unknown probe", row("health_probe: cheap"), "4:21", "must be free, paid or off, not this text", 'write for example `health_probe: "free"`', SEEN),
    Mistake("an unknown outcome", row("policy: {rate_limit: {retry: no}}"), "4:16", "unknown key", "did you mean 'rate_limited'?", SEEN),
    Mistake("an unknown word in a policy", row("policy: {timeout: {retry: always}}"), "4:33", "must be no, once, backoff or short_wait, not this text", 'write for example `retry: "backoff"`', SEEN),
    Mistake("a number as an outcome", row('policy: {"429": {retry: no}}'), "4:16", "unknown key", "it may be connection, timeout, unavailable, rate_lim", SEEN),
    Mistake("a cooldown longer than the longest", manager("circuit_breaker: {cooldown: 900}"), "3:5", "must be no shorter than cooldown", "raise it, or lower cooldown", HIDDEN),
    Mistake("an order of who is not there", manager("fallback_order: [openai, antropic]"), "3:30", "no provider 'antropic' is configured", "add it under providers.llm, or remove it here", HIDDEN),
    Mistake("an order with one twice", manager("fallback_order: [openai, openai]"), "3:30", "'openai' is named twice", "keep one", SEEN),
    Mistake("an order with a pattern", manager('fallback_order: ["open*"]'), "3:22", "no provider 'open*' is configured", "did you mean 'openai'?", HIDDEN),
    Mistake("an access rule for who is not there", section("security", "access: {bot: {providers: [open_ai]}}"), "3:32", "no provider 'open_ai' is configured", "did you mean 'openai'?", HIDDEN),
    Mistake("an empty access rule", section("security", "access: {bot: }"), "3:14", "must be a mapping, not nothing", "write `key: value` lines below it", SEEN),
    Mistake("an access rule that restricts nothing", section("security", "access: {bot: {providers: }}"), "3:20", "is empty, which restricts nothing", "write for example `providers: [openai, local]`", SEEN),
    Mistake("a redis address misspelt", manager("state: reddis://localhost:6379/0"), "3:12", "must be memory, or an address with redis:// or", 'write for example `state: "memory"`', SEEN),
    Mistake("a redis address without scheme", manager("state: localhost:6379"), "3:12", "must be memory, or an address with redis:// or", 'write for example `state: "memory"`', SEEN),
    Mistake("a negative port", section("metrics", "port: -1"), "3:11", "must be 1 or more, not -1", "write for example `port: 9464`", SEEN),
    Mistake("a port too large", section("metrics", "port: 94640"), "3:11", "must be 65535 or less, not 94640", "write for example `port: 9464`", SEEN),
    Mistake("a trail without a master key", section("audit", "path: logs/audit.jsonl"), "3:11", "needs security.master_key: the records are cha", "or leave path out, and the records go to the logger ", HIDDEN),
    Mistake("a webhook without scheme", section("alerts", "webhook: hooks.example.com/x"), "3:14", "must be an address with http:// or https://", 'write for example `webhook: "${ALERT_WEBHOOK}"`', SEEN),
    Mistake("hedging as a word", manager("hedge: on"), "3:12", "must be a mapping, not true", "write `key: value` lines below it, such as `after: …", SEEN),
    Mistake("${ without a name", row("api_key: ${}"), "4:16", "${ begins no reference", "write ${NAME} or ${NAME:-default}, with letters, dig", HIDDEN),
    Mistake("${ without its end", row("api_key: ${MY_KEY"), "4:16", "${ begins no reference", "write ${NAME} or ${NAME:-default}, with letters, dig", HIDDEN),
    Mistake("a dash in a variable's name", row("api_key: ${MY-KEY}"), "4:16", "${ begins no reference", "write ${NAME} or ${NAME:-default}, with letters, dig", HIDDEN),
    Mistake("a default with one dash only", row("api_key: ${MY_KEY:none}"), "4:16", "${ begins no reference", "write ${NAME} or ${NAME:-default}, with letters, dig", HIDDEN),
    Mistake("a shell's reference", row("api_key: $OPENAI_API_KEY"), "4:16", "this is no key but a variable", "write it as ${OPENAI_API_KEY}", HIDDEN),
    Mistake("make's reference", row("api_key: $(OPENAI_API_KEY)"), "4:16", "this is no key but a variable", "write it as ${OPENAI_API_KEY}", HIDDEN),
    Mistake("a variable's bare name", row("api_key: OPENAI_API_KEY"), "4:16", "this is no key but a variable", "write it as ${OPENAI_API_KEY}", HIDDEN),
    Mistake("a variable that may be a key itself", row("api_key: $OPENAI"), "4:16", "this is no key but a variable", "write it as ${NAME}", HIDDEN),
    Mistake("no space after the colon in braces", row("params: {temperature: 0.2, user:" + KEYLIKE + "}"), "4:39", "a space is missing after the colon", "write `key: value`", HIDDEN),
    Mistake("an equals sign in braces", row("params: {user=" + KEYLIKE + "}"), "4:20", "this is `=` where a colon belongs", "write `key: value`", HIDDEN),
    Mistake("a decimal comma in braces", row("params: {temperature: 0,2}"), "4:31", "a comma ends a value in braces", "decimals take a point: write 0.2", HIDDEN),
    Mistake("a decimal comma", row("timeout: 1,5"), "4:16", "must be a number, not '1,5'", "decimals take a point: write 1.5", SEEN),
    Mistake("a comment in braces", "providers:\n  llm:\n    openai: {model: #x}\n", "3:21", "this `#` begins a comment", "write the value in quotes", NO_YAML),
    Mistake("a field in capitals with its underscore", row("API_KEY: ${OPENAI_API_KEY}"), "4:7", "unknown key", "did you mean 'api_key'?", SEEN),
    Mistake("a slash too many in a chain", "providers:\n  llm: {openai: {}}\n  models: {fast: [openai/]}\n", "3:19", "must be provider/model, or a provider alone", "write for example", SEEN),
    Mistake("a blank for a file in extends", "providers:\n  extends: ' '\n  llm: {openai: {}}\n", "2:12", "must be the path of a file", "write", SEEN),
    Mistake("GitHub's reference", row("api_key: ${{ secrets.OPENAI_API_KEY }}"), "4:16", "${ begins no reference", "write ${NAME} or ${NAME:-default}, with letters, dig", SEEN),
    Mistake("api_key and api_keys", row("api_key: none\n      api_keys: [a, b]"), "5:7", "excludes api_key", "put all keys into api_keys, and remove api_key", SEEN),
    Mistake("api_keys as a text", row("api_keys: ${OPENAI_API_KEY}"), "4:17", "must be a list, not a text", "write for example `api_keys: [${OPENAI_KEY_1}, ${OPE", SEEN),
    Mistake("several keys in api_key", row("api_key: [a, b]"), "4:16", "must be a text, not a list", 'write for example `api_key: "${OPENAI_API_KEY}"`', SEEN),
    Mistake("the same key twice", row("api_keys: [a, a]"), "4:21", "is the same key as api_keys[0]", "keep one", SEEN),
    Mistake("an empty key", row('api_key: ""'), "4:16", "api_key is empty", "give the key, or 'none' for a server that wants none", SEEN),
    Mistake("a key with a space", row('api_key: "Bearer abc"'), "4:16", "api_key has characters that no key has (space,", "copy it anew", SEEN),
    Mistake("a number as a key", row("api_key: 1234567890123456"), "4:16", "must be a text, not a number", "write it in quotes", SEEN),
    Mistake("a key in the wrong field", row(f"{KEYLIKE}: api_key"), "4:7", "providers.llm.openai.<38 characters>: unknown ", "the vendor's own settings go under options:, default", SEEN),
    Mistake("a key as a provider's model", row(f"model: [{KEYLIKE}]"), "4:14", "must be a text, not a list", 'write for example `model: "groq/llama-3.3-70b-versat', SEEN),
    Mistake("a key as a provider's timeout", row(f"timeout: {KEYLIKE}"), "4:16", "must be a number, not this text", "write for example `timeout: 30`, in seconds", SEEN),
    Mistake("a key as base_url", row(f"base_url: {KEYLIKE}"), "4:17", "the base_url is no address: it must begin with", "write it like https://api.openai.com/v1", HIDDEN),
    Mistake("a key in base_url", row(f"base_url: https://user:{KEYLIKE}@api.openai.com/v1"), "4:17", "the base_url is no address: it has a user name", "write it like https://api.openai.com/v1", HIDDEN),
    Mistake("a key in the query", row(f"base_url: https://api.openai.com/v1?key={KEYLIKE}"), "4:17", "the base_url is no address: it has a query or ", "write it like https://api.openai.com/v1", HIDDEN),
    Mistake("base_url without scheme", row("base_url: api.openai.com/v1"), "4:17", "the base_url is no address: it must begin with", "write it like https://api.openai.com/v1", HIDDEN),
    Mistake("base_url of a colleague's machine", row("base_url: http://10.0.0.5:8000/v1"), "4:17", "the base_url is refused: it must begin with ht", "", HIDDEN),
    Mistake("base_url with a port that is none", row("base_url: http://localhost:80O0/v1"), "4:17", "the base_url is no address: its host or port i", "write it like https://api.openai.com/v1", HIDDEN),
    Mistake("a wrong scheme", row("base_url: htps://api.openai.com/v1"), "4:17", "the base_url is no address: it must begin with", "write it like https://api.openai.com/v1", HIDDEN),
    Mistake("a model without a vendor", "providers:\n  llm:\n    fast: {model: qwen3}\n", "3:5", "nothing says which service this is: 'fast' is ", "for any OpenAI-compatible server, `provider: openai`", HIDDEN),
    Mistake("a row without anything", "providers:\n  llm:\n    my_vllm: {}\n", "3:5", "nothing says which service this is: 'my_vllm' ", "for any OpenAI-compatible server, `provider: openai`", HIDDEN),
    Mistake("a catalogue's name misspelt", "providers:\n  llm:\n    opnai: {}\n", "3:5", "nothing says which service this is: 'opnai' is", "for any OpenAI-compatible server, `provider: openai`", HIDDEN),
    Mistake("a vendor misspelt", "providers:\n  llm:\n    fast: {provider: grok_ai, model: x}\n", "3:22", "unknown provider 'grok_ai' (did you mean grok?", "for any OpenAI-compatible server, write `provider: o", HIDDEN),
    Mistake("a prefix misspelt", "providers:\n  llm:\n    fast: {model: gorq/llama-3.3-70b-versatile}\n", "3:5", "nothing says which service this is: 'fast' is ", "for any OpenAI-compatible server, `provider: openai`", HIDDEN),
    Mistake("a server without its model", "providers:\n  llm:\n    mine: {provider: hosted_vllm}\n", "3:5", "there is no default model for 'hosted_vllm': w", "", HIDDEN),
    Mistake("a key in options", row(f"options: {{api_key: {KEYLIKE}}}"), "4:16", "options may not set api_key", "these have fields of their own, or are not for confi", HIDDEN),
    Mistake("a key in headers", row(f"options: {{extra_headers: {{Authorization: {KEYLIKE}}}}}"), "4:16", "options.extra_headers may not set Authorizatio", "the key goes into api_key, the others follow from th", HIDDEN),
    Mistake("a routing parameter in params", row("params: {api_base: http://x}"), "4:15", "params may not have 'api_base'", "what only this vendor knows goes into the provider's", HIDDEN),
    Mistake("a parameter misspelt", row("params: {temprature: 0.2}"), "4:15", "params may not have 'temprature' (did you mean", "what only this vendor knows goes into the provider's", HIDDEN),
    Mistake("a proxy without scheme", row("proxy: proxy.internal:3128"), "4:14", "must be an address with http:// or https://", 'write for example `proxy: "${HTTPS_PROXY}"`', SEEN),
    Mistake("an allowed host with scheme", row("allowed_hosts: [https://login.example.com]"), "4:22", "allowed_hosts has an entry that is refused: it", "an entry is a host, without scheme, port and path", HIDDEN),
    Mistake("a forbidden plain key", f"providers:\n  security: {{plaintext_keys: forbid}}\n  llm:\n    openai: {{api_key: {KEYLIKE}}}\n", "4:23", "the key of 'openai' stands in this file as pla", "use ${VAR} or file: instead, or run `amas-providers ", HIDDEN),
    Mistake("a variable that is no number", row("timeout: ${WORD}"), "4:16", "must be a number, not what the variable holds", "write for example `timeout: 30`, in seconds", HIDDEN),
    Mistake("a variable that is no truth value", row("enabled: ${WORD}"), "4:16", "must be true or false, not what the variable h", "write for example `enabled: true`", HIDDEN),
    Mistake("a migration flag misspelt", section("migration", "llm_service: shaddow"), "3:18", "must be off, on, shadow or a share such as 30%", "did you mean 'shadow'?", SEEN),
    Mistake("a share without its sign", section("migration", "llm_service: 30"), "3:18", "must be off, on, shadow or a share such as 30%", 'write for example `flag: "30%"`', SEEN),
    Mistake("a cycle in extends", "providers:\n  extends: c.yaml\n  llm: {openai: {}}\n", "2:12", "leads back to a file on the way (", "remove it", HIDDEN),
    Mistake("a missing file in extends", "providers:\n  extends: base.yaml\n  llm: {openai: {}}\n", "2:12", "", "base.yaml: there is no such file; check the path", HIDDEN),
    Mistake("a credential's field of another tool's", row("token: none"), "4:7", "unknown key", "did you mean 'api_key'?", SEEN),
    Mistake("the longest answer beside the fields", row("max_tokens: 2000"), "4:7", "unknown key", "did you mean `params: {max_tokens: …}`?", SEEN),
    Mistake("LiteLLM's reference", row("api_key: os.environ/OPENAI_API_KEY"), "4:16", "this is no key but a variable", "write it as ${OPENAI_API_KEY}", HIDDEN),
    Mistake("a misspelt field with a missing variable", row("api_kye: ${NO_SUCH_VARIABLE}"), "4:7", "unknown key", "did you mean 'api_key'?", SEEN),
    Mistake("a misspelt field of a section with a missing variable", section("alerts", "webcook: ${NO_SUCH_VARIABLE}"), "3:5", "unknown key", "did you mean 'webhook'?", SEEN),
    Mistake("a list for the rules", "providers:\n  security: []\n  llm: {openai: {}}\n", "2:13", "must be a mapping, not a list", "write `key: value` lines below it, without `- `", SEEN),
    Mistake("quotes of two kinds", row("api_key: \"none'"), "4:16", "a quote is opened here and never closed", "close it", NO_YAML),
    Mistake("a dash before a field", row("- timeout: 30"), "4:7", "must be a mapping, not a list", "write `key: value` lines below it, without `- `", SEEN),
    Mistake("a line of the shell's", "export OPENAI_API_KEY=x\n", "1:1", "the file must be a mapping", "begin it with `providers:`", SEEN),
    Mistake("an alias with a provider twice", "providers:\n  llm: {openai: {}}\n  models: {fast: [openai/a, openai/b]}\n", "3:29", "provider 'openai' is in this chain already", "for another model of the same vendor add a second ro", HIDDEN),
    Mistake("an alias of who is not there", "providers:\n  llm: {openai: {}}\n  models: {fast: [opnai]}\n", "3:19", "no provider 'opnai' is configured", "did you mean 'openai'?", HIDDEN),
    Mistake("an alias without a chain", "providers:\n  llm: {openai: {}}\n  models: {fast: }\n", "3:12", "must be a list of providers, not nothing", "write for example `fast: [openai/model, …]`", SEEN),
    Mistake("an alias as a text", "providers:\n  llm: {openai: {}}\n  models: {fast: openai}\n", "3:18", "must be a list of providers, not a text", "write for example `fast: [openai/model, …]`", SEEN),
    Mistake("an adapter's file", row("adapter: acme/provider.py"), "4:16", "must have the form package.module:Class", 'write for example `adapter: "acme_llm.provider:AcmeP', SEEN),
]
# fmt: on


def problems_of(path: Path, content: str | bytes) -> tuple[str, ...]:
    """Write a file, and return what its user is told."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ProviderConfigError) as caught:
        load_settings(
            path,
            environ=ENVIRON,
            check=LiteLLMProvider.check,
            known_providers=load_catalog(),
        )
    return caught.value.problems


def read_as_an_editor_does(content: str | bytes) -> Any:
    """Return the data of a whole file.

    Raises:
        yaml.YAMLError: It is no YAML.
        UnicodeDecodeError: It is no text.
    """
    raw = content.encode() if isinstance(content, str) else content
    try:
        return {"providers": parse_yaml("c.yaml", raw).data}
    except ProviderConfigError:  # what stands there is no section of ours, or no YAML
        return yaml.safe_load(raw)


def test_there_are_at_least_sixty_mistakes_each_once() -> None:
    """The list does not shrink, and no mistake is in it twice."""
    assert len({mistake.name for mistake in MISTAKES}) == len(MISTAKES) >= 60
    assert len({mistake.content for mistake in MISTAKES}) == len(MISTAKES)


@pytest.mark.parametrize("mistake", MISTAKES, ids=[mistake.name for mistake in MISTAKES])
def test_a_tired_person_is_told_where_what_and_what_to_do(tmp_path: Path, mistake: Mistake) -> None:
    """The first line has file, line, column, what is wrong and a way out; no key is repeated."""
    problems = problems_of(tmp_path / "c.yaml", mistake.content)
    assert len(problems) <= 2
    found = re.fullmatch(r".*c\.yaml:(\d+:\d+): (?:providers\S*(?: openai)?: )?(.*)", problems[0])
    assert found, problems[0]
    assert found[1] == mistake.place
    assert found[2].startswith(mistake.what)
    assert mistake.way_out in found[2]
    assert all(KEYLIKE not in problem and problem.isprintable() for problem in problems)


@pytest.mark.parametrize("mistake", MISTAKES, ids=[mistake.name for mistake in MISTAKES])
def test_an_editor_sees_what_a_schema_can_see(mistake: Mistake) -> None:
    """The schema refuses each mistake of data by itself."""
    if mistake.seen is NO_YAML:
        with pytest.raises((yaml.YAMLError, UnicodeDecodeError)):
            read_as_an_editor_does(mistake.content)
    else:
        assert VALIDATOR.is_valid(read_as_an_editor_does(mistake.content)) is not mistake.seen


@pytest.mark.parametrize(
    "content",
    [
        "\ufeffproviders:\n  llm: {openai: {}}\n",
        "providers:\r\n  llm:\r\n    openai: {}\r\n",
        "%YAML 1.2\n---\nproviders: {llm: {openai: }}\n...\n",
        '{"providers": {"llm": {"openai": {"timeout": 30}}}}\n',
        row("enabled: yes"),
        row("health_probe: off\n      policy: {auth: {failover: yes, retry: no}}"),
        row("timeout: ${SECONDS:-30}\n      rpm:\n      max_retries: ~"),
        row('api_key: "${A:-}${B:-none}"'),
        section("migration", "llm_service: 30%"),
        section("migration", "llm_service: on"),
        section("security", 'access: {"*": {providers: ["open*"]}}'),
    ],
)
def test_what_looks_like_a_mistake_and_is_none_loads_and_fits_the_schema(
    tmp_path: Path, content: str
) -> None:
    """A byte order mark, CRLF, JSON, YAML's words for truth, references and empty values are fine."""
    path = tmp_path / "c.yaml"
    path.write_text(content, encoding="utf-8", newline="")
    assert list(load_settings(path, environ=ENVIRON).llm) == ["openai"]
    VALIDATOR.validate(read_as_an_editor_does(content))


def test_lines_that_lost_their_indentation_are_missed(tmp_path: Path) -> None:
    """An empty section with `llm:` beside it may be meant so, and is said."""
    path = tmp_path / "c.yaml"
    path.write_text("providers:\nllm:\n  openai: {}\n", encoding="utf-8")
    warnings = load_settings(path, environ={}).warnings
    assert any("`llm:` stands beside it" in warning for warning in warnings)
