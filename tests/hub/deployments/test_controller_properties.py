"""The controller under any order of events: what answers is never taken away in vain, and it always settles."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from farlane.domain.deployments import ReplicaState, ScalePolicy, UpdatePolicy
from farlane.hub.deployments import events
from farlane.testing.deployment_world import DeploymentWorld

READY = ReplicaState.READY
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["submit", "refuse", "place", "ready", "unready", "unplace", "leave", "strand", "drained", "end",
             "crash", "name", "canary", "load", "wait", "scale", "turn"]
        ),
        st.integers(0, 6),
    ),
    max_size=60,
)  # fmt: skip
UPDATES = st.builds(
    lambda surge, unavailable, canary: UpdatePolicy(
        max_surge=surge if surge or unavailable else 1, max_unavailable=unavailable, canary_percent=canary
    ),
    st.integers(0, 2),
    st.integers(0, 1),
    st.sampled_from([0, 10, 50]),
)
SCALES = st.builds(
    lambda low, more: ScalePolicy(
        min_replicas=low, max_replicas=max(2, low + more), target_in_flight=2, idle_s=20.0
    ),
    st.integers(0, 3),
    st.integers(0, 3),
)


def take(world: DeploymentWorld, step: str, number: int) -> None:
    """Let one thing happen; which replica or version it is about follows from the number."""
    jobs = sorted(world.record.replicas)
    job = jobs[number % len(jobs)] if jobs else None
    match step:
        case "submit" if world.submissions:
            world.submit_next()
        case "refuse" if world.submissions:
            version = world.submissions.pop()
            world.tell(events.SubmissionRefused(world.now, world.deployment.id, version, "quota"))
        case "name":
            world.name("abc"[number % 3])
        case "canary":
            world.name(["", "a", "b", "c"][number % 4], canary=True)
        case "load":
            world.load(number, number * 2)
        case "wait":
            world.wait(number * 10.0)
        case "scale":
            world.scale(max_replicas=max(2, world.deployment.scale.min_replicas + number))
        case "turn":
            world.turn()
        case _ if job is not None:
            about(world, step, job)


def about(world: DeploymentWorld, step: str, job: int) -> None:
    """Let something happen to one replica."""
    now, known = world.now, {each for each in world.record.replicas if each == job}
    for each in known:
        match step:
            case "place":
                world.tell(events.ReplicaPlaced(now, each, "n1"))
            case "ready":
                world.tell(events.ReplicaReady(now, each))
            case "unready":
                world.tell(events.ReplicaUnready(now, each))
            case "unplace":
                world.tell(events.ReplicaPlaced(now, each, ""))
            case "leave":
                world.tell(events.ReplicaLeaving(now, each))
            case "strand":
                world.tell(events.ReplicaLeaving(now, each, nowhere=True))
            case "drained" if each in world.draining:
                world.tell(events.ReplicaDrained(now, each))
            case "end":
                world.end(each, own_fault=False)
            case "crash":
                world.end(each)


def test_of_two_old_replicas_the_one_whose_node_leaves_goes_first() -> None:
    """Else the other one is drained as one too many, and this one as its node goes: nobody would answer."""
    world = DeploymentWorld(
        update=UpdatePolicy(max_surge=1, max_unavailable=0, canary_percent=0),
        scale=ScalePolicy(min_replicas=0, max_replicas=2, target_in_flight=2, idle_s=20.0),
    )
    world.name("a")
    for step, number in [("load", 1), ("turn", 0), ("leave", 1), ("name", 1)]:
        take(world, step, number)
    world.scale()
    world.load(0, 1)
    world.wait(100.0)  # checks who was drained
    assert world.record.ready()


@settings(deadline=None, max_examples=120)
@given(STEPS, UPDATES, SCALES)
def test_whatever_happens_it_settles_on_what_is_wanted(
    steps: list[tuple[str, int]], update: UpdatePolicy, scale: ScalePolicy
) -> None:
    world = DeploymentWorld(update=update, scale=scale)
    world.name("a")
    for step, number in steps:
        take(world, step, number)
    world.scale()  # who changes a deployment has it tried anew
    world.load(0, 1)
    world.wait(100.0)
    world.settle(turns=150)
    record = world.record
    ready = record.ready()
    assert not record.failed
    assert len([each for each in ready if each.version == record.goal]) == record.wanted
    assert {each.version for each in ready} <= {record.goal, record.trial}
    assert record.goal == record.target
    assert not world.draining
    assert not world.submissions
