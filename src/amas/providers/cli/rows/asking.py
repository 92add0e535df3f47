"""Questions to whoever sits at the terminal; Ctrl-C ends them and the command."""

from __future__ import annotations

import sys

import typer


def at_terminal() -> bool:
    """Tell whether there is somebody who can be asked."""
    return sys.stdin.isatty()


def ask(question: str, default: str = "") -> str:
    """Ask for a word; nothing is an answer too.

    Args:
        question: What is asked.
        default: What a mere Enter means.
    """
    try:
        answer: str = typer.prompt(question, default=default, show_default=bool(default), err=True)
    except typer.Abort:
        raise KeyboardInterrupt from None
    return answer.strip()


def agree(question: str) -> bool:
    """Ask for a yes, which a mere Enter is, or a no."""
    try:
        return typer.confirm(question, default=True, err=True)
    except typer.Abort:
        raise KeyboardInterrupt from None
