from pathlib import Path

from pipeline.lineage import lineage, mermaid, revision
from pipeline.store import Ref
from pipeline.types import Artefact


def _made() -> list[tuple[Ref, Artefact]]:
    frames = Artefact("ingest", Path("clips/walk/ingest-1.parquet"), "i" * 64, 12)
    rig = Artefact("calibrate", Path("rig/2"), "c" * 64, 2)
    poses = [Artefact("detect", Path(f"clips/walk/detect-{n}.parquet"), f"{n}" * 64, 10) for n in range(2)]
    skeletons = Artefact("reconstruct", Path("clips/walk/reconstruct-5.parquet"), "r" * 64, 6)
    return [
        (Ref(clip="walk"), frames),
        (Ref((frames,)), rig),
        *((Ref((frames,), "walk", f"cam{n}"), pose) for n, pose in enumerate(poses)),
        (Ref((frames, rig, *poses), "walk"), skeletons),
    ]


def test_the_graph_joins_parts_and_leaves_out_arrows_that_go_by_way_of_others() -> None:
    graph = mermaid(_made())
    assert '["<b>detect</b> walk<br>20 rows, 2 parts"]' in graph
    assert '["<b>reconstruct</b> walk<br>6 rows<br>rrrrrrrr"]' in graph
    arrows = sorted(line.strip() for line in graph.splitlines() if "-->" in line)
    assert arrows == ["n0 --> n1", "n0 --> n2", "n1 --> n3", "n2 --> n3"]  # not n0 --> n3


def test_records_are_those_of_the_manifests(tmp_path: Path) -> None:
    (tmp_path / "ingest-1.json").write_text('{"stage": "ingest", "digest": "d", "rows": 3, "other": 1}')
    there = Artefact("ingest", tmp_path / "ingest-1.parquet", "d", 3)
    [step] = lineage([(Ref(), there), (Ref(), Artefact("detect", tmp_path / "gone.parquet", "e", 0))])
    assert (step["stage"], step["rows"], "other" in step) == ("ingest", 3, False)


def test_the_revision_names_version_and_commit() -> None:
    assert revision().startswith("0.1.0")
