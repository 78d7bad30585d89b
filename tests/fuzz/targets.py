"""All that is fuzzed, by name."""

from __future__ import annotations

from tests.fuzz import binary_targets, text_targets, training_targets

TARGETS = {target.name: target for target in (*text_targets.TARGETS, *binary_targets.TARGETS, *training_targets.TARGETS)}
expected = text_targets.expected
