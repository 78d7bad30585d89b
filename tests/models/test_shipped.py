import subprocess
import sys
from pathlib import Path

from models.shipped import weights_folder, weights_path


def test_the_default_and_the_names_are_files_that_ship() -> None:
    assert weights_path("default") == weights_path("photo") == weights_folder() / "photo.safetensors"
    assert weights_path("default").is_file() and weights_path("studio").is_file()
    assert weights_path("other") == weights_folder() / "other.safetensors"
    assert weights_path("some/where.safetensors") == Path("some/where.safetensors")


def test_asking_where_weights_are_does_not_load_torch() -> None:
    script = "import sys, models.shipped, pipeline.detect, pipeline.augment; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
