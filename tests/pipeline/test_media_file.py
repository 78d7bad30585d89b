from pathlib import Path

import pytest

from pipeline import media_file
from pipeline.errors import InputError
from pipeline.media_file import open_media
from pipeline.video import VideoReader
from tests.pipeline.footage import numbered_video

PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nsecret.mp4\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile secret.mp4\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
def test_a_playlist_called_a_film_opens_nothing_else(tmp_path: Path, kind: str) -> None:
    numbered_video(tmp_path / "secret.mp4", 4)
    (tmp_path / "film.mp4").write_text(PLAYLISTS[kind])
    with pytest.raises(InputError, match=r"film\.mp4: expected a video"):
        VideoReader(tmp_path / "film.mp4").probe()


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov", "a.avi", "a.ts", "concat:a.mp4", "http:--x.mp4", "a b%20#?.mp4"])
def test_films_of_all_usual_containers_open_whatever_they_are_called(tmp_path: Path, name: str) -> None:
    plain = numbered_video(tmp_path / f"whole{Path(name).suffix}", 4)
    plain.rename(tmp_path / name)
    assert VideoReader(tmp_path / name).probe().size_wh == (64, 48)


def test_pictures_beyond_the_limit_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = numbered_video(tmp_path / "a.mp4", 4)
    monkeypatch.setitem(media_file._LIMITS, "max_pixels", "1000")
    with pytest.raises(InputError, match=r"a\.mp4: a frame after 0 cannot be decoded"):
        VideoReader(path).probe()
    monkeypatch.setattr(media_file, "LARGEST_PX", 1000)
    with pytest.raises(InputError, match="expected pictures of up to 1000 pixels, found 64x48 px"):
        VideoReader(path).probe()


def test_a_broken_title_is_no_reason_not_to_open(tmp_path: Path) -> None:
    path = numbered_video(tmp_path / "a.mkv", 2)
    path.write_bytes(path.read_bytes().replace(b"Lavf", b"\xff\xfe\xfd\xfc"))
    with open_media(path) as container:
        assert container.streams.video
