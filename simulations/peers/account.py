"""A peer's decision in the words of ours: its law proposes, its own guards limit."""

from collections.abc import Sequence

from controller.core.domain.decision import Allocation, Decision, DecisionStep, Reason, Stage
from controller.core.domain.policy import Policy


def peer_decision(
    policy: Policy,
    observed: Allocation,
    proposed: Allocation,
    limits: Sequence[tuple[Reason, Allocation]] = (),
    kept_for: Reason | None = None,
) -> Decision:
    """Tell a decision as steps: ``observed`` to ``proposed`` by the law, then through ``limits``.

    A limit that changed nothing leaves no step. ``kept_for`` says why the law left a variant as
    it was without judging it. The last step that changed something names what bound the decision.
    """
    steps = []
    if kept_for is not None:
        steps.append(DecisionStep(Stage.OBSERVE, kept_for, observed, observed))
    if kept_for is None or proposed != observed:
        steps.append(DecisionStep(Stage.OPTIMISE, Reason.PEER_LAW, observed, proposed))
    for reason, after in limits:
        if after != steps[-1].after:
            steps.append(DecisionStep(Stage.GUARD, reason, steps[-1].after, after))
    allocation = steps[-1].after
    return Decision(
        allocation=allocation,
        weights=None,
        steps=tuple(steps),
        binding=steps[-1].reason,
        cost_per_hour=sum(
            variant.cost_per_replica_hour * replicas
            for variant, replicas in zip(policy.variants, allocation, strict=True)
        ),
    )
