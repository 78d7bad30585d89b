"""Arrays and cameras: rig calibration, rectification and triangulation.

Conventions that hold everywhere in posemill
--------------------------------------------
* Camera axes: x right, y down, z forward (OpenCV). World: right-handed, z up, metres.
* Pixel (0, 0) is the centre of the top-left pixel. Resizing by s maps x to ``(x + .5) * s - .5`` (`transforms.scale_px`).
* ``a_from_b`` maps coordinates in b to coordinates in a: ``cam_from_world``, ``px_from_cam``.
* Units stand in names wherever a bare number travels: ``_px _m _ns _rad _deg _fps``. Time is int64 nanoseconds.
* Images are RGB uint8 (H, W, 3); sizes are ``size_wh`` or ``shape_hw``. A missing coordinate is NaN with score 0.
* Geometry is float64, networks are float32.
* Letters in docstrings: C cameras, F instants, P people, J joints, M board corners, N points, K tag dimensions, H x W pixels.
* 2D poses live in the pixel frame of their clip's own images; undistortion happens inside triangulation and nowhere else.
"""
