"""The command ``skep``: one module for each group of verbs; each is a thin layer over the public API."""

from __future__ import annotations

from skep.cli.main import main

__all__ = ["main"]
