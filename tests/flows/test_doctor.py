import sys

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
