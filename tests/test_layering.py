"""Three languages, one direction: calibration and models below pipeline below flows."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# What a package must not import, anywhere in it.
FORBIDDEN = {
    "calibration": {
        "models",
        "pipeline",
        "flows",
        "torch",
        "torchvision",
        "diffusers",
        "transformers",
        "prefect",
        "typer",
        "rich",
    },
    "models": {"calibration", "pipeline", "flows", "prefect", "typer", "rich"},
    "pipeline": {"flows", "prefect", "typer", "rich"},
    "flows": {"numpy", "scipy", "cv2", "torch", "diffusers", "open3d"},
}
# What must wait until it is used: importing it takes seconds, and `posemill run` with nothing to do may take five in all.
HEAVY = {
    "torch",
    "diffusers",
    "transformers",
    "open3d",
    "matplotlib",
    "prefect",
    "anny",
    "moderngl",
    "accelerate",
    "onnxruntime",
    "pybullet",
}
# Modules that are only ever imported by code that has just decided to use them.
ALLOWED_HEAVY = {"models": {"torch", "diffusers", "transformers", "accelerate"}, "flows": {"prefect"}}
PREFECT_MODULES = {
    f"flows/{name}.py" for name in ("tasks", "review", "approval", "build_dataset", "stages", "release", "train", "distributed")
}


def _modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def _imported(tree: ast.AST, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0] if node.level == 0 else package


def _at_import(tree: ast.Module) -> ast.Module:
    """The statements that run when the module is imported, `if TYPE_CHECKING:` aside."""
    kept = [node for node in tree.body if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
    kept = [node for node in kept if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))]
    return ast.Module(body=kept, type_ignores=[])


@pytest.mark.parametrize("package", sorted(FORBIDDEN))
def test_no_import_runs_against_the_layering(package: str) -> None:
    modules = _modules(package)
    assert modules
    for module in modules:
        found = FORBIDDEN[package] & set(_imported(ast.parse(module.read_text()), package))
        assert not found, f"{module.relative_to(ROOT)} imports {', '.join(sorted(found))}"


@pytest.mark.parametrize("package", sorted(FORBIDDEN))
def test_heavy_libraries_wait_until_they_are_used(package: str) -> None:
    for module in _modules(package):
        found = (HEAVY - ALLOWED_HEAVY.get(package, set())) & set(_imported(_at_import(ast.parse(module.read_text())), package))
        assert not found, f"{module.relative_to(ROOT)} imports {', '.join(sorted(found))} at its top"


def test_prefect_is_imported_by_the_flows_alone() -> None:
    for module in _modules("flows"):
        name = module.relative_to(ROOT).as_posix()
        found = "prefect" in set(_imported(_at_import(ast.parse(module.read_text())), "flows"))
        assert not found or name in PREFECT_MODULES, f"{name} imports prefect at its top"


def test_the_check_sees_a_forbidden_import() -> None:
    tree = ast.parse("import prefect.artifacts\ndef later():\n    from torch import nn\n")
    assert set(_imported(tree, "pipeline")) == {"prefect", "torch"}
    assert set(_imported(_at_import(tree), "pipeline")) == {"prefect"}
