"""Valid files made hostile byte by byte and word by word: an input is a function of its file and a random generator alone."""

from __future__ import annotations

import re
from random import Random

# Sizes and counts that parsers trust too easily, as they stand in binary headers.
EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
NAMES = (
    "../../outside", "/outside", "..", ".", "a/b", "a\\b", "~", "$(id)", "`id`", "%s%n", "con", "-rf", "*", "x" * 300,
    "\u202e", "'", '"', ";", "|", "file:///outside", "http://127.0.0.1:9/", "\x00", "null", "\N{GREEK SMALL LETTER ALPHA}",
)  # fmt: skip
NUMBERS = (
    "0", "-1", "1e308", "-1e308", "1e999", "nan", "NaN", "inf", "-inf", "Infinity", ".nan", ".inf", "1" * 30, "1" * 5000,
    "0x" + "f" * 5000, "9223372036854775808", "-9223372036854775809", "4294967296", "0x7fffffff", "1e-320", "1.5", "3", "1:2:3",
    "1_0", "2026-99-99",
)  # fmt: skip
SHAPES = (
    "[]", "{}", "null", "true", "''", "[[]]", "[" * 2000, "{" * 400, "{a: " * 300, "[1, " * 300, "- " * 600, "&a [*a, *a]",
    "*a", "!!python/object/apply:os.system [id]", "!!int x", "!!float x", "!!timestamp x", "!!binary x", "!!set {a, b}",
    "? [a]\n: b", "<<: 1", "---\n---", "\ufeff", "<!DOCTYPE a [<!ENTITY b 'c'>]>", "\t", "\n\n",
)  # fmt: skip
LARGE = 200_000  # bytes: a text of one long line, written a hundred times again and again, fills the memory
_WORDS = re.compile(rb"-?\d[\d.eE+-]*|[A-Za-z_][\w.-]*|[\[\]{}:,<>\"']")


def mangled(data: bytes, rng: Random) -> bytes:
    """One to six changes of bytes: flipped, cut off, taken out, doubled, filled with zeros, a header's number at its edge."""
    content = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        # Headers and footers are small and decide most.
        at = rng.choice((rng.randrange(len(content) + 1), rng.randrange(min(64, len(content)) + 1), max(0, len(content) - 8)))
        width = rng.choice((1, 2, 4, 8, 64, 1024))
        match rng.randrange(8):
            case 0:
                content = content[:at]
            case 1:
                del content[at : at + width]
            case 2:
                content[at:at] = content[at : at + width] * rng.choice((1, 2, 50))
            case 3:
                content[at : at + width] = bytes(len(content[at : at + width]))
            case 4 | 5:
                edge = rng.choice(EDGES).to_bytes(8, rng.choice(("little", "big")))
                content[at : at + 4] = edge[:4] if rng.random() < 0.5 else edge[4:]
            case 6:
                content[at : at + width] = rng.randbytes(len(content[at : at + width]))
            case _ if at < len(content):
                content[at] ^= 1 << rng.randrange(8)
    return bytes(content)


def reworded(data: bytes, rng: Random) -> bytes:
    """One to four changes of a text's words and lines: numbers, names and shapes that no such file has."""
    content = data
    for _ in range(rng.choice((1, 1, 2, 4))):
        words, lines = list(_WORDS.finditer(content)), content.splitlines(keepends=True)
        if not words:
            return content + _strange(rng)
        word, line = rng.choice(words), rng.randrange(len(lines))
        match rng.randrange(6):
            case 0:
                del lines[line]
                content = b"".join(lines)
            case 1:
                line_again, times = rng.choice(lines), rng.choice((1, 1, 100))
                lines.insert(line, line_again * (times if times * len(line_again) < LARGE else 1))
                content = b"".join(lines)
            case 2:
                content = content[: word.start()] + content[word.end() :]
            case _:
                content = content[: word.start()] + _strange(rng) + content[word.end() :]
    return content


def _strange(rng: Random) -> bytes:
    return rng.choice(rng.choice((NAMES, NUMBERS, SHAPES))).encode()
