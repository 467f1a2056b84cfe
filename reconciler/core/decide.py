"""What to do about one run: the first rule that has a decision decides."""

from __future__ import annotations

from reconciler.core import rules_idle, rules_live, ruling


def decide(case: ruling.Case) -> ruling.Decision:
    """Return the decision for one run. Each table's last rule always has one."""
    table = rules_live.TABLE if case.run.live else rules_idle.TABLE
    return next(decision for rule in table if (decision := rule(case)) is not None)
