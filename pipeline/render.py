"""Draws lit triangle meshes as a real lens sees them, without a display: OpenGL through EGL (moderngl).

Pixel (0, 0) is the centre of the top-left pixel. Brown distortion is applied to every vertex before rasterisation, so
the pixels are those of a distorted lens; triangles must be small against the bend of the lens (5 cm at 2 m is < 0.05 px).
World z up, metres; colours RGB 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.camera import Camera
from pipeline.errors import InputError, StageError

Array = NDArray[np.float64]
Image = NDArray[np.uint8]

NEAR_M, FAR_M = 0.1, 60.0
EGL_PACKAGES = "libegl1 libegl-mesa0 libgl1-mesa-dri"


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles in the world: xyz_m (N, 3), faces (T, 3), rgb (N, 3) 0..1, normals (N, 3); uv (N, 2) and texture (h, w, 3)
    uint8 that repeats and multiplies rgb, or neither. shadow_only: the surface is clear and shows nothing but shadows. closed:
    triangles turn counter-clockwise seen from outside, and their backs are never seen."""

    xyz_m: Array
    faces: NDArray[np.int64]
    rgb: Array
    normals: Array
    uv: Array | None = None
    texture: Image | None = None
    shadow_only: bool = False
    closed: bool = False


@dataclass(frozen=True)
class Light:
    """A sun-like key light with soft shadows, a fill light without, and an ambient term; colours 0..1.

    towards_key, towards_fill: directions from the scene to the lights. Shadows fall within radius_m of centre_m.
    """

    towards_key: tuple[float, float, float] = (0.7, -0.35, 0.85)
    key_rgb: tuple[float, float, float] = (0.6, 0.58, 0.54)
    towards_fill: tuple[float, float, float] = (-0.3, 0.8, 0.4)
    fill_rgb: tuple[float, float, float] = (0.2, 0.21, 0.24)
    ambient_rgb: tuple[float, float, float] = (0.5, 0.5, 0.52)
    gloss: float = 0.04
    centre_m: tuple[float, float, float] = (0.0, 0.0, 0.9)
    radius_m: float = 2.6


@dataclass(frozen=True, eq=False)
class Drawable:
    """A mesh on the graphics device. Released with `Renderer.release`."""

    lit: Any
    depth: Any
    buffers: tuple[Any, ...]
    texture: Any
    shadow_only: bool
    closed: bool


class Renderer:
    """One off-screen picture of fixed size. Raises StageError naming the packages when EGL is missing."""

    def __init__(self, size_wh: tuple[int, int], samples: int = 4, shadow_px: int = 1024) -> None:
        self.size_wh = size_wh
        self.context = _context()
        many = {"samples": samples}
        self._smooth = self.context.framebuffer(
            [self.context.renderbuffer(size_wh, 4, **many)], self.context.depth_renderbuffer(size_wh, **many)
        )
        self._flat = self.context.framebuffer([self.context.renderbuffer(size_wh, 4)])
        self._shadow = self.context.depth_texture((shadow_px, shadow_px))
        self._shadow.compare_func, self._shadow.filter = "<=", (self.context.LINEAR, self.context.LINEAR)
        self._shadow.repeat_x = self._shadow.repeat_y = False
        self._shadow_map = self.context.framebuffer([], self._shadow)
        shaders = Path(__file__).parent / "shaders"
        lens, lit = (shaders / "lens.vert").read_text(), (shaders / "lit.frag").read_text()
        self._lit = self.context.program(vertex_shader=lens, fragment_shader=lit)
        self._depth = self.context.program(vertex_shader=_DEPTH_VERTEX, fragment_shader=_DEPTH_FRAGMENT)
        self._lit["image"].value, self._lit["shadow"].value = 0, 1
        self._white = self.context.texture((1, 1), 3, b"\xff" * 3, alignment=1)
        self._textures: dict[int, tuple[Image, Any]] = {}

    def __enter__(self) -> Renderer:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.release()

    def upload(self, mesh: Mesh) -> Drawable:
        """Put a mesh on the device."""
        uv = np.zeros((len(mesh.xyz_m), 2)) if mesh.uv is None else mesh.uv
        table = np.hstack([mesh.xyz_m, mesh.normals, uv, mesh.rgb]).astype("f4")
        vertices = self.context.buffer(table.tobytes())
        index = self.context.buffer(np.ascontiguousarray(mesh.faces, dtype="i4").tobytes())
        lit = self.context.vertex_array(self._lit, [(vertices, "3f 3f 2f 3f", "point", "normal", "uv", "rgb")], index)
        depth = self.context.vertex_array(self._depth, [(vertices, "3f 32x", "point")], index)
        texture = self._white if mesh.texture is None else self._texture(mesh.texture)
        return Drawable(lit, depth, (vertices, index), texture, mesh.shadow_only, mesh.closed)

    def release(self, drawables: list[Drawable]) -> None:
        """Take meshes off the device."""
        for drawable in drawables:
            for item in (drawable.lit, drawable.depth, *drawable.buffers):
                item.release()

    def release_textures(self) -> None:
        """Take the textures of all meshes off the device; none of them may be drawn any more."""
        for _, texture in self._textures.values():
            texture.release()
        self._textures.clear()

    def shine(self, light: Light, casters: list[Drawable]) -> None:
        """Set the light and the shadows of `casters` for the pictures that follow."""
        shadow_from_world = _shadow_matrix(light)
        self._shadow_map.use()
        self._shadow_map.clear(depth=1.0)
        self.context.enable_only(self.context.DEPTH_TEST)
        self._depth["clip_from_world"].write(shadow_from_world.T.astype("f4").tobytes())
        for drawable in casters:
            drawable.depth.render()
        self._lit["shadow_from_world"].write(shadow_from_world.T.astype("f4").tobytes())
        for name in ("towards_key", "towards_fill"):
            self._lit[name].value = tuple(_unit(np.array(getattr(light, name))))
        for name in ("key_rgb", "fill_rgb", "ambient_rgb", "gloss"):
            self._lit[name].value = getattr(light, name)

    def draw(self, camera: Camera, drawables: list[Drawable]) -> Image:
        """RGBA uint8 (H, W, 4) of what a camera sees, premultiplied; alpha is 0 where nothing is.

        Raises InputError for a lens other than brown or a camera of another size.
        """
        if camera.lens != "brown" or camera.size_wh != self.size_wh:
            raise InputError(
                f"camera {camera.name}: expected a brown lens and {self.size_wh} px, got {camera.lens} and {camera.size_wh}"
            )
        self._aim(camera)
        self._smooth.use()
        self._smooth.clear(0, 0, 0, 0)
        self._shadow.use(1)
        for drawable in drawables:
            drawable.texture.use(0)
            self._lit["shadow_only"].value = drawable.shadow_only
            self.context.enable_only(self.context.DEPTH_TEST | (self.context.CULL_FACE if drawable.closed else 0))
            drawable.lit.render()
        self.context.copy_framebuffer(self._flat, self._smooth)
        width, height = self.size_wh
        return np.frombuffer(self._flat.read(components=4, alignment=1), np.uint8).reshape(height, width, 4)[::-1]

    def _aim(self, camera: Camera) -> None:
        pose, K = camera.cam_from_world, camera.K
        self._lit["R"].write(pose.R.T.astype("f4").tobytes())
        self._lit["t"].value, self._lit["eye"].value = tuple(pose.t), tuple(camera.centre_m)
        self._lit["focal_px"].value = (K[0, 0], K[1, 1])
        self._lit["centre_px"].value = (K[0, 2], K[1, 2])
        self._lit["size_px"].value = tuple(float(side) for side in camera.size_wh)
        self._lit["radial"].value = (camera.dist[0], camera.dist[1], camera.dist[4])
        self._lit["tangential"].value = (camera.dist[2], camera.dist[3])
        self._lit["r2_max"].value = _largest_r2(camera)
        self._lit["near_far"].value = (NEAR_M, FAR_M)

    def _texture(self, image: Image) -> Any:
        if id(image) not in self._textures:
            height, width = image.shape[:2]
            texture = self.context.texture((width, height), 3, np.ascontiguousarray(image).tobytes(), alignment=1)
            texture.build_mipmaps()
            # No anisotropic filter: Mesa's software renderer takes a minute for one picture of wrinkled cloth with it.
            self._textures[id(image)] = (image, texture)  # the image stays alive, so that its id stays its own
        return self._textures[id(image)][1]


def vertex_normals(xyz_m: Array, faces: NDArray[np.int64]) -> Array:
    """Unit normals (N, 3) of vertices, averaged over their triangles by area; zero where a vertex has none."""
    # Column by column: np.cross and one bincount over all corners take three times as long.
    x, y, z = np.ascontiguousarray(xyz_m.T)
    a, b, c = np.ascontiguousarray(faces.T)
    (ux, uy, uz), (vx, vy, vz) = ([v[to] - v[a] for v in (x, y, z)] for to in (b, c))
    across = (uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx)
    total = np.stack([sum(np.bincount(corner, side, len(x)) for corner in (a, b, c)) for side in across], axis=1)
    return np.asarray(total / np.maximum(np.sqrt((total**2).sum(1, keepdims=True)), 1e-12))


def _context() -> Any:
    import moderngl

    create: Any = moderngl.create_context  # its annotations reject the documented backend name
    try:
        return create(standalone=True, backend="egl")
    except Exception as error:  # moderngl raises bare Exception, ImportError or ValueError, depending on what is missing
        raise StageError(
            f"the virtual studio draws with OpenGL through EGL, which does not start here ({error}); "
            f"install it with: apt-get install {EGL_PACKAGES}"
        ) from error


def _largest_r2(camera: Camera) -> float:
    """Beyond this squared radius (normalised) the lens formula is not followed: half as far again as the image corner."""
    width, height = camera.size_wh
    corners = camera.undistort(np.array([[0, 0], [width, 0], [0, height], [width, height]], dtype=float))
    return float(2.25 * (corners**2).sum(1).max())


def _shadow_matrix(light: Light) -> Array:
    forward = -_unit(np.array(light.towards_key))
    right = _unit(np.cross(forward, [0.0, 1.0, 0.0] if abs(forward[2]) > 0.9 else [0.0, 0.0, 1.0]))
    basis = np.stack([right, np.cross(right, forward), forward]) / light.radius_m
    out = np.eye(4)
    out[:3, :3] = basis
    out[:3, 3] = -basis @ np.array(light.centre_m)
    return out


def _unit(v: Array) -> Array:
    return v / np.linalg.norm(v)


_DEPTH_VERTEX = """#version 330
uniform mat4 clip_from_world; in vec3 point;
void main() { gl_Position = clip_from_world * vec4(point, 1.0); }
"""
_DEPTH_FRAGMENT = """#version 330
void main() {}
"""
