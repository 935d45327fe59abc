"""Every law of a peer against the answers of the peer's own code."""

import math

import pytest

from simulations.peers.vectors import Compared, VectorSet
from simulations.trust.golden import GOLDEN, SETS, compared

needs_golden = pytest.mark.skipif(
    not GOLDEN.is_dir(), reason=f"golden vectors of the peers are not at {GOLDEN}"
)
CASES = [(vectors, file) for vectors in SETS for file in vectors.files]


@needs_golden
@pytest.mark.parametrize(("vectors", "file"), CASES, ids=[file for _, file in CASES])
def test_answers_are_the_peers_own(vectors: VectorSet, file: str) -> None:
    """Every answer in the file is ours too, within the tolerance of the file."""
    answers = list(compared(vectors, file))
    assert answers
    wrong = [answer for answer in answers if not answer.agrees]
    assert not wrong, f"{len(wrong)} of {len(answers)} differ, first: {wrong[:3]}"


@needs_golden
def test_no_file_is_left_out() -> None:
    """Every file that is there is in exactly one set of one peer."""
    assert sorted(file for _, file in CASES) == sorted(path.stem for path in GOLDEN.glob("*.json"))


def test_an_answer_agrees_within_its_tolerance_only() -> None:
    """No decision equals no decision only, and a tolerance is relative or absolute."""
    assert Compared(at="", expected=None, found=None).agrees
    assert not Compared(at="", expected=None, found=1.0).agrees
    assert not Compared(at="", expected=1.0, found=math.nan, relative=0.5).agrees
    assert Compared(at="", expected=100.0, found=101.0, relative=0.01).agrees
    assert not Compared(at="", expected=100.0, found=101.1, relative=0.01).agrees
    assert Compared(at="", expected=0.0, found=0.01, absolute=0.02).agrees
