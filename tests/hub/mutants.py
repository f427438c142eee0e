"""Mutants: small planted bugs of the reactor, each of which some test must find; accounts have a file of their own."""

from __future__ import annotations

from tests.hub.planting import Mutant

COMPLETION, ENDING, INTERIM, LEASING = (
    f"hub/reactor/{name}.py" for name in ("completion", "ending", "interim", "leasing")
)
MEMBERSHIP, REPLAYING, SUBMISSION = (
    f"hub/reactor/{name}.py" for name in ("membership", "replaying", "submission")
)
REACTOR, TABLE, VIEWING, QUEUES = (
    f"hub/reactor/{name}.py" for name in ("reactor", "table", "viewing", "queues")
)
BILLING, PRICES = "domain/billing.py", "domain/prices.py"
LEASES, MONEY, NODES, ROUNDS = (
    f"hub/test_reactor_{name}.py" for name in ("leases", "money", "membership", "rounds")
)
ENDS, FAILURES, GPUS = (f"hub/test_reactor_{name}.py" for name in ("ending", "failures", "gpus"))
PARTS = "hub/test_reactor_interim.py"
REPLAYS = "hub/test_reactor_replay.py"

PROPERTY = (
    # What the stateful property must find.
    Mutant(
        "the fence does not compare attempts",
        COMPLETION,
        "if lease is None or lease.attempt != attempt:",
        "if lease is None:",
    ),
    Mutant(
        "the epoch of an answer does not matter", COMPLETION, "if batch.epoch != state.epoch:", "if False:"
    ),
    Mutant(
        "leases never run out",
        LEASING,
        "leases and node.lease_until < now:",
        "leases and node.lease_until < 0:",
    ),
    Mutant(
        "a node keeps leases it no longer holds",
        MEMBERSHIP,
        "if current.get(task) != lease.attempt]",
        "if False]",
    ),
    Mutant(
        "a node keeps leases of another epoch",
        MEMBERSHIP,
        "current = held if epoch == state.epoch and not repriced else {}",
        "current = held if not repriced else {}",
    ),
    Mutant(
        "a node keeps leases granted at other prices",
        MEMBERSHIP,
        "current = held if epoch == state.epoch and not repriced else {}",
        "current = held if epoch == state.epoch else {}",
    ),
    Mutant(
        "nothing is revoked from a node that comes back", MEMBERSHIP, "    if stale:\n", "    if False:\n"
    ),
    Mutant(
        "an old stream's end disconnects the new one", MEMBERSHIP, "if node.session != session:", "if False:"
    ),
    Mutant("a farewell hands nothing back", MEMBERSHIP, "    if farewell:\n", "    if False:\n"),
    Mutant(
        "a draining node gets work", MEMBERSHIP, "    node.draining = True\n", "    node.draining = False\n"
    ),
    Mutant("a suspended node gets work", VIEWING, " and node.suspended_until <= now", ""),
    Mutant("reserved money is not given back", ENDING, "job.reserved -= reserved", "job.reserved -= 0"),
    Mutant(
        "resources are given back once for all leases",
        ENDING,
        "state.table.demand(job.requirement, gpu), count)",
        "state.table.demand(job.requirement, gpu), 1)",
    ),
    Mutant(
        "stopping one job revokes another's leases",
        ENDING,
        "tasks = [task for task in node.leases if job_of(task) == job.id]",
        "tasks = list(node.leases)",
    ),
    Mutant("retries are one too many", COMPLETION, "if so_far >= allowed:", "if so_far > allowed:"),
    Mutant(
        "what can never succeed runs again",
        COMPLETION,
        'if rule == "never" or job.state.final:',
        "if job.state.final:",
    ),
    Mutant("an attempt's number is given out twice", LEASING, "min(MAX_ATTEMPTS, tries[index] + 1)", "1"),
    Mutant("the budget is not counted down", LEASING, "        left -= reserve\n", ""),
    Mutant(
        "what the budget does not cover is lost",
        LEASING,
        "    job.returned.extendleft(reversed(indices[covered:]))\n",
        "",
    ),
    Mutant(
        "a job ends before it is sealed",
        SUBMISSION,
        "if job.sealed and not job.state.final",
        "if not job.state.final",
    ),
    Mutant("a stopped job stays in its queue", SUBMISSION, "    leave(state, job)\n", ""),
    Mutant("a batch may leave a gap", SUBMISSION, "if first > found.total:", "if False:"),
    Mutant(
        "what was sent again is added again",
        SUBMISSION,
        "payloads.cut(skip, len(payloads.inline)), now)",
        "payloads, now)",
    ),
    Mutant(
        "a submit sent again makes a second job", SUBMISSION, "    if known is not None:\n", "    if False:\n"
    ),
    Mutant(
        "a restart forgets tasks to run again",
        REPLAYING,
        "if job.states[index] == TaskState.QUEUED)",
        "if False)",
    ),
    Mutant(
        "after a restart leases run out at once",
        REPLAYING,
        "node.lease_until = now + state.lease_s",
        "node.lease_until = 0.0",
    ),
    Mutant(
        "restoring an ended job books it on the nodes again",
        REPLAYING,
        "scratch = HubState(state.epoch, state.lease_s)",
        "scratch = HubState(state.epoch, state.lease_s, nodes=state.nodes, table=state.table)",
    ),
    Mutant(
        "an unsafe answer to a repeated result",
        COMPLETION,
        "relaxed = state.stale_results == stale",
        "relaxed = True",
    ),
    Mutant(
        "a node that changed is empty",
        TABLE,
        "self.free[row] = self.capacity[row] - held",
        "self.free[row] = self.capacity[row]",
    ),
    Mutant("demands keep their width when the table widens", TABLE, "        self._demands.clear()\n", ""),
)

EXAMPLE = (
    # What takes an example: rare, or a matter of exact figures.
    Mutant(
        "a restart changes the age of jobs",
        SUBMISSION,
        "if TaskState.QUEUED not in job.states:",
        "if not job.ready:",
        REPLAYS,
    ),
    Mutant(
        "a restart fails on a kind of GPU that left",
        REPLAYING,
        "state.table.know((record.gpu,))",
        "pass",
        GPUS,
    ),
    Mutant(
        "a task lost for good keeps its lease after a restart",
        LEASING,
        "out += end_leased(state, now, job, node, ended, failure, TaskState.FAILED)",
        "end_leased(state, now, job, node, ended, failure, TaskState.FAILED)",
        LEASES,
    ),
    Mutant(
        "an amount may pass its reserve",
        ENDING,
        "return max(lease.paid, min(lease.reserve, asked))",
        "return asked",
        MONEY,
    ),
    Mutant(
        "parts are paid again at the end",
        ENDING,
        "sum(record.amounts) - sum([lease.paid for lease in leases])",
        "sum(record.amounts)",
        PARTS,
    ),
    Mutant(
        "a part's reserve is held on",
        INTERIM,
        "    job.reserved -= amount\n",
        "",
        PARTS,
    ),
    Mutant(
        "a part of another attempt is booked",
        INTERIM,
        "if lease is None or lease.attempt != attempt:",
        "if lease is None:",
        PARTS,
    ),
    Mutant(
        "crumbs are booked",
        INTERIM,
        "1000 * LEAST_PART * state.interim_s",
        "0",
        PARTS,
    ),
    Mutant(
        "a restart forgets parts",
        REPLAYING,
        "            _metered(state, record)\n",
        "            pass\n",
        PARTS,
    ),
    Mutant(
        "a provider's fault is paid",
        COMPLETION,
        "if failure is not None and not failure.rule.paid:",
        "if failure is None and not failure:",
        MONEY,
    ),
    Mutant(
        "the node alone says how long it took",
        ENDING,
        "else min(max(1, reported_ms), seen)",
        "else max(1, reported_ms)",
        MONEY,
    ),
    Mutant(
        "a lease may take no time",
        ENDING,
        "else min(max(1, reported_ms), seen)",
        "else min(reported_ms, seen)",
        MONEY,
    ),
    Mutant("suspension does not grow", COMPLETION, "now + 2.0**node.strikes", "now + 2.0", NODES),
    Mutant(
        "no success clears a suspension",
        COMPLETION,
        "if TaskState.DONE in record.states:",
        "if False:",
        NODES,
    ),
    Mutant(
        "where a task failed is forgotten",
        COMPLETION,
        "frozenset()) | {record.node}",
        "frozenset())",
        FAILURES,
    ),
    Mutant(
        "what comes back waits behind younger jobs",
        COMPLETION,
        "enqueue_again(state, job)\n\n\n",
        "pass\n\n\n",
        FAILURES,
    ),
    Mutant(
        "the newest run time is all that counts",
        COMPLETION,
        "LEARNING_WEIGHT = 0.2",
        "LEARNING_WEIGHT = 1.0",
        ROUNDS,
    ),
    Mutant(
        "a deadline is never noticed",
        REACTOR,
        "job.spec.deadline_at <= now:",
        "job.spec.deadline_at <= 0:",
        ENDS,
    ),
    Mutant(
        "a budget is given up too early",
        REACTOR,
        "and job.ready and not job.running:",
        "and job.ready:",
        MONEY,
    ),
    Mutant(
        "a lease may use up more than is left",
        LEASING,
        "        if left < 0:\n",
        "        if left < -1:\n",
        MONEY,
    ),
    Mutant(
        "a node is priced by GPUs it does not have",
        VIEWING,
        "for kind in fitting_kinds(wanted, node)",
        "for kind in state.table.gpu_kinds or [None]",
        MONEY,
    ),
    Mutant(
        "only the first like job is looked at",
        VIEWING,
        "islice(queue.values(), WINDOW)",
        "islice(queue.values(), 1)",
        ROUNDS,
    ),
    Mutant(
        "retries go on with used-up allowances",
        ENDING,
        "        job.counted.pop(index, None)\n",
        "",
        FAILURES,
    ),
    Mutant(
        "attempts may get old numbers",
        SUBMISSION,
        "MAX_FREE_ATTEMPTS > MAX_ATTEMPTS:",
        "MAX_FREE_ATTEMPTS > 10**6:",
        ENDS,
    ),
    Mutant(
        "a payload is moved for nothing",
        BILLING,
        "self.reserve_fixed + self.per_byte * payload_bytes",
        "self.reserve_fixed",
        MONEY,
    ),
    Mutant(
        "amounts are rounded down",
        PRICES,
        "return -(-numerator // denominator)",
        "return numerator // denominator",
        MONEY,
    ),
)
