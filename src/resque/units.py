"""Units that small amounts can be read in."""

from __future__ import annotations

from collections.abc import Sequence

ENERGY = ("kWh", "Wh", "mWh")
CARBON = ("kg CO2eq", "g CO2eq", "mg CO2eq")


def fitting_unit(amount: float, units: Sequence[str], least: float = 1.0) -> tuple[str, float]:
    """Return the first unit in which an amount is as much as `least`, or the last, and its factor.

    Args:
        amount: in the first unit.
        units: each a thousandth of the one before.
        least: a number of the unit.

    Returns:
        The unit, and what to multiply amounts in the first unit with.

    >>> fitting_unit(0.041, ENERGY), fitting_unit(0.041, ENERGY, 0.01)
    (('Wh', 1000.0), ('kWh', 1.0))
    """
    factors = [1000.0**i for i in range(len(units))]
    pairs = list(zip(units, factors, strict=True))
    return next((pair for pair in pairs if amount * pair[1] >= least), pairs[-1])
