"""The text of a rig file as nested dictionaries: toml, yaml, and OpenCV's FileStorage in yaml and xml. Safe on hostile text."""

from __future__ import annotations

import re
import tomllib
from typing import Any
from xml.etree import ElementTree

import yaml

from calibration.errors import CalibrationError

# A rig of a hundred cameras with its covariance stays below this; parsing more takes minutes.
LARGEST_BYTES = 16 << 20
# PyYAML takes seconds to find that brackets are nested too deep for it; a covariance is two deep.
NESTED = re.compile(r"(?:[\[{]\s*){16}")
# Python reads such numbers of any length, in bases of 2, 8, 16 and 60, and then refuses to print them.
UNWIELDY = re.compile(r"0[xXoObB]?[0-9a-fA-F_]{3000}|(?:[0-9_]+:){1000}")
# What the parsers raise on text that is none of theirs; PyYAML's constructors let the last ones through (a bad !!int, say).
UNREADABLE = (yaml.YAMLError, ValueError, RecursionError, OverflowError, MemoryError, LookupError, TypeError, AttributeError)


def parse(text: str) -> dict[Any, Any]:
    """The tables of a file by their names. CalibrationError saying why the text is neither toml, yaml nor FileStorage xml."""
    if len(text) > LARGEST_BYTES:
        raise CalibrationError(f"longer than {LARGEST_BYTES >> 20} MiB: no rig")
    if text.lstrip("\ufeff \r\n\t").startswith("<"):
        return _from_xml(text.lstrip("\ufeff \r\n\t"))
    if NESTED.search(text):
        raise CalibrationError("lists nested deeper than in any rig")
    if UNWIELDY.search(text):
        raise CalibrationError("a number of more than 3000 digits")
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        not_toml = _brief(error)
    try:
        # OpenCV writes %YAML:1.0, which no yaml reader but its own accepts.
        content = yaml.load(re.sub(r"\A\ufeff?%YAML[^\n]*", "", text), _Loader)
    except UNREADABLE as error:
        raise CalibrationError(f"neither toml ({not_toml}) nor yaml ({_brief(error)})") from error
    if not isinstance(content, dict):
        raise CalibrationError(f"neither toml ({not_toml}) nor a yaml of tables")
    return content


class _Loader(yaml.SafeLoader):
    """Plain values and OpenCV's matrices only. Aliases are refused: a few lines of them unfold to gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "an alias (*name); write the value out", self.peek_event().start_mark)
        return super().compose_node(parent, index)


_Loader.add_multi_constructor(
    "tag:yaml.org,2002:opencv-", lambda loader, suffix, node: loader.construct_mapping(node, deep=True)
)


def _from_xml(text: str) -> dict[Any, Any]:
    if re.search(r"<!(DOCTYPE|ENTITY)", text, re.IGNORECASE):
        raise CalibrationError("xml with a document type or entities is not read; OpenCV writes none")
    try:
        root = ElementTree.fromstring(text)
        content = _xml_value(root)
    except (ElementTree.ParseError, *UNREADABLE) as error:
        raise CalibrationError(f"broken xml ({_brief(error)})") from error
    if root.tag != "opencv_storage" or not isinstance(content, dict):
        raise CalibrationError(f"xml of <{root.tag[:80]}>, expected OpenCV's <opencv_storage>")
    return content


def _xml_value(element: ElementTree.Element) -> Any:
    """A table of the children, or the words of a leaf: one word alone, several as a list."""
    if len(element):
        return {child.tag: _xml_value(child) for child in element}
    words = [quoted or bare for quoted, bare in re.findall(r'"([^"]*)"|([^\s"]+)', element.text or "")]
    return words[0] if len(words) == 1 else words


def _brief(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
