"""Who saved what: the one claim a comparison makes in words, and only where it is true."""

from simulations.report.document import PolicyPart, ResultsDocument

#: The policy whose savings are told, where it took part.
SUBJECT = "steelyard"

#: Policies named one by one; of a longer list the rest are counted.
NAMED = 3


def _subject(document: ResultsDocument) -> PolicyPart | None:
    named = (policy for policy in document.policies if policy.name == SUBJECT)
    return next(named, document.best)


def _beaten(document: ResultsDocument, subject: PolicyPart) -> list[tuple[str, float]]:
    """Policies that cost more and attain no more, with the share saved, the smallest first."""
    attained = subject.attainment
    if attained is None:
        return []
    pairs = [
        (other.name, 1.0 - subject.cost / other.cost)
        for other in document.policies
        if other.name != subject.name
        and other.cost > subject.cost
        and other.attainment is not None
        and attained >= other.attainment
    ]
    return sorted(pairs, key=lambda pair: pair[1])


def _listed(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def savings_sentence(document: ResultsDocument) -> str:
    """What the subject saved against every policy that attains no more than it does."""
    subject = _subject(document)
    if subject is None:
        return f"No policy attained the target of {100 * document.slo.target:.4g} %."
    beaten = _beaten(document, subject)
    if beaten:
        parts = [f"{100 * saved:.1f} % below {name}" for name, saved in beaten[:NAMED]]
        if len(beaten) > NAMED:
            parts.append(f"more below {len(beaten) - NAMED} others")
        text = f"{subject.name}: cost {_listed(parts)}, at equal or better attainment."
    elif len(document.policies) > 1:
        text = f"{subject.name}: cost below no other policy at equal or better attainment."
    else:
        text = f"{subject.name}: the only policy that was run."
    if not document.meets_target(subject):
        attained = "unknown" if subject.attainment is None else f"{100 * subject.attainment:.3f} %"
        text += (
            f" It attained {attained}, short of the target of {100 * document.slo.target:.4g} %."
        )
    return text
