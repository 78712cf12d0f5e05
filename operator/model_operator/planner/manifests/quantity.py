"""Kubernetes quantities as exact numbers, so that ``1000m`` equals ``1``."""

from __future__ import annotations

import math
import re
from fractions import Fraction

_QUANTITY = re.compile(
    r"(?P<number>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))"
    r"(?:(?P<suffix>n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)|[eE](?P<exponent>[+-]?[0-9]{1,3}))?",
    re.ASCII,
)
_SCALE: dict[str, Fraction] = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 10**3),
    "k": Fraction(10**3),
    "M": Fraction(10**6),
    "G": Fraction(10**9),
    "T": Fraction(10**12),
    "P": Fraction(10**15),
    "E": Fraction(10**18),
    **{f"{letter}i": Fraction(2 ** (10 * power)) for power, letter in enumerate("KMGTPE", start=1)},
}
_NANO = 10**9
# longer than any real quantity. It limits the time that a hostile number can cost
_LONGEST = 64


def parse_quantity(value: object) -> Fraction | None:
    """The exact value of a quantity, or None if it isn't one.

    Numbers are accepted as YAML has them (``cpu: 0.5``). A value finer than a billionth is rounded up, away from zero,
    as the API server does.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    text = str(value)
    match = _QUANTITY.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        return None
    number = Fraction(match["number"])
    if match["suffix"]:
        number *= _SCALE[match["suffix"]]
    elif match["exponent"]:
        number *= Fraction(10) ** int(match["exponent"])
    nanos = math.ceil(abs(number) * _NANO)
    return Fraction(nanos if number >= 0 else -nanos, _NANO)
