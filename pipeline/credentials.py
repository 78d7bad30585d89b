"""Passwords of cameras: kept beside session.yaml in a file that only its owner reads, and taken out of every text.

`redacted` is the one place that does it. Texts of ffmpeg pass through it as well: in errors by `pipeline.live`, in log lines by
the way that `hide` has PyAV's log records made.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import yaml

from pipeline.atomic import replacing
from pipeline.errors import InputError
from pipeline.plain_text import yaml_of

FILE = ".credentials.yaml"
HIDDEN = "***"
# scheme://user:password@; the password reaches to the last @ of the word, for one that was typed with / or @ in it.
# HOST:PORT/ is none.
_USER = re.compile(r"(://[^\s/:@?#]*):(?!\d{1,5}(?:[/?#]|$))(\S*)@")
_QUERY = re.compile(
    r"([?&;](?:pass|passwd|password|pwd|pw|token|secret|key|apikey|api_key|auth|sig|signature)=)([^&;\s'\"#]+)", re.I
)
_VARIABLE = re.compile(r"\$\{(\w+)\}")
# Shorter ones are taken out where they stand in an address, but not from words that happen to contain them.
_MIN_LETTERS = 3
_MEND = "expected lines CAMERA: ADDRESS; remove the file and give the addresses again with `posemill new SESSION --live ...`"


_secrets: dict[str, re.Pattern[str]] = {}
_plain_record = logging.getLogRecordFactory()


def redacted(text: str) -> str:
    """A text without passwords: those in addresses, and every one given to `hide`. `${NAME}` stays as it is."""

    def blank(match: re.Match[str]) -> str:
        return match[0] if _VARIABLE.fullmatch(match[2]) else match[0].replace(match[2], HIDDEN)

    text = _QUERY.sub(blank, _USER.sub(lambda m: m[0] if _VARIABLE.fullmatch(m[2]) else f"{m[1]}:{HIDDEN}@", text))
    for secret in sorted(_secrets, key=len, reverse=True):
        text = _secrets[secret].sub(HIDDEN, text)
    return text


def hide(url: str) -> None:
    """From now on the passwords of this address are taken out of every text, in any spelling, and out of ffmpeg's log."""
    found = [match[2] for pattern in (_USER, _QUERY) for match in pattern.finditer(url)]
    for secret in {form for typed in found for form in (typed, unquote(typed)) if len(form) >= _MIN_LETTERS}:
        _secrets[secret] = re.compile("".join(map(_any_spelling, secret)))
    logging.setLogRecordFactory(_record)


def _record(*given: Any, **named: Any) -> logging.LogRecord:
    """A log record as ever, but those of ffmpeg (loggers libav.*, made as it goes) without what was hidden."""
    record = _plain_record(*given, **named)
    if record.name.split(".")[0] == "libav":
        record.msg, record.args = redacted(record.getMessage()), ()
    return record


def _any_spelling(letter: str) -> str:
    """A pattern for a letter as it is or percent-encoded."""
    encoded = "".join(f"%{byte:02x}" for byte in letter.encode())
    return f"(?:{re.escape(letter)}|(?i:{encoded}))"


def expanded(url: str, owner: str) -> str:
    """An address with every `${NAME}` taken from the environment. Raises InputError naming the variable that is not set."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise InputError(f"{owner}: {redacted(url)}: the environment variable {match[1]} is not set; export {match[1]}=...")
        return quote(os.environ[match[1]], safe="")

    return _VARIABLE.sub(value, url)


def keep(root: Path, urls: Mapping[str, str]) -> dict[str, str]:
    """The addresses of cameras as session.yaml may show them; those with a password go to .credentials.yaml, mode 0600."""
    shown = {camera: redacted(url) for camera, url in urls.items()}
    kept = {**_kept(root), **{camera: url for camera, url in urls.items() if shown[camera] != url}}
    if kept:
        with replacing(root / FILE) as temporary:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "w") as file:
                yaml.safe_dump(kept, file)
            temporary.chmod(0o600)
    return shown


def full_url(root: Path, camera: str, url: str) -> str:
    """The address to open: that of session.yaml with its password. Raises InputError when the password is not known."""
    kept = _kept(root).get(camera, "")
    if HIDDEN in url and redacted(kept) != url:
        raise InputError(
            f"camera {camera}: no password is kept for {url}; give the whole address again with "
            f"`posemill new {root} --live {camera}=...`, or write ${{NAME}} in its place and export NAME"
        )
    whole = expanded(kept if HIDDEN in url else url, f"camera {camera}")
    hide(whole)
    return whole


def _kept(root: Path) -> dict[str, str]:
    try:
        kept = yaml_of(root / FILE) or {}
    except FileNotFoundError:
        return {}
    except InputError:  # whose words may quote the file, and with it a password
        raise InputError(f"{root / FILE}: {_MEND}") from None
    if not isinstance(kept, dict) or not all(isinstance(word, str) for pair in kept.items() for word in pair):
        raise InputError(f"{root / FILE}: {_MEND}")
    return kept
