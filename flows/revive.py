"""Runs whose process was killed go on: what a stage had finished is done, and the rest is done again.

Prefect's process worker notes a run as crashed when its process dies, and knows nothing of it when the worker died as well.
Both are put back on the schedule here, a few times at most.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.looking import Looking
from flows.terminal import say

MOST_RUNS = 4  # of one flow run; what dies every time is not helped by a fifth
AGE_S = 15.0  # a process that has just begun may not be listed yet

# Method "GET" or "POST" is told by the content; returns what the server answers.
Api = Callable[[str, dict[str, Any] | None], Any]


@dataclass
class Reviver(Looking):
    """Looks for runs of ours that died with their process, and has the worker take them up again.

    For a server of this machine alone, as `posemill serve` starts it: numbers of processes mean nothing elsewhere.
    """

    api: Api
    tag: str = "posemill"

    def look(self) -> list[str]:
        """One look; returns the ids of the runs that were put back on the schedule."""
        asked = {"flow_runs": {"tags": {"all_": [self.tag]}, "state": {"type": {"any_": ["CRASHED", "RUNNING"]}}}}
        died = [run for run in self.api("/flow_runs/filter", asked) if self._died(run)]
        return [run["id"] for run in died if self._again(run)]

    def _died(self, run: dict[str, Any]) -> bool:
        if run["state_type"] == "CRASHED":
            return True
        host, _, pid = (run.get("infrastructure_pid") or "").rpartition(":")
        began = datetime.fromisoformat(run["state"]["timestamp"])
        old = abs((datetime.now(UTC) - began).total_seconds()) > AGE_S  # the clock may have been set back since
        return host in ("", socket.gethostname()) and pid.isdigit() and old and not alive(int(pid))

    def _again(self, run: dict[str, Any]) -> bool:
        if run["run_count"] >= MOST_RUNS:
            self.tell(f"run {run['name']} died {run['run_count']} times and is left alone; its logs say more")
            return False
        when = datetime.now(UTC).isoformat()
        state = {"type": "SCHEDULED", "name": "AwaitingRetry", "message": "its process died; it goes on from what is done",
                 "state_details": {"scheduled_time": when}}  # fmt: skip
        self.api(f"/flow_runs/{run['id']}/set_state", {"state": state, "force": True})
        say(f"run {run['name']}: its process died; it goes on from what is done")
        return True


def alive(pid: int) -> bool:
    """Whether a process of this machine is there and has not ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
