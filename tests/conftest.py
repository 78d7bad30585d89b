"""Fixtures for every test: where the real recordings are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real recordings and images; the test is skipped where it is absent."""
    folder = Path(os.environ.get("POSEMILL_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real recordings not found at {folder}; set POSEMILL_TEST_DATA to their folder")
    return folder
