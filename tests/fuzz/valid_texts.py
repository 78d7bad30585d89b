"""Valid texts that are broken: a session with everything in it, settings, words of the command line, clothes, a decision."""

# fmt: off
SESSION = {
    "version": 1, "name": "gym", "cameras": ["cam1", "cam2"], "stereo_pairs": [["cam1", "cam2"]],
    "board": "charuco:5x7:0.06:0.045:DICT_4X4_50", "preset": "demo",
    "calibration": {"rig": "rig.yaml", "intrinsics": {"cam1": "raw/board"}, "board_clip": "board",
                    "readout_ms": {"cam1": 12.5}},
    "clips": [
        {"name": "board", "sources": {"cam1": {"path": "raw/b1.mp4"},
                                     "cam2": {"path": "raw/b2.mp4", "crop_px": [0, 0, 64, 48]}}},
        {"name": "walk", "sources": {"cam1": {"path": "raw/*.png", "fps": 30.0, "image_origin_px": [0.5, 0.5]}},
         "clock": {"method": "audio", "offset_s": {"cam1": 0.25}, "drift_ppm": {"cam1": 3.0}},
         "detections": {"cam1": "raw/op"}},
    ],
    "live": {"cam1": {"url": "rtsp://me:***@camera/1"}}, "people": {"walk": {0: "Ada"}},
    "config": {"detect": {"size_px": 64}, "augment": {"enabled": False}},
}  # fmt: skip


SETTINGS = (
    b"detect.size_px=320",
    b"detect.scales=[1.0, 0.5]",
    b"export.name=dataset",
    b"reconstruct.match_share=0.06",
    b"augment.prompts=[a person, {a: 1}]",
    b"detect.weights=photo",
    b"release.splits={train: 0.8, test: 0.2}",
)
WORDS = (b"charuco:5x7:0.06:0.045:DICT_4X4_50", b"chessboard:4x7:0.06 + aprilgrid:6x6:0.088:0.3", b"2x2",
         b"cam1=raw/1.mp4",
          b"cam1=12.5", b"rtsp://user:pass@host:554/live?token=abc")  # fmt: skip


MHCLO = b"""# clothes
name patch
obj_file patch.obj
x_scale 0 1 2.0
verts 0
0
1
0 1 2 0.5 0.25 0.25 0.0 0.0 1.0
delete_verts
3 - 5 9
"""
OBJ = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1/1 2/2 3/3\n"


DECIDED = {"dataset": "ab" * 32, "verdict": "approved", "by": "Ada", "at": "2026-11-26T09:12:00+00:00", "settings": ["a.b=1"]}
