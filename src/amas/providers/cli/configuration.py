"""Which providers a command works with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ...config.provider_settings import AuditSettings, ObservabilitySettings
from ..errors import NoProviderAvailableError
from ..llm.catalog import from_environment, load_catalog
from ..manager.discovery import read_configuration
from ..manager.provider_manager import ProviderManager
from ..observability.audit.opening import problem_with
from . import output

_KNOWN_BEST = ("anthropic", "gemini", "groq", "mistral", "openrouter")


def load_manager(config: Path | None, *, recorded: bool = False) -> ProviderManager:
    """Make the manager of a command, and tell its configuration's warnings.

    A command serves no metrics and alerts nobody: that is what services are for.

    Args:
        config: The configuration file; without one the environment decides.
        recorded: Whether its calls go to the audit trail of the configuration. The warnings of a
            file are only counted then: what stops a call is in its error.

    Raises:
        ProviderConfigError: The file is wrong.
    """
    settings, providers = read_configuration(config or environment_section(os.environ))
    if recorded and config is not None and (count := len(settings.warnings)):
        many = "s" * (count > 1)
        output.say(f"{count} warning{many}: see `amas-providers config validate {config}`")
    else:
        for warning in settings.warnings:
            output.say(f"warning: {warning}")
    if settings.audit is not None and (problem := audit_problem(settings.audit)):
        output.say(f"warning: records cannot be written: {problem}")
    return ProviderManager(
        settings.manager,
        security=settings.security,
        observability=ObservabilitySettings(audit=settings.audit if recorded else None),
        models=settings.models,
        providers=providers,
    )


def audit_problem(settings: AuditSettings) -> str | None:
    """Return why the audit trail cannot be written; None if it can, or there is none."""
    if settings.path is None:
        return None
    checkpoint = None if settings.checkpoint is None else Path(settings.checkpoint)
    return problem_with(Path(settings.path), checkpoint)


def environment_section(environ: Mapping[str, str]) -> dict[str, object]:
    """Build a configuration of every provider whose key is set, and of a local Ollama."""
    return {"providers": {"llm": {**from_environment(environ), "local": {}}}}


def nobody_there(error: NoProviderAvailableError, config: Path | None) -> None:
    """Say plainly what to do when nobody can be asked."""
    output.say(f"No answer: {error}")
    if config is None:
        catalog = load_catalog()
        names = ", ".join(catalog[name].env[0] for name in _KNOWN_BEST)
        keyless = not from_environment(os.environ)
        output.say(
            ("\nNo key was found in the environment, and no" if keyless else "\nNo")
            + " Ollama answers at localhost:11434."
            f"\nDo one of these:\n  export OPENAI_API_KEY=…   (or {names}, …)"
            "\n  ollama serve              (a model on this machine)"
            "\n  amas-providers generate --config FILE …"
            "\nTo see it work without any of them: amas-providers demo"
        )
