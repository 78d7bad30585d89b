"""Is this machine fit for posemill? Every capability is really tried, in a process of its own, so that a library that aborts
takes nothing down; what is missing is named with the command that mends it. Imports nothing that could be missing itself.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

GIB = 2**30


@dataclass(frozen=True)
class Check:
    """One finding. state: ok, missing (work will fail), optional (something extra is not there). packages: Debian's names."""

    name: str
    state: str
    found: str
    mend: str = ""
    packages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Library:
    """A system library that wheels expect and do not bring."""

    soname: str
    package: str
    wanted_by: str


# Read off with ldd from the wheels of opencv-contrib-python 5.0, open3d 0.20 and glcontext 3.1.
LIBRARIES = (
    Library("libGL.so.1", "libgl1", "OpenCV and Open3D"),
    Library("libgthread-2.0.so.0", "libglib2.0-0", "OpenCV"),
    Library("libxcb.so.1", "libxcb1", "OpenCV"),
    Library("libX11.so.6", "libx11-6", "Open3D"),
    Library("libEGL.so.1", "libegl1", "Open3D and rendering of virtual people"),
    Library("libusb-1.0.so.0", "libusb-1.0-0", "Open3D"),
    Library("libudev.so.1", "libudev1", "Open3D"),
)


@dataclass(frozen=True)
class Probe:
    """A few lines of Python that show a capability; the last line they print is what was found."""

    name: str
    code: str
    packages: tuple[str, ...] = ()  # to install when the code fails for a reason that names no library
    required: bool = True


PROBES = (
    Probe("OpenCV", "import cv2; print(cv2.__version__)"),
    Probe("Open3D", "import open3d; print(open3d.__version__)"),
    Probe(
        "rendering (EGL)",
        "import moderngl; print(moderngl.create_standalone_context(backend='egl').info['GL_RENDERER'])",
        ("libegl1", "libegl-mesa0", "libgl1-mesa-dri"),
    ),
    Probe("H.264 video", "import av; av.codec.Codec('libx264', 'w'); print('PyAV', av.__version__, 'with libx264')"),
    Probe(
        "PyTorch",
        "import torch; print(torch.__version__, torch.cuda.get_device_name() if torch.cuda.is_available() else 'on the CPU')",
    ),
    Probe(
        "virtual people",  # what building a body imports, which `import anny` alone leaves out
        "import anny, anny.models.model_transforms, importlib.metadata as m; print('anny', m.version('anny'))",
    ),
    Probe(
        "shipped weights",
        "from models.weights import load_tensors, weights_folder as f; names = sorted(f().rglob('*.safetensors')); "
        "[load_tensors(name) for name in names if name.parent == f()]; assert names, f'none in {f()}'; "
        "print(', '.join(name.stem for name in names))",
        required=False,
    ),
)


def examine() -> list[Check]:
    """Every check of this machine; takes some ten seconds, most of it imports in processes of their own."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        probed = list(pool.map(check_probe, PROBES))
    return [check_python(), *check_packages(), *map(check_library, LIBRARIES), *probed, *check_extras(), *check_machine()]


def check_python() -> Check:
    """Python 3.11 or 3.12."""
    version = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info[:2] <= (3, 12):
        return Check("Python", "ok", version)
    return Check(
        "Python", "missing", version, "make the environment anew with Python 3.11: make clean install PYTHON=python3.11"
    )


def check_packages() -> list[Check]:
    """The Python packages that posemill asks for, with their versions; one line when all are there."""
    from packaging.requirements import Requirement

    wrong = []
    wanted = [Requirement(line) for line in metadata.requires("posemill") or [] if "extra ==" not in line]
    for requirement in wanted:
        found = _version(requirement.name)
        if found is None or not requirement.specifier.contains(found, prereleases=True):
            wanted_text = f"{requirement.name}{requirement.specifier}"
            wrong.append(Check(wanted_text, "missing", found or "not installed", f"{sys.executable} -m pip install -e ."))
    return wrong or [Check("Python packages", "ok", f"{len(wanted)} as required")]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def check_library(library: Library) -> Check:
    """A system library that can be loaded, or the package that brings it."""
    try:
        ctypes.CDLL(library.soname)
    except OSError:
        found = (
            f"not found; {library.wanted_by} need it"
            if " and " in library.wanted_by
            else f"not found; {library.wanted_by} needs it"
        )
        return Check(library.soname, "missing", found, apt_command([library.package]), (library.package,))
    return Check(library.soname, "ok", f"found ({library.package})")


def check_probe(probe: Probe) -> Check:
    """Run a probe in a process of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run([sys.executable, "-c", probe.code], capture_output=True, text=True, timeout=120, env=environment)
    except subprocess.TimeoutExpired:
        return Check(probe.name, "missing", "no answer within 120 s", "run it on a quieter machine")
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines() or [f"exit status {done.returncode}"]
    if done.returncode == 0:
        return Check(probe.name, "ok", lines[-1])
    state, packages = "missing" if probe.required else "optional", packages_named(done.stderr) or probe.packages
    return Check(probe.name, state, lines[-1], module_command(done.stderr) or apt_command(packages), packages)


def module_command(text: str) -> str:
    """The command that brings the Python module that an import error names, "" when it names none."""
    found = re.findall(r"ModuleNotFoundError: No module named '([^'.]+)", text)
    return f"{sys.executable} -m pip install {found[-1]}" if found else ""


def packages_named(text: str) -> tuple[str, ...]:
    """The Debian packages of the shared libraries that a loader's error names."""
    sonames = re.findall(r"(\S+\.so[.\d]*): cannot open shared object", text)
    return tuple(library.package for library in LIBRARIES if library.soname in sonames)


def check_extras() -> list[Check]:
    """What posemill can do without: a Vulkan driver for Open3D's offscreen renderer, ffmpeg's command, a GPU."""
    drivers = [file for folder in ("/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d") for file in Path(folder).glob("*.json")]
    vulkan = ("libvulkan1", "mesa-vulkan-drivers")
    return [
        _extra("Vulkan driver", ", ".join(file.stem for file in drivers), "Open3D's offscreen renderer needs one", vulkan),
        _extra("ffmpeg", shutil.which("ffmpeg") or "", "handy to look at videos; posemill itself uses PyAV", ("ffmpeg",)),
        _extra("NVIDIA driver", shutil.which("nvidia-smi") or "", "without a GPU the CPU does the work", ()),
    ]


def _extra(name: str, found: str, why: str, packages: tuple[str, ...]) -> Check:
    if found:
        return Check(name, "ok", found)
    return Check(name, "optional", f"not found; {why}", apt_command(packages), packages)


def check_machine() -> list[Check]:
    """Cores, memory and disk."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    free = shutil.disk_usage(Path.cwd()).free
    return [
        Check("cores", "ok", str(len(os.sched_getaffinity(0)))),
        _at_least("memory", memory, 8 * GIB, "long clips and diffusion may not fit"),
        _at_least("disk free here", free, 5 * GIB, "free some space before a long run"),
    ]


def _at_least(name: str, found: int, wanted: int, otherwise: str) -> Check:
    text = f"{found / GIB:.1f} GiB"
    return Check(name, "ok", text) if found >= wanted else Check(name, "optional", f"{text}; {otherwise}")


def apt_command(packages: Iterable[str]) -> str:
    """The command that installs Debian packages, or "" for none."""
    names = sorted(set(packages))
    return f"apt-get update && apt-get install -y --no-install-recommends {' '.join(names)}" if names else ""


def mend(checks: Sequence[Check]) -> str:
    """The one command that brings every missing system package, "" when none is missing."""
    return apt_command(package for check in checks if check.state == "missing" for package in check.packages)


def fix(checks: Sequence[Check]) -> list[Check]:
    """Install what is missing where that is possible (Debian, as root), then examine again. Output goes to stderr."""
    command = mend(checks)
    if not command or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return list(checks)
    environment: dict[str, Any] = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for words in command.split(" && "):
        if subprocess.run(words.split(), check=False, stdout=sys.stderr, env=environment).returncode:
            break
    return examine()
