"""What calibration refuses, and why."""


class CalibrationError(ValueError):
    """A rig, a board or a set of observations cannot be used; the message names the camera and what to film or mend."""
