"""One adaptive solver for the equations of a flow, which says why it stops."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

Array = NDArray[np.float64]


def solve(
    rates: Callable[[float, Array], Array], begin: Array, span: tuple[float, float], rtol: float, atol: float
) -> tuple[Array, int]:
    """The state (N,) at the end of a span of time, by a Runge-Kutta method of order 5 (Dormand & Prince 1980), and how many
    rates it took. Raises ValueError when a rate is not finite or the steps would become too small.
    """

    def finite(t: float, state: Array) -> Array:
        found = rates(t, state)
        if not np.isfinite(found).all():
            raise ValueError(
                f"solve: the rate of change at t = {t:.6g} is not finite; the model's prediction there is not usable"
            )
        return found

    solved = solve_ivp(finite, span, begin, method="RK45", rtol=rtol, atol=atol, t_eval=span[1:])
    if not solved.success:
        raise ValueError(f"solve: the ODE could not be solved from t = {span[0]:g} to {span[1]:g}: {solved.message}")
    return solved.y[:, -1].copy(), int(solved.nfev)
