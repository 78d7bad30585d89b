"""Commands on data and networks: detect, evaluate, train, export."""

from __future__ import annotations

import typer

evaluate = typer.Typer()
train = typer.Typer()
