"""``python -m amas.providers.manager``: the host's command to look at keys and providers."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from .host_names import ProviderManager, get_provider_manager


def main(arguments: Sequence[str] | None = None) -> int:
    """Show what was asked for.

    Args:
        arguments: Those of the command line if None.

    Returns:
        The exit code: 0 also where the environment is not valid, as it ever was; 1 if no
        provider is enabled.
    """
    parser = argparse.ArgumentParser(
        prog="python -m amas.providers.manager", description="AMAS Provider Manager"
    )
    parser.add_argument("--validate", action="store_true", help="Validate environment")
    parser.add_argument("--status", action="store_true", help="Show provider status")
    asked = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s - %(name)s - %(levelname)s - %(message)s"
    )
    try:
        manager = get_provider_manager()
    except RuntimeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    lines = [*(_validation(manager) if asked.validate else ())]
    lines += _status(manager) if asked.status else ()
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return 0


def _validation(manager: ProviderManager) -> list[str]:
    result = manager.validate_environment()
    optional = [
        f"{name.capitalize()}: {result[name]}"
        for name in ("warnings", "recommendations")
        if result[name]
    ]
    return [
        "\n🔍 Environment Validation Results:",
        f"Valid: {result['valid']}",
        f"Enabled Providers: {result['enabled_providers']}",
        f"Missing Required: {result['missing_required']}",
        *optional,
    ]


def _status(manager: ProviderManager) -> list[str]:
    return [
        "\n📊 Provider Status:",
        *(
            f"{'✅' if info['available'] else '❌'} {name}: {info['status']}"
            f" (Priority: {info['priority']})"
            for name, info in manager.get_provider_status().items()
        ),
    ]


if __name__ == "__main__":
    sys.exit(main())
