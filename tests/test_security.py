"""What none of our code may do, read from its syntax tree: run what others wrote, unpickle, ask a shell, serve a network."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("calibration", "models", "pipeline", "flows")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
# Modules that run what they read.
IMPORTS = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "joblib",
    "shelve",
    "marshal",
    "cloudpickle",
    "code",
    "pty",
    "commands",
    "runpy",
}
# Calls by name, and by the last name of what is called.
BARE = {"eval", "exec", "__import__", "compile"}
CALLS = {
    "unsafe_load", "full_load", "load_all", "unsafe_load_all", "read_pickle", "mktemp", "extractall", "unpack_archive", "popen",
}  # fmt: skip
CALLS_ON = {"os.system", "torch.load", "torch.save", "np.load", "np.save", "yaml.load", "cv2.imread", "os.execv", "os.spawnl"}
# Where each is right: a loader of plain values.
ALLOWED = {
    ("calibration/format_text.py", "yaml.load"),
    ("pipeline/plain_text.py", "yaml.load"),
}
KEYWORDS = {("shell", True), ("allow_pickle", True), ("trust_remote_code", True), ("weights_only", False)}


def _offences(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from ((node.lineno, f"import {name}") for name in names if name.split(".")[0] in IMPORTS)
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        if name in BARE | CALLS_ON or name.split(".")[-1] in CALLS:
            yield node.lineno, name
        for keyword in node.keywords:
            if isinstance(keyword.value, ast.Constant) and (keyword.arg, keyword.value.value) in KEYWORDS:
                yield node.lineno, f"{keyword.arg}={keyword.value.value}"


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_is_unpickled_evaluated_or_handed_to_a_shell(package: str) -> None:
    for path in (path for path in MODULES if path.is_relative_to(ROOT / package)):
        where = path.relative_to(ROOT).as_posix()
        found = [(line, what) for line, what in _offences(ast.parse(path.read_text())) if (where, what) not in ALLOWED]
        assert not found, f"{where}: {found}"


def test_yaml_is_loaded_by_loaders_of_plain_values_alone() -> None:
    import yaml

    from calibration import format_text
    from pipeline import plain_text

    for loader in (format_text._Loader, plain_text._Loader):
        assert issubclass(loader, yaml.SafeLoader)
        with pytest.raises(yaml.YAMLError, match="could not determine a constructor"):
            yaml.load("!!python/object/apply:os.system [id]", loader)


def test_servers_listen_to_this_machine_alone_and_check_who_is_asked() -> None:
    for path in MODULES:
        tree, where = ast.parse(path.read_text()), path.relative_to(ROOT)
        texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        assert not {"0.0.0.0", "::"} & set(texts), f"{where} names an address of all networks"
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1].endswith("HTTPServer"):
                assert ast.unparse(node.args[0]).startswith("(HOST, "), f"{where}:{node.lineno}"
            if isinstance(node, ast.ClassDef) and "BaseHTTPRequestHandler" in map(ast.unparse, node.bases):
                assert node.name == "LocalHandler", f"{where}: {node.name} must be a LocalHandler, which checks the host"


@pytest.mark.parametrize(
    "source",
    ["import pickle", "from joblib import load", "eval(x)", "os.system(x)", "run(x, shell=True)", "torch.load(x)", "np.load(x)",
     "yaml.load(x, Loader)", "yaml.unsafe_load(x)", "pandas.read_pickle(x)", "f(trust_remote_code=True)"],
)  # fmt: skip
def test_the_check_sees_what_it_looks_for(source: str) -> None:
    assert len(list(_offences(ast.parse(source)))) == 1


def test_the_check_lets_other_things_be() -> None:
    assert not list(_offences(ast.parse("re.compile(x); net.eval(); json.load(x); run(words, shell=False)")))
