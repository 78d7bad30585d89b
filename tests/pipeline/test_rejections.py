from pathlib import Path

from pipeline.rejections import rejections
from pipeline.store import Ref
from pipeline.tables import AUDIT, SAMPLES, write_rows
from pipeline.types import Artefact


def test_each_reason_of_each_rejected_skeleton_and_image_is_a_line(tmp_path: Path) -> None:
    audit = [
        {"t_ns": 0, "person": 1, "accepted": True, "gates": [], "reasons": []},
        {"t_ns": 500_000_000, "person": 2, "accepted": False, "gates": ["views", "error"], "reasons": ["2 views", "19 px"]},
    ]
    image = {"clip": "walk", "camera": "cam1", "t_ns": 0}
    images = [
        image | {"id": "walk-cam1-000-g3", "verdict": "rejected", "reasons": ["found 1 people, expected 2"]},
        image | {"id": "walk-cam1-000-g4", "verdict": "accepted", "reasons": []},
    ]
    made = []
    for kind, rows, schema in (("audit", audit, AUDIT), ("augment", images, SAMPLES)):
        write_rows(tmp_path / f"{kind}.parquet", [dict.fromkeys(schema.names) | row for row in rows], schema)
        made.append((Ref(clip="walk"), Artefact(kind, tmp_path / f"{kind}.parquet", kind, 2)))
    assert list(rejections(made)) == [
        {"what": "skeleton", "clip": "walk", "time_s": "0.500", "who": "person 2", "reason": "2 views"},
        {"what": "skeleton", "clip": "walk", "time_s": "0.500", "who": "person 2", "reason": "19 px"},
        {"what": "image", "clip": "walk", "time_s": "0.000", "who": "cam1, variant 3", "reason": "found 1 people, expected 2"},
    ]
