import json
import urllib.error
import urllib.request

import numpy as np
import pytest

from flows.live_page import State, serving_view
from pipeline.live_view import LiveView
from pipeline.record import CameraNow, Now


def test_the_page_its_state_and_pictures_are_served_to_this_machine_alone() -> None:
    view, state = LiveView({"cam1+cam2": {"cam1": (0, 0, 32, 48), "cam2": (32, 0, 32, 48)}}, None), State()
    with serving_view(view, state) as url:
        assert url.startswith("http://127.0.0.1:")
        assert "<main>" in urllib.request.urlopen(url).read().decode()
        assert json.load(urllib.request.urlopen(url + "state")) == {"cameras": ["cam1", "cam2"], "now": [], "next": ""}
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(url + "picture/cam1")
        view._draw("cam1+cam2", np.zeros((48, 64, 3), np.uint8))
        state.watch(Now(1.0, (CameraNow("cam1+cam2", "recording", 30, 30, 0, 0.1, 8, 0),), None, 1))
        assert urllib.request.urlopen(url + "picture/cam2").read()[:2] == b"\xff\xd8"
        assert json.load(urllib.request.urlopen(url + "state"))["now"][0]["state"] == "recording"
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(url + "picture/../../etc/passwd")
