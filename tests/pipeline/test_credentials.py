import logging
import stat
from pathlib import Path
from urllib.parse import quote

import av.logging
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline import credentials
from pipeline.credentials import expanded, full_url, hide, keep, redacted
from pipeline.errors import InputError
from pipeline.live import open_live

# Signs that no message of ours has, so that a password found in one is a password that leaked.
TYPED = st.text(alphabet="QXZJ0123456789!$%^*()_-+=~|,.@:/é√", min_size=4, max_size=20).filter(
    lambda text: not text.split("/")[0].isdigit() and text.strip("*").strip()
)


@given(TYPED, st.sampled_from(("rtsp", "http", "https")), st.booleans())
def test_a_password_never_passes_redaction(password: str, scheme: str, encoded: bool) -> None:
    written = quote(password, safe="") if encoded else password
    url = f"{scheme}://bob:{written}@camera.lan:554/stream"
    told = redacted(f"cannot open {url}: refused")
    assert told == f"cannot open {scheme}://bob:***@camera.lan:554/stream: refused"


@given(TYPED)
def test_a_hidden_password_is_taken_out_of_any_text_in_any_spelling(password: str) -> None:
    hide(f"rtsp://bob:{quote(password, safe='')}@camera.lan/stream")
    for form in (password, quote(password, safe=""), quote(password)):
        assert form not in redacted(f"Authorization of <{form}> failed")
    credentials._secrets.clear()


@pytest.mark.parametrize("key", ["pwd", "password", "token", "Key"])
def test_passwords_in_queries_are_taken_out(key: str) -> None:
    assert redacted(f"http://cam/video.cgi?user=bob&{key}=s3cret&x=1") == f"http://cam/video.cgi?user=bob&{key}=***&x=1"


@pytest.mark.parametrize(
    "url",
    ["rtsp://cam.lan:554/a@b", "http://10.0.0.2:8080/video", "udp://@:5000", "rtsp://bob:${CAM_PW}@cam.lan/x", "/dev/video0"],
)
def test_addresses_without_a_password_stay_as_they_are(url: str) -> None:
    assert redacted(url) == url


def test_passwords_are_kept_in_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    urls = {"cam1": "rtsp://bob:s3cret@cam1.lan/x", "cam2": "udp://@:5000"}
    shown = keep(tmp_path, urls)
    assert shown == {"cam1": "rtsp://bob:***@cam1.lan/x", "cam2": "udp://@:5000"}
    file = tmp_path / ".credentials.yaml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert yaml.safe_load(file.read_text()) == {"cam1": urls["cam1"]}
    assert {camera: full_url(tmp_path, camera, url) for camera, url in shown.items()} == urls


def test_an_edited_address_does_not_get_the_password_of_another(tmp_path: Path) -> None:
    keep(tmp_path, {"cam1": "rtsp://bob:s3cret@cam1.lan/x"})
    with pytest.raises(InputError, match=r"camera cam1: no password is kept for rtsp://bob:\*\*\*@elsewhere/x.*--live cam1="):
        full_url(tmp_path, "cam1", "rtsp://bob:***@elsewhere/x")


def test_a_password_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "rtsp://bob:${CAM_PW}@cam1.lan/x"
    assert keep(tmp_path, {"cam1": url}) == {"cam1": url}
    assert not (tmp_path / ".credentials.yaml").exists()
    with pytest.raises(InputError, match="environment variable CAM_PW is not set"):
        full_url(tmp_path, "cam1", url)
    monkeypatch.setenv("CAM_PW", "p@ss/word")
    assert expanded(url, "cam1") == "rtsp://bob:p%40ss%2Fword@cam1.lan/x"
    assert full_url(tmp_path, "cam1", url) == "rtsp://bob:p%40ss%2Fword@cam1.lan/x"
    assert redacted("p@ss/word was refused") == "*** was refused"


def test_neither_errors_nor_ffmpegs_log_lines_show_a_password(caplog: pytest.LogCaptureFixture) -> None:
    av.logging.set_level(av.logging.DEBUG)
    try:
        hide("rtsp://bob:another+one@cam.lan/x")
        with caplog.at_level(logging.DEBUG):
            av.logging.log(av.logging.ERROR, "rtsp of a new name", "method SETUP failed: rtsp://bob:another%2Bone@cam.lan/x")
        with (
            caplog.at_level(logging.DEBUG),
            pytest.raises(Exception, match="refused") as caught,
            open_live("http://bob:s3cret%21@127.0.0.1:1/x", "camera cam1"),
        ):
            pass
    finally:
        av.logging.set_level(None)
    chain = [caught.value, caught.value.__cause__, None if caught.value.__suppress_context__ else caught.value.__context__]
    for text in (*map(str, chain), caplog.text):
        assert "s3cret" not in text
        assert "another" not in text
    assert "127.0.0.1" in caplog.text  # ffmpeg did say something
    assert "method SETUP failed: rtsp://bob:***@cam.lan/x" in caplog.text
