"""Which request sizes matter: DBSCAN on counts per rounded (log2 prompt, log2 output) pair.

The gateway counts requests on a grid of .1 in log2, so most points coincide and all lie on a
lattice; the answer is the algorithm's own (Ester et al. 1996), found with image operations in a
hundredth of the time that points would take. A size on the border of two clusters goes to the
nearer one, which the algorithm leaves to the order of the points.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Array = NDArray[np.float64]

#: Grid of the gateway's counts, in log2 of tokens.
PRECISION = 0.1
#: DBSCAN's radius (log2 of tokens) and requests within it that make a core.
RADIUS = 0.5
LEAST_REQUESTS = 10.0
_REACH = round(RADIUS / PRECISION)
_STEPS = np.arange(-_REACH, _REACH + 1)
_DISC = np.hypot(*np.meshgrid(_STEPS, _STEPS)) <= RADIUS / PRECISION + 1e-9
#: Steps to the cells within reach that come later; the earlier ones see the same pairs.
_AHEAD = np.argwhere(_DISC)[_DISC.sum() // 2 + 1 :] - _REACH


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster's centre in log2 of prompt and output tokens, and the requests in it."""

    prompt: float
    output: float
    requests: float


def clusters(counts: Array) -> tuple[Cluster, ...]:
    """Clusters of requests, ``counts`` by prompt and output cell of ``PRECISION``, from 0 on."""
    if not counts.any():
        return ()
    # Everything below works on the part of the grid that holds requests.
    held = [np.flatnonzero(counts.any(axis=axis)) for axis in (1, 0)]
    corner = (held[0][0], held[1][0])
    counts = counts[corner[0] : held[0][-1] + 1, corner[1] : held[1][-1] + 1]
    near = ndimage.convolve(counts, _DISC.astype(np.float64), mode="constant")
    core = (counts > 0.0) & (near >= LEAST_REQUESTS)
    if not core.any():
        return ()
    labels, number = _connected(core)
    distance, nearest = ndimage.distance_transform_edt(~core, return_indices=True)
    reached = (distance <= RADIUS / PRECISION + 1e-9) & (counts > 0.0)
    owners = labels[tuple(nearest)][reached]
    weights = counts[reached]
    prompts, outputs = np.nonzero(reached)
    requests = np.bincount(owners, weights, number)
    centres = [
        PRECISION * (np.bincount(owners, weights * cells, number) / requests + first)
        for cells, first in zip((prompts, outputs), corner, strict=True)
    ]
    return tuple(
        Cluster(float(prompt), float(output), float(count))
        for prompt, output, count in zip(*centres, requests, strict=True)
    )


def _connected(core: NDArray[np.bool_]) -> tuple[NDArray[np.int64], int]:
    """Number the cores (elsewhere -1) so that those within reach of each other share a number."""
    touching, number = ndimage.label(core, structure=np.ones((3, 3)))
    labels = touching.astype(np.int64) - 1
    if number == 1:
        return labels, 1
    # Only cells at a component's edge can be near to another's.
    edge = core & ~ndimage.binary_erosion(core, structure=np.ones((3, 3)), border_value=1)
    padded = np.pad(labels, _REACH, constant_values=-1)
    width = padded.shape[1]
    down, right = (cells + _REACH for cells in np.nonzero(edge))
    steps = _AHEAD[:, 0] * width + _AHEAD[:, 1]
    here = padded.ravel()[down * width + right]
    there = padded.ravel()[(down * width + right)[:, None] + steps]
    rows, columns = np.nonzero((there >= 0) & (there != here[:, None]))
    first, second = here[rows], there[rows, columns]
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(number, number))
    joined, merged = connected_components(graph, directed=False)
    return np.where(labels >= 0, merged[labels], -1), int(joined)
