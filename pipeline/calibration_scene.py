"""The rig in 3D, and people over time in it, as a piece of a page: a canvas that the reader turns, with its script."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.rig import Rig

Array = NDArray[np.float64]

# Turntable about the middle of the scene, perspective, far things first. Keys and buttons do what the mouse does.
SCRIPT = """
(() => {
const scene = JSON.parse(document.getElementById('scene-data').textContent), canvas = document.getElementById('scene');
const pen = canvas.getContext('2d'), home = {yaw: -0.9, pitch: 0.45, zoom: 1};
let view = {...home}, held = null, taken = [], now = 0;  // now: the instant shown
const people = scene.people || {t_s: [], limbs: [], tracks: []};
people.tracks.forEach(t => { t.xyz = t.xyz_mm.map(all => all && all.map(p => p && p.map(mm => mm / 1000))); });
function place(p) {  // world metres to x right, y down in px, and depth
  const [x, y, z] = p.map((v, i) => v - scene.middle[i]), c = Math.cos(view.yaw), s = Math.sin(view.yaw);
  const right = c * x + s * y, into = c * y - s * x, cp = Math.cos(view.pitch), sp = Math.sin(view.pitch);
  const depth = into * cp - z * sp, up = into * sp + z * cp, scale = 3 / (3 + depth / scene.size);
  const px = Math.min(canvas.clientWidth, 1.7 * canvas.clientHeight) / (2.2 * scene.size) * view.zoom * scale;
  return [canvas.clientWidth / 2 + right * px, canvas.clientHeight / 2 - up * px, depth];
}
function path(points, close) {
  pen.beginPath();
  points.map(place).forEach(([x, y], i) => i ? pen.lineTo(x, y) : pen.moveTo(x, y));
  if (close) pen.closePath();
}
function line(points, colour, width) { path(points); pen.strokeStyle = colour; pen.lineWidth = width; pen.stroke(); }
function face(points, fill, edge, width) {
  path(points, true); pen.fillStyle = fill; pen.fill(); pen.strokeStyle = edge; pen.lineWidth = width; pen.stroke();
}
function label(text, p, colour) {
  let [x, y] = place(p);
  while (taken.some(([a, b]) => Math.abs(a - x) < 50 && Math.abs(b - y) < 14)) y += 15;
  taken.push([x, y]);
  pen.font = '600 13px sans-serif'; pen.lineWidth = 4; pen.strokeStyle = '#fff'; pen.strokeText(text, x + 7, y - 7);
  pen.fillStyle = colour; pen.fillText(text, x + 7, y - 7);
}
function camera(c) {
  const k = c.corners;
  for (let i = 0; i < 4; i++) face([c.centre, k[i], k[(i + 1) % 4]], 'rgba(31,95,153,.10)', '#1f5f99', 1);
  face(k, 'rgba(31,95,153,.16)', '#1f5f99', 1.5);
  line([k[0], c.top, k[1]], '#1f5f99', 1.5);
}
function skeleton(joints, colour) {
  people.limbs.forEach(([a, b]) => { if (joints[a] && joints[b]) line([joints[a], joints[b]], colour, 3); });
  pen.fillStyle = colour;
  joints.filter(p => p).map(place).forEach(([x, y]) => { pen.beginPath(); pen.arc(x, y, 3, 0, 7); pen.fill(); });
}
function draw() {
  taken = [];
  const ratio = window.devicePixelRatio || 1;
  canvas.width = canvas.clientWidth * ratio; canvas.height = canvas.clientHeight * ratio;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
  scene.grid.forEach(g => line(g, '#d4d8de', 1));
  scene.axes.forEach(a => { line([scene.origin, a.end], a.colour, 2.5); label(a.name, a.end, a.colour); });
  const things = scene.boards.map(b => [b, () => face(b, 'rgba(217,115,13,.13)', 'rgba(217,115,13,.65)', 1)])
    .concat(scene.cameras.map(c => [[c.centre], () => camera(c)]));
  const here = people.tracks.filter(t => t.xyz[now]).map(t => ({...t, joints: t.xyz[now]}));
  here.forEach(t => things.push([t.joints.filter(p => p), () => skeleton(t.joints, t.colour)]));
  const depth = ([points]) => points.reduce((sum, p) => sum + place(p)[2], 0) / points.length;
  things.sort((a, b) => depth(b) - depth(a)).forEach(([, paint]) => paint());
  scene.cameras.forEach(c => label(c.name, c.centre, '#12395c'));
  here.forEach(t => label(t.name, t.joints.filter(p => p).reduce((a, b) => a[2] > b[2] ? a : b), t.colour));
}
function turn(yaw, pitch) {
  view.yaw += yaw; view.pitch = Math.max(-1.57, Math.min(1.57, view.pitch + pitch)); draw();
}
function zoom(factor) { view.zoom = Math.max(0.2, Math.min(20, view.zoom * factor)); draw(); }
const keys = {ArrowLeft: () => turn(-.1, 0), ArrowRight: () => turn(.1, 0), ArrowUp: () => turn(0, .1),
  ArrowDown: () => turn(0, -.1), '+': () => zoom(1.2), '-': () => zoom(1 / 1.2)};
canvas.addEventListener('keydown', e => { if (keys[e.key]) { keys[e.key](); e.preventDefault(); } });
canvas.addEventListener('pointerdown', e => { held = [e.clientX, e.clientY]; canvas.setPointerCapture(e.pointerId); });
canvas.addEventListener('pointermove', e => {
  if (held) { turn((e.clientX - held[0]) / 150, (e.clientY - held[1]) / 150); held = [e.clientX, e.clientY]; }
});
['pointerup', 'pointercancel'].forEach(name => canvas.addEventListener(name, () => { held = null; }));
canvas.addEventListener('wheel', e => {  // the page scrolls as ever unless the picture was clicked
  if (document.activeElement === canvas) { zoom(Math.exp(-e.deltaY / 500)); e.preventDefault(); }
}, {passive: false});
const views = {oblique: home, above: {yaw: 0, pitch: 1.57, zoom: 1}, front: {yaw: 0, pitch: 0, zoom: 1},
  side: {yaw: 1.5708, pitch: 0, zoom: 1}};
document.querySelectorAll('[data-view]').forEach(b => b.addEventListener('click', () => {
  view = {...views[b.dataset.view]}; draw();
}));
document.querySelectorAll('[data-zoom]').forEach(b => b.addEventListener('click', () => zoom(+b.dataset.zoom)));
window.addEventListener('resize', draw);
draw();
if (!scene.people) return;
const [play, slider, clock, speed] = ['play', 'time', 'clock', 'speed'].map(id => document.getElementById(id));
let timer = 0, started = null;  // wall time and recording time in s at which playing began
function show(instant) {
  now = instant; slider.value = now;
  clock.textContent = people.t_s[now].toFixed(2) + ' s of ' + people.t_s[people.t_s.length - 1].toFixed(2);
  draw();
}
function tick() {
  if (!started) return;
  const t = started.t_s + (performance.now() / 1000 - started.wall_s) * speed.value;
  let next = now;
  while (next + 1 < people.t_s.length && people.t_s[next + 1] <= t) next++;
  if (next !== now) show(next);
  if (next === people.t_s.length - 1) pause(); else timer = setTimeout(tick, 15);
}
function start() {
  if (now === people.t_s.length - 1) show(0);
  started = {wall_s: performance.now() / 1000, t_s: people.t_s[now]};
  play.textContent = 'pause'; clearTimeout(timer); tick();
}
function pause() { started = null; play.textContent = 'play'; }
function toggle() { if (started) pause(); else start(); }
play.addEventListener('click', toggle);
canvas.addEventListener('keydown', e => { if (e.key === ' ') { toggle(); e.preventDefault(); } });
slider.addEventListener('input', () => { pause(); show(+slider.value); });
speed.addEventListener('change', () => { if (started) start(); });
show(0);
})();
"""
AXES = (("x", "#b3261e"), ("y", "#2e7d32"), ("z", "#1a4fbf"))


def scene_html(
    rig: Rig, boards_m: Sequence[Array] = (), people: Mapping[str, Any] | None = None, around_m: Array | None = None
) -> str:
    """Canvas, buttons, data and script; boards_m: the outline (4, 3) of every board position in world metres.

    people: {t_s (F), limbs: index pairs, tracks: [{name, colour, xyz_mm (F, J, 3) with None for what is missing}]}, shown
    with a time slider; around_m: further points (N, 3) in world metres that the picture holds.
    """
    told = ", ".join(f"{c.name} at ({', '.join(f'{v:.2f}' for v in c.centre_m)}) m" for c in rig.cameras)
    seen = f"{len(boards_m)} board positions" if people is None else ", ".join(track["name"] for track in people["tracks"])
    text = f"The rig in 3D with {seen}: {told}"
    scene = _scene(rig, boards_m, np.zeros((0, 3)) if around_m is None else around_m) | {"people": people}
    data = json.dumps(scene, separators=(",", ":")).replace("<", "\\u003c").replace("&", "\\u0026")
    views = "".join(f"<button type=button data-view={name}>{name}</button> " for name in ("oblique", "above", "front", "side"))
    zooms = "<button type=button data-zoom=1.25>nearer</button> <button type=button data-zoom=0.8>farther</button>"
    slider = "" if people is None else _timeline(len(people["t_s"]))
    return (
        f"<p>{views}{zooms}</p><canvas id=scene tabindex=0 role=img aria-label='{escape(text)}'>{escape(text)}</canvas>{slider}"
        f"<script type=application/json id=scene-data>{data}</script><script>{SCRIPT}</script>"
    )


def _timeline(instants: int) -> str:
    speeds = "".join(
        f"<option value={speed}{' selected' * (speed == 1)}>{speed:g}x</option>" for speed in (0.1, 0.25, 0.5, 1, 2)
    )
    return (
        "<p id=timeline><button type=button id=play>play</button>"
        f"<input type=range id=time min=0 max={instants - 1} value=0 step=1 aria-label='instant'>"
        f"<output id=clock></output><select id=speed aria-label='speed'>{speeds}</select></p>"
    )


def _scene(rig: Rig, boards_m: Sequence[Array], around_m: Array) -> dict[str, object]:
    centres = np.stack([camera.centre_m for camera in rig.cameras])
    points = np.concatenate([centres, np.zeros((1, 3)), *boards_m, around_m])
    low, high = points.min(0), points.max(0)
    size = max(0.5 * float(np.linalg.norm(high - low)), 0.5)
    origin, reach = np.zeros(3), 0.25 * size
    return {
        "middle": _rounded(0.5 * (low + high)),
        "size": round(size, 3),
        "cameras": [_frustum(rig, name, 0.17 * size) for name in rig.names],
        "boards": [_rounded(board) for board in boards_m],
        "grid": _grid(low, high),
        "origin": _rounded(origin),
        "axes": [
            {"name": name, "colour": colour, "end": _rounded(reach * np.eye(3)[axis])}
            for axis, (name, colour) in enumerate(AXES)
        ],
    }


def _frustum(rig: Rig, name: str, depth_m: float) -> dict[str, object]:
    """Corners of the image at depth_m, and a tip above its upper edge that shows which way is up."""
    camera = rig[name]
    width, height = camera.size_wh
    px = np.array([[0, 0], [width, 0], [width, height], [0, height], [0.5 * width, -0.18 * height]]) - 0.5
    rays = np.c_[(px - camera.K[:2, 2]) / np.diag(camera.K)[:2], np.ones(len(px))]  # straight edges: the lens is left out
    world_m = camera.cam_from_world.inverse().apply(depth_m * rays / np.linalg.norm(rays[:4], axis=1).max())
    return {"name": name, "centre": _rounded(camera.centre_m), "corners": _rounded(world_m[:4]), "top": _rounded(world_m[4])}


def _grid(low: Array, high: Array) -> list[list[list[float]]]:
    """Lines a metre apart at z = 0 below everything there is; further apart where that would be over forty."""
    step = float(max(1, np.ceil((high - low)[:2].max() / 40)))
    x, y = (np.arange(np.floor(a / step), np.ceil(b / step) + 1) * step for a, b in zip(low[:2], high[:2], strict=True))
    along_y = [[[float(v), float(y[0]), 0.0], [float(v), float(y[-1]), 0.0]] for v in x]
    return along_y + [[[float(x[0]), float(v), 0.0], [float(x[-1]), float(v), 0.0]] for v in y]


def _rounded(values: Array) -> list[float]:
    rounded: list[float] = np.round(values, 3).tolist()
    return rounded
