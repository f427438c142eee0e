"""The words of the generated reference that have no home in the code: one line per job-file key, failure, variable."""

from __future__ import annotations

JOB_KEYS: dict[str, tuple[str, str, str]] = {
    "name": ("text", "the file's name", "Job name, at most 100 characters; run times are learnt under it."),
    "resources": ("mapping", "one core, 1GiB", "What one task reserves; see below."),
    "workdir": ("path", "none", "Directory whose files are put into the task's working directory."),
    "setup": ("text", "none", "Shell script that runs before `run`, in the same directory and time limit."),
    "run": ("text", "required", "Shell script of one task."),
    "env": ("mapping", "none", "Environment variables; values are texts."),
    "retry": ("0 to 100", "0", "How often a task that failed by its own fault runs again."),
    "priority": ("0 to 100", "50", "Higher first; waiting adds a point a minute."),
    "max_duration": ("duration", "1h", "Longest run of one attempt, at most 30 days."),
    "deadline": ("duration or moment", "none", "When every task must have ended; the rest fails then."),
    "max_price": ("credits", "none", "The most an hour of one task's resources may cost."),
    "budget": ("credits", "none", "The most the whole job may cost."),
    "inputs": (
        "list or mapping",
        "none",
        "Files and directories to bring along; a mapping is target: source.",
    ),
    "outputs": ("list", "none", "Files to keep, as paths or globs inside the working directory."),
    "tasks": ("1 to 16777216", "1", "How many tasks; each sees its own FARLANE_TASK_INDEX, from 0."),
    "durability": ("durable, relaxed", "durable", "`relaxed` acknowledges before the hub's disk has it."),
    "labels": ("mapping", "none", "Labels that a node must have, such as `zone: north`."),
    "estimate": ("duration", "learnt", "Expected run time of one task; what was learnt under the name wins."),
    "project": (
        "text",
        "none",
        "What the work is charged to inside your organisation; `farlane usage` sums by it.",
    ),
}
"""Key of a job file -> (what it takes, default, meaning)."""

RESOURCE_KEYS: dict[str, tuple[str, str, str]] = {
    "cpu": ("cores", "1", "Such as 2, 0.5 or 500m."),
    "memory": ("size", "1GiB", "Such as 512MB (decimal) or 2GiB (binary); a task above it is killed."),
    "gpu": ("GPUs", "none", "`A100:1`, `24GB` (any model with that much), `A100-80GB:2` or a count."),
    "disk": ("size", "1GiB", "Scratch space; also bounds input and output files."),
}
"""Key below `resources` -> (what it takes, default, meaning)."""

NOT_BUILT: dict[str, str] = {
    "image": "container image; tasks run as processes of the node's own system",
    "secrets": "values that must not stand in the file",
    "ports": "network ports that a task serves",
    "nodes": "one task on several nodes at once; 1 is accepted",
    "model": "a model of the repository as input",
    "verify": "running a task several times and comparing",
}
"""Key that is known but refused -> what it will mean."""

FAILURES: dict[str, str] = {
    "exception": "the function raised",
    "exit-code": "the command ended with another exit code than 0",
    "worker-exit": "the function ended its whole process (`os._exit`, `sys.exit`)",
    "signal": "the process was killed by a signal, such as a segmentation fault",
    "timeout": "an attempt ran longer than `timeout` or `max_duration`",
    "memory": "the task and its children held more memory than they had reserved",
    "disk": "the task wrote more than it had reserved",
    "bad-payload": "the function or its arguments cannot be opened in the worker",
    "result-too-large": "the result or an output file is beyond its cap",
    "result-unpicklable": "the result cannot be pickled",
    "environment": "the packages of `requires` cannot be installed on the node",
    "cancelled": "somebody stopped the job",
    "deadline": "the job's deadline passed",
    "budget": "what is left of the budget does not cover another attempt",
    "node-lost": "the node was silent for longer than its lease",
    "refused": "the node would not run it, whatever the hub thought",
    "handed-back": "the node is leaving and gave the task back",
    "lost": "the node lost the task for a reason of its own",
    "blob": "an input, the function or a result could not be transferred or did not match its hash",
    "preempted": "the hub took the lease back for work of higher priority (`hub.preempt`)",
}
"""Kind of failure -> what happened."""

VARIABLES: dict[str, str] = {
    "FARLANE_DIR": "Directory of the network on this machine; `~/.farlane` where it is not set.",
    "FARLANE_URL": "The hub that commands and programs talk to; needs FARLANE_TOKEN beside it.",
    "FARLANE_TOKEN": "The client token that goes with FARLANE_URL.",
    "FARLANE_JOIN_TOKEN": "The join token for `farlane join`, out of sight of other users of the machine.",
    "FARLANE_JOB": "Set inside a task: its job, such as `j12`.",
    "FARLANE_TASK_INDEX": "Set inside a task: its index in the job, from 0.",
    "FARLANE_EXECUTOR": "Set inside a task: marks the processes of one node, so that none is left behind.",
    "FARLANE_KEYS": "Directory of a person's keys; `~/.config/farlane/keys` where it is not set.",
    "FARLANE_KEY_PASSWORD_FILE": "File (0600 or 0400) with the password of the keys, in place of a prompt.",
    "FARLANE_IPFS_API": "URL of the RPC API of a running kubo, for `farlane models ipfs`.",
    "FARLANE_IPFS_SECRET": "The secret of that kubo's `API.Authorizations`: `bearer:TOKEN`, `basic:USER:PASSWORD`.",
    "FARLANE_UNSAFE_KEY": "A raw key, for CI alone: read only with `--unsafe-key-from-environment`.",
}
"""Environment variable that is no setting -> meaning."""
