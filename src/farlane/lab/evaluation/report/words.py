"""What a report says in words: the summary at its head, and where the policy loses."""

from __future__ import annotations

from collections.abc import Sequence

from farlane.lab.evaluation.assessment import Assessment
from farlane.lab.evaluation.rivals import Kind
from farlane.lab.evaluation.standings import Standing, summary
from farlane.lab.evaluation.statistics import Verdict

PUBLISHED_FGD = "FGD (fixed ties)"


def headline(assessment: Assessment) -> str:
    """Return one sentence on held-out sequences and one on lists."""
    parts = []
    if assessment.held_out:
        parts.append(f"On held-out sequences {_counted(assessment.held_out, 'settings')}.")
    if assessment.lists:
        parts.append(f"On lists of GPU tasks {_counted(assessment.lists, 'lists')}.")
    return " ".join(parts)


def losses(assessment: Assessment) -> list[str]:
    """Return what has to be admitted, a sentence each; never empty."""
    said = []
    for each in (*assessment.held_out, *assessment.lists):
        best, signs = each.best, each.best.signs
        if best.verdict is Verdict.WORSE:
            said.append(f"{each.setting}: {best.rival} is better, {_gap(each)}.")
        elif best.verdict is Verdict.OPEN:
            said.append(
                f"{each.setting}: no difference to {best.rival} can be shown, {_gap(each)}; "
                f"{signs.below} won, {signs.above} lost."
            )
        elif each.kind is Kind.QUEUE and each.worst > 1.25:
            said.append(
                f"{each.setting}: better than {best.rival} in all, and yet {signs.above} of {each.cases} "
                "sequences are "
                f"lost, the worst by a factor of {each.worst:.1f}."
            )
    if assessment.seen:
        said.append(
            f"The weights may have been trained on other jobs of {', '.join(assessment.seen)}: what is judged "
            "here are "
            "other stretches of the same logs, not other machines."
        )
    return said or ["Nowhere in what was measured here. Other traces will tell more."]


def _counted(standings: Sequence[Standing], what: str) -> str:
    counts = summary(standings)
    return (
        f"it is better than the best rule in hindsight in {counts[Verdict.BETTER]} of {len(standings)} "
        f"{what}, worse in "
        f"{counts[Verdict.WORSE]}, and in {counts[Verdict.OPEN]} nobody can tell"
    )


def _gap(each: Standing) -> str:
    gap = each.best.gap
    if each.kind is Kind.QUEUE:
        return f"the ratio is {gap.value:.2f} (95 % interval {gap.low:.2f} to {gap.high:.2f})"
    return f"by {gap.value:+.2f} points of GPUs left over (95 % interval {gap.low:+.2f} to {gap.high:+.2f})"
