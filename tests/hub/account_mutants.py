"""Mutants of accounts, caps and quotas: small planted bugs, each of which some test must find."""

from __future__ import annotations

from tests.hub.planting import Mutant

ENDING = "hub/reactor/ending.py"
LEASING = "hub/reactor/leasing.py"
QUEUES = "hub/reactor/queues.py"
REACTOR = "hub/reactor/reactor.py"
SUBMISSION = "hub/reactor/submission.py"
ACCOUNTS, ACCOUNT = "hub/reactor/accounts.py", "hub/reactor/account.py"
CAPPED, QUOTAS = "hub/test_reactor_accounts.py", "hub/test_reactor_quotas.py"
BOARD = "scheduler/board.py"

ACCOUNT_MUTANTS = (
    Mutant(
        "an account reserves nothing",
        LEASING,
        "account.take(reserved)",
        "account.take(0)",
        CAPPED,
    ),
    Mutant(
        "an account gives nothing back",
        ENDING,
        "account.give(reserved)",
        "account.give(0)",
        CAPPED,
    ),
    Mutant("an account is charged nothing", ENDING, "account.pay(amount)", "account.pay(0)", CAPPED),
    Mutant(
        "what is reserved counts against no cap",
        ACCOUNT,
        "- self._spent(budget) - self.reserved))",
        "- self._spent(budget)))",
        CAPPED,
    ),
    Mutant(
        "a retried job is charged to nobody",
        SUBMISSION,
        "job.accounts = accounts  # a job",
        "pass  # a job",
        CAPPED,
    ),
    Mutant("every tick begins a month", ACCOUNTS, "if month > self.month:", "if True:", CAPPED),
    Mutant(
        "an empty account ends a job",
        REACTOR,
        "viewing.own_left(job)",
        "viewing.money_left(job) or 0",
        CAPPED,
    ),
    Mutant(
        "a project spends its organisation's money only", ACCOUNTS, "if spec.project:", "if False:", CAPPED
    ),
    Mutant(
        "a lease too many fits the quota",
        ACCOUNT,
        "max(0, most - self.used.get(quota, 0))",
        "max(0, most - self.used.get(quota, 0) + 1)",
        CAPPED,
    ),
    Mutant(
        "ended leases still fill their quota",
        ENDING,
        "account.occupy(needs(job.spec.resources, gpu), -count)",
        "pass",
        QUOTAS,
    ),
    Mutant("open tasks are never counted down", ENDING, "account.open(-len(record.indices))", "pass", QUOTAS),
    Mutant("jobs of one account each get all that is left", BOARD, "self.left[limit] -=", "_ =", QUOTAS),
    Mutant("a project's queue stands in its organisation's", QUEUES, "job.spec.project\n", '""\n', QUOTAS),
    Mutant("an administrator raises a ceiling", ACCOUNT, "min(most, limits.get(name, most))", "most", QUOTAS),
    Mutant(
        "the total begins anew each month", ACCOUNT, "self.total += amount", "self.total = self.spent", QUOTAS
    ),
)
