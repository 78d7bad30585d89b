"""Pose2Sim from detections to filtered trajectories, with the settings of its own demo; runs in a Python that has it.

python peer_pose2sim.py PROJECT    PROJECT: calibration/*.toml and pose/CAMERA_json/*.json; prints seconds as JSON
"""

import json
import logging
import sys
import time
from pathlib import Path

import Pose2Sim
import rtoml
from Pose2Sim import filtering, personAssociation, triangulation

FPS = 60


def main(project: Path) -> None:
    config = rtoml.load(Path(Pose2Sim.__file__).parent / "Demo_SinglePerson" / "Config.toml")
    config["project"] |= {"project_dir": str(project), "frame_rate": FPS, "frame_range": "all", "multi_person": True}
    config["pose"]["pose_model"] = "COCO_17"
    config["personAssociation"]["single_person"]["tracked_keypoint"] = "LShoulder"  # these joints have no neck
    config["triangulation"] |= {"make_c3d": False, "show_interp_indices": False}
    config["filtering"] |= {"display_figures": False, "save_filt_plots": False, "make_c3d": False}
    logging.disable(logging.WARNING)
    seconds = {}
    for name, run in (
        ("association", personAssociation.associate_all),
        ("triangulation", triangulation.triangulate_all),
        ("filtering", filtering.filter_all),
    ):
        begin = time.process_time()
        run(config)
        seconds[name] = time.process_time() - begin
    print(json.dumps(seconds))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
