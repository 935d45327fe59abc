"""What follows the optimizer: to zero when nothing is asked for, and never to zero otherwise."""

from collections.abc import Mapping

#: The cost a variant is given whose cost is not known.
UNKNOWN_COST = 10.0


def enforced(
    targets: Mapping[str, int],
    costs: Mapping[str, float],
    *,
    scale_to_zero: bool,
    requests: float | None,
) -> dict[str, int]:
    """Enforce zero, or one.

    ``requests`` were answered in the last 10 min, None when that query failed. ``costs`` of
    variants that are not known are left out; the new release leaves out those of cost 0 too.
    """
    if scale_to_zero:
        return dict.fromkeys(targets, 0) if requests == 0 else dict(targets)
    if not targets or any(targets.values()):
        return dict(targets)
    cheapest = min(targets, key=lambda name: costs.get(name, UNKNOWN_COST))
    return {**targets, cheapest: 1}
