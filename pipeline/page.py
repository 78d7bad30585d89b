"""A page of results that opens anywhere: one file, no network."""

from __future__ import annotations

from html import escape
from pathlib import Path

from pipeline.atomic import write_atomically

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:1.5em auto;padding:0 1.5em;max-width:1180px;color:#1c2127}
h1{margin:.2em 0}h2{margin:1.8em 0 .3em;border-bottom:2px solid #1f5f99;padding-bottom:.15em}h3{margin:1em 0 .2em}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:14px}
td,th{padding:.25em .65em;border-bottom:1px solid #d4d8de;text-align:right;vertical-align:top}
th{background:#f2f4f7}td:first-child,th:first-child,.text td,.text th{text-align:left}
.wide{overflow-x:auto}figure{margin:0 0 1em}figcaption{color:#4a515b}img{width:100%;height:auto;display:block}
#scene{width:100%;height:560px;border:1px solid #d4d8de;touch-action:none;cursor:grab;background:#fbfcfd;display:block}
#timeline{display:flex;gap:.8em;align-items:center}#time{flex:1}#clock{min-width:8em;font-variant-numeric:tabular-nums}
button,select{font:inherit;padding:.15em .7em}.figures{display:flex;flex-wrap:wrap;gap:.8em;margin:1em 0}
.figures div{border:1px solid #d4d8de;border-radius:6px;padding:.5em 1em}.figures b{display:block;font-size:1.35em}
.verdict{padding:.6em 1em;border-radius:6px;font-size:1.1em;border-left:8px solid}
.good{background:#e8f4ea;border-color:#2e7d32}.bad{background:#fbe9e7;border-color:#b3261e}td.worse{color:#b3261e;font-weight:600}
summary{cursor:pointer;margin:.5em 0}li{margin:.2em 0}
"""


def write_page(path: Path, title: str, body: str) -> None:
    """Write body (HTML) as a page with the house's style, atomic. Raises StageError on a full disk."""
    head = "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content='width=device-width'>"
    page = f"{head}<title>{escape(title)}</title><style>{STYLE}</style></head>"
    write_atomically(path, f"{page}<body>{body}</body></html>\n")
