"""Opening video files that others made: containers that hold their own pictures, never lists of other files or addresses."""

from __future__ import annotations

from pathlib import Path

import av

from models.encoded_image import LARGEST_PX
from pipeline.errors import InputError

# ffmpeg looks at the content, not at the name: a playlist called film.mp4 would have it open whatever stands in the playlist.
FORMATS = (
    "mov", "matroska", "webm", "avi", "mpegts", "mpeg", "mpegvideo", "asf", "flv", "gif", "h264", "hevc", "m4v", "mjpeg", "mxf",
    "nut", "ogg", "dv", "ivf", "obu", "av1", "gxf", "rm",
)  # fmt: skip
_ASKED = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file"}
_LIMITS = {"max_pixels": str(LARGEST_PX)}


def open_media(path: Path) -> av.container.InputContainer:
    """A container to read from; its decoders refuse pictures above LARGEST_PX. Raises InputError for anything else."""
    try:
        # A name with a colon would be taken for an address.
        container = av.open(f"file:{path}", options=_ASKED, metadata_errors="replace")
    except (av.FFmpegError, ValueError, OverflowError, MemoryError) as error:
        told = getattr(error, "strerror", None) or type(error).__name__
        raise InputError(
            f"{path}: expected a video, found something no decoder opens ({told}; {path.stat().st_size} bytes); check that the "
            "file is complete: an interrupted recording or copy lacks its index"
        ) from error
    for stream in container.streams.video:
        if stream.codec_context is None:
            container.close()
            raise InputError(f"{path}: expected a video, found pictures in a coding that no decoder here knows; convert it")
        if stream.width * stream.height > LARGEST_PX:
            container.close()
            found = f"{stream.width}x{stream.height} px"
            raise InputError(f"{path}: expected pictures of up to {LARGEST_PX} pixels, found {found}; make them smaller")
        stream.codec_context.options = _LIMITS  # what the container says is not always what the pictures are
    return container
