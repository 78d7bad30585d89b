import subprocess
import sys
from types import SimpleNamespace

import pytest

from flows import doctor
from flows.doctor import Check, Library, Probe


def test_a_missing_library_is_named_with_its_package() -> None:
    check = doctor.check_library(Library("libnowhere.so.7", "libnowhere7", "OpenCV"))
    assert (check.state, check.packages) == ("missing", ("libnowhere7",))
    assert "OpenCV needs it" in check.found
    assert check.mend.endswith("apt-get install -y --no-install-recommends libnowhere7")


def test_a_library_that_loads_is_ok() -> None:
    assert doctor.check_library(Library("libc.so.6", "libc6", "everything")).state == "ok"


def test_a_loader_error_is_traced_to_its_package() -> None:
    probe = Probe("OpenCV", "raise ImportError('libGL.so.1: cannot open shared object file: No such file or directory')")
    check = doctor.check_probe(probe)
    assert (check.state, check.packages) == ("missing", ("libgl1",))


def test_a_missing_python_module_is_named_with_the_command_that_brings_it() -> None:
    check = doctor.check_probe(Probe("virtual people", "import nowhere_to_be_found.parts"))
    assert check.state == "missing" and check.packages == ()
    assert check.mend == f"{sys.executable} -m pip install nowhere_to_be_found"


def test_a_probe_that_aborts_takes_nothing_down() -> None:
    check = doctor.check_probe(Probe("renderer", "import os; os.abort()", ("some-driver",)))
    assert (check.state, check.packages) == ("missing", ("some-driver",))


def test_a_probe_tells_the_last_line_it_prints() -> None:
    assert doctor.check_probe(Probe("p", "print('noise'); print('4.2')")) == Check("p", "ok", "4.2")


def test_one_command_mends_everything_missing_and_nothing_optional() -> None:
    checks = [
        Check("a", "missing", "", packages=("libgl1",)),
        Check("b", "missing", "", packages=("libegl1", "libgl1")),
        Check("c", "optional", "", packages=("ffmpeg",)),
        Check("d", "ok", ""),
    ]
    assert doctor.mend(checks).split("--no-install-recommends ")[1] == "libegl1 libgl1"
    assert doctor.mend(checks[2:]) == ""


def test_a_package_of_the_wrong_version_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "torch" else "0.0.1" if name == "numpy" else "999")
    found = {check.name.split("=")[0]: check for check in doctor.check_packages()}
    assert found["torch"].found == "not installed"
    assert found["numpy"].found == "0.0.1"
    assert sys.executable in found["numpy"].mend


def test_nothing_is_installed_without_being_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(doctor.subprocess, "run", lambda *_, **__: pytest.fail("ran a command"))
    checks = [Check("a", "missing", "", packages=("libgl1",))]
    assert doctor.fix(checks) == checks


def test_a_python_that_is_too_new_or_too_old_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for version, state in (((3, 10, 9), "missing"), ((3, 11, 0), "ok"), ((3, 12, 8), "ok"), ((3, 13, 0), "missing")):
        monkeypatch.setattr(doctor.sys, "version_info", version)
        check = doctor.check_python()
        assert (check.state, check.found) == (state, ".".join(map(str, version)))
        assert ("PYTHON=python3.11" in check.mend) == (state == "missing")


def test_a_library_that_two_need_is_said_so() -> None:
    found = doctor.check_library(Library("libnowhere.so.7", "libnowhere7", "OpenCV and Open3D")).found
    assert found == "not found; OpenCV and Open3D need it"


def test_a_probe_that_never_answers_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object, timeout: float, **__: object) -> None:
        raise subprocess.TimeoutExpired("python", timeout)

    monkeypatch.setattr(doctor.subprocess, "run", hang)
    check = doctor.check_probe(Probe("renderer", "import time; time.sleep(1e6)"))
    assert (check.state, check.found) == ("missing", "no answer within 120 s")


def test_a_probe_that_is_not_required_is_optional_when_it_fails() -> None:
    assert doctor.check_probe(Probe("weights", "raise SystemExit('none')", required=False)).state == "optional"


def test_what_posemill_can_do_without_is_never_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.Path, "glob", lambda *_: [])
    monkeypatch.setattr(doctor.shutil, "which", lambda name: "/usr/bin/ffmpeg" if name == "ffmpeg" else None)
    vulkan, ffmpeg, gpu = doctor.check_extras()
    assert (vulkan.state, ffmpeg.state, gpu.state) == ("optional", "ok", "optional")
    assert ffmpeg.found == "/usr/bin/ffmpeg" and vulkan.mend.endswith("libvulkan1 mesa-vulkan-drivers") and gpu.mend == ""


def test_little_memory_and_disk_are_told_with_what_they_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    for pages, free, states in ((2 * 2**20, 5 * 2**30, ["ok", "ok"]), (2**20, 2**30, ["optional", "optional"])):
        monkeypatch.setattr(doctor.os, "sysconf", lambda name, pages=pages: pages if name == "SC_PHYS_PAGES" else 4096)
        monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        cores, *others = doctor.check_machine()
        assert int(cores.found) >= 1 and [check.state for check in others] == states
    assert others[0].found == "4.0 GiB; long clips and diffusion may not fit"


def test_everything_is_examined_in_one_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "check_probe", lambda probe: Check(probe.name, "ok", ""))
    names = [check.name for check in doctor.examine()]
    assert names[0] == "Python" and {"libGL.so.1", "OpenCV", "virtual people", "ffmpeg", "memory"} <= set(names)
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("status", "ran"), [(0, 2), (100, 1)])
def test_root_installs_what_is_missing_and_looks_again(monkeypatch: pytest.MonkeyPatch, status: int, ran: int) -> None:
    commands: list[list[str]] = []

    def run(words: list[str], **_: object) -> SimpleNamespace:
        commands.append(words)
        return SimpleNamespace(returncode=status)

    monkeypatch.setattr(doctor.os, "geteuid", lambda: 0)
    monkeypatch.setattr(doctor.shutil, "which", lambda _: "/usr/bin/apt-get")
    monkeypatch.setattr(doctor.subprocess, "run", run)
    monkeypatch.setattr(doctor, "examine", lambda: [Check("a", "ok", "now")])
    assert doctor.fix([Check("a", "missing", "", packages=("libgl1",))]) == [Check("a", "ok", "now")]
    assert commands[0] == ["apt-get", "update"] and len(commands) == ran and commands[-1][-1] in ("libgl1", "update")
