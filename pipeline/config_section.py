"""What every stage's settings have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Settings of one stage: immutable, unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)
