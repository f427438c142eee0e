"""Words for features: what it means that one alternative has more, or less, of one than the other."""

from __future__ import annotations

TASK_WORDS = {
    "request": ("longer time limit", "shorter time limit"),
    "expected": ("longer expected run", "shorter expected run"),
    "trust": ("time limit near its expected run", "time limit far above its expected run"),
    "size": ("larger part of the network", "smaller part of the network"),
    "share": ("larger part of the network", "smaller part of the network"),
    "request_area": ("more work by its time limit", "less work by its time limit"),
    "expected_area": ("more work expected", "less work expected"),
    "wait": ("has waited longer", "has waited less"),
    "stretch": ("has waited longer for its length", "has waited less for its length"),
    "request_stretch": ("has waited longer for its time limit", "has waited less for its time limit"),
    "fits": ("fits now", "does not fit now"),
    "leftover": ("leaves more free", "leaves less free"),
    "opening": ("room for it opens later", "room for it opens sooner"),
    "rank": ("came later", "came earlier"),
    "known": ("its run time is known", "its run time is not known"),
    "priority": ("higher priority", "lower priority"),
    "slack": ("more time until its deadline", "less time until its deadline"),
    "due": ("has a deadline", "has no deadline"),
    "load": ("more of its model to fetch", "less of its model to fetch"),
    "gang": ("more tasks start together", "fewer tasks start together"),
    "dependents": ("more tasks wait for it", "fewer tasks wait for it"),
    "options": ("more nodes could run it", "fewer nodes could run it"),
    "spare_budget": ("more budget to spare", "less budget to spare"),
    "gpus": ("asks for more GPUs", "asks for fewer GPUs"),
    "gpu_share": ("asks for more of a GPU", "asks for less of a GPU"),
    "usual": ("such tasks usually run longer", "such tasks usually run shorter"),
    "quick": ("less likely to end soon", "likelier to end soon"),
    "owner_usual": ("its owner's tasks run longer", "its owner's tasks run shorter"),
    "owner_quick": ("its owner's tasks seldom end soon", "its owner's tasks often end soon"),
    "asked_usual": ("tasks with its time limit run longer", "tasks with its time limit run shorter"),
    "asked_quick": ("tasks with its time limit seldom end soon", "tasks with its time limit often end soon"),
    "runs": ("more is known of its owner's tasks", "less is known of its owner's tasks"),
    "crowd": ("its owner has more tasks waiting", "its owner has fewer tasks waiting"),
    "running": ("its owner has more tasks running", "its owner has fewer tasks running"),
    "elapsed": ("its owner's tasks have run longer so far", "its owner's tasks have run less so far"),
    "usual_area": (
        "more work, with what idles until it starts",
        "less work, with what idles until it starts",
    ),
    "held": ("more would idle until it starts", "less would idle until it starts"),
}
"""Task feature -> what it is called where the chosen one has more, and less, of it."""
NODE_WORDS = {
    "free_cpu": ("more cores free", "fewer cores free"),
    "free_memory": ("more memory free", "less memory free"),
    "free_gpu": ("more of its GPUs free", "fewer of its GPUs free"),
    "gpus": ("has more GPUs", "has fewer GPUs"),
    "idle": ("idle", "something runs there already"),
    "wanted": ("GPUs that others wait for", "GPUs that few others wait for"),
    "price": ("dearer machine", "cheaper machine"),
    "hazard": ("leaves more often", "leaves less often"),
    "rtt": ("farther away", "nearer"),
    "reputation": ("better reputation", "worse reputation"),
    "cached": ("fuller cache", "emptier cache"),
}
"""Node feature -> words as in `TASK_WORDS`."""
PAIR_WORDS = {
    "fragments": ("strands more GPUs", "strands fewer GPUs"),
    "left_cpu": ("more of its cores left", "fewer of its cores left"),
    "left_memory": ("more of its memory left", "less of its memory left"),
    "left_gpu": ("more of its GPUs left", "fewer of its GPUs left"),
    "left_cpu_of_largest": ("leaves more cores over", "leaves fewer cores over"),
    "left_gpus_of_largest": ("leaves more GPUs over", "leaves fewer GPUs over"),
    "imbalance": ("leaves cores and GPUs out of balance", "keeps cores and GPUs in balance"),
    "hole": ("more left on a GPU that is shared", "less left on a GPU that is shared"),
    "whole": ("keeps more GPUs whole", "keeps fewer GPUs whole"),
    "needless": ("has GPUs that the task does not need", "has no GPUs to waste"),
    "cpu_per_gpu": ("more cores left for each GPU", "fewer cores left for each GPU"),
    "load": ("more of its model to fetch", "less of its model to fetch"),
    "pace": ("runs it faster", "runs it slower"),
    "cost": ("costs more", "costs less"),
    "survives": ("likelier to stay until it ends", "likelier to leave before it ends"),
    "late": ("closer to missing the deadline", "safer for the deadline"),
    "alike": ("more tasks like it there", "fewer tasks like it there"),
    "soonest": ("would end sooner", "would end later"),
    "redone": ("sooner done, departures counted", "later done, departures counted"),
}
"""Feature of a task on a node -> words as in `TASK_WORDS`."""
GLOBAL_WORDS = {
    "free": "free share of what tasks wait for", "free_gpu": "free share of all GPUs", "queue": "tasks that wait",
    "backlog": "work that waits, as expected", "request_backlog": "work that waits, by time limits",
    "trust": "how near time limits are to expected runs", "spread": "how unlike the waiting tasks' lengths are",
    "passing": "whether small tasks may pass", "fitting": "share of waiting tasks that fit", "nodes": "nodes online",
    "churn": "how often nodes leave", "usual_size": "how large waiting tasks are, on average",
    "usual_time": "how long waiting tasks run, on average",
    "accuracy": "how much of time limits like these is used", "request_time": "the waiting tasks' time limits",
    "habit_time": "how long work like the waiting tasks' usually runs",
}  # fmt: skip
"""Feature of the whole -> what it is."""
HERE = "its model is already there"
"""Said of a node that has nothing to fetch, where the other has."""

_BY_KIND = {"task": TASK_WORDS, "node": NODE_WORDS, "pair": PAIR_WORDS}


def words(kind: str, name: str, chosen: float, other: float) -> str:
    """Return what a difference in one feature means, said of the chosen one."""
    if (kind, name) == ("pair", "load") and chosen <= 0.0 < other:
        return HERE
    more, less = _BY_KIND[kind].get(name, (f"more {name}", f"less {name}"))
    return more if chosen > other else less


def meaning(kind: str, name: str) -> str:
    """Return what a feature tells, for people: what is said where there is more of it."""
    if kind == "global":
        return GLOBAL_WORDS.get(name, name)
    return words(kind, name, 1.0, 0.0)
