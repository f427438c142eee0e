"""Every SQL statement of the SQLite store, by name."""

from __future__ import annotations

# --- tables -------------------------------------------------------------------------------------------------
# One row is one record (a batch of tasks), never one task. `pos` is the record's place in the hub's history,
# counted over all tables. What is searched or summed is an integer column; the rest is a packed blob, and the
# large blob stands last so that reading the columns before it does not touch its pages.

SCHEMA = """
CREATE TABLE properties (name TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
CREATE TABLE jobs (
    job INTEGER PRIMARY KEY, pos INTEGER NOT NULL, publisher TEXT NOT NULL, key TEXT NOT NULL, at REAL NOT NULL,
    spec BLOB NOT NULL, UNIQUE (publisher, key)) STRICT;
CREATE TABLE open_jobs (job INTEGER PRIMARY KEY) STRICT;
CREATE TABLE tasks_added (
    pos INTEGER PRIMARY KEY, job INTEGER NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL,
    at REAL NOT NULL, sizes BLOB NOT NULL, payloads BLOB NOT NULL) STRICT;
CREATE INDEX tasks_added_of_job ON tasks_added (job, first);
CREATE TABLE jobs_sealed (pos INTEGER PRIMARY KEY, job INTEGER NOT NULL, total INTEGER NOT NULL) STRICT;
CREATE INDEX jobs_sealed_of_job ON jobs_sealed (job);
CREATE TABLE tasks_leased (
    pos INTEGER PRIMARY KEY, job INTEGER NOT NULL, node TEXT NOT NULL, copy INTEGER NOT NULL, at REAL NOT NULL,
    details BLOB NOT NULL) STRICT;
CREATE INDEX tasks_leased_of_job ON tasks_leased (job);
CREATE TABLE tasks_ended (
    pos INTEGER PRIMARY KEY, job INTEGER NOT NULL, seq INTEGER NOT NULL, count INTEGER NOT NULL,
    node TEXT NOT NULL, at REAL NOT NULL, done INTEGER NOT NULL, failed INTEGER NOT NULL,
    stopped INTEGER NOT NULL, spent INTEGER NOT NULL, lease_ms INTEGER NOT NULL, details BLOB NOT NULL,
    results BLOB NOT NULL) STRICT;
CREATE INDEX tasks_ended_of_job ON tasks_ended (job, seq);
CREATE TABLE attempts_failed (
    pos INTEGER PRIMARY KEY, job INTEGER NOT NULL, count INTEGER NOT NULL, node TEXT NOT NULL, at REAL NOT NULL,
    spent INTEGER NOT NULL, lease_ms INTEGER NOT NULL, details BLOB NOT NULL) STRICT;
CREATE INDEX attempts_failed_of_job ON attempts_failed (job);
CREATE TABLE tasks_requeued (
    pos INTEGER PRIMARY KEY, job INTEGER NOT NULL, at REAL NOT NULL, details BLOB NOT NULL) STRICT;
CREATE INDEX tasks_requeued_of_job ON tasks_requeued (job);
CREATE TABLE jobs_ended (
    pos INTEGER PRIMARY KEY, job INTEGER NOT NULL, state TEXT NOT NULL, at REAL NOT NULL,
    reason TEXT NOT NULL) STRICT;
CREATE INDEX jobs_ended_of_job ON jobs_ended (job);
CREATE TABLE summaries (
    job INTEGER PRIMARY KEY, pos INTEGER NOT NULL UNIQUE, publisher TEXT NOT NULL, state TEXT NOT NULL,
    first_lease_at REAL NOT NULL, ended_at REAL NOT NULL, total INTEGER NOT NULL, done INTEGER NOT NULL,
    failed INTEGER NOT NULL, stopped INTEGER NOT NULL, spent INTEGER NOT NULL, lease_ms INTEGER NOT NULL,
    retries INTEGER NOT NULL, reason TEXT NOT NULL, kept INTEGER NOT NULL) STRICT;
CREATE INDEX summaries_of_publisher ON summaries (publisher, pos);
CREATE INDEX summaries_kept ON summaries (ended_at) WHERE kept;
CREATE TABLE nodes (node TEXT PRIMARY KEY, pos INTEGER NOT NULL, secret_sha256 BLOB NOT NULL, at REAL NOT NULL,
    spec BLOB NOT NULL) STRICT;
CREATE TABLE run_times (profile TEXT PRIMARY KEY, pos INTEGER NOT NULL, mean_ms REAL NOT NULL,
    count INTEGER NOT NULL) STRICT;
"""
# What schema 2 adds: the books. Amounts of more than 64 bits are texts of digits. Leaves are never deleted.
BOOKS_SCHEMA = """
CREATE TABLE books (book INTEGER PRIMARY KEY, pos INTEGER NOT NULL, organisation TEXT NOT NULL, node TEXT NOT NULL,
    node_organisation TEXT NOT NULL, payer TEXT NOT NULL, provider TEXT NOT NULL, signer TEXT NOT NULL,
    salt BLOB NOT NULL, at REAL NOT NULL) STRICT;
CREATE TABLE leaves (
    pos INTEGER PRIMARY KEY, book INTEGER NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL,
    job INTEGER NOT NULL, at REAL NOT NULL, owed TEXT NOT NULL, frontier BLOB NOT NULL, leaves BLOB NOT NULL) STRICT;
CREATE UNIQUE INDEX leaves_of_book ON leaves (book, first);
CREATE INDEX leaves_of_job ON leaves (job);
CREATE TABLE vouchers (
    pos INTEGER PRIMARY KEY, book INTEGER NOT NULL, tasks INTEGER NOT NULL, cumulative TEXT NOT NULL,
    root BLOB NOT NULL, signature BLOB NOT NULL, head_signature BLOB NOT NULL, node_key TEXT NOT NULL,
    expires INTEGER NOT NULL, delegation_signature BLOB NOT NULL, at REAL NOT NULL) STRICT;
CREATE UNIQUE INDEX vouchers_of_book ON vouchers (book, tasks);
CREATE TABLE usage (
    month TEXT NOT NULL, organisation TEXT NOT NULL, project TEXT NOT NULL, publisher TEXT NOT NULL,
    node TEXT NOT NULL, provider TEXT NOT NULL, tasks INTEGER NOT NULL, lease_ms INTEGER NOT NULL,
    spent INTEGER NOT NULL,
    PRIMARY KEY (month, organisation, project, publisher, node, provider)) STRICT, WITHOUT ROWID;
"""
# What schema 3 adds: parts of attempts that were booked while they ran.
PARTS_SCHEMA = """
CREATE TABLE leases_metered (
    pos INTEGER PRIMARY KEY, job INTEGER NOT NULL, node TEXT NOT NULL, at REAL NOT NULL,
    details BLOB NOT NULL) STRICT;
CREATE INDEX leases_metered_of_job ON leases_metered (job);
"""
# What schema 4 adds: what served models were asked. `pos` is that of the last record that was added to a row.
MODEL_USAGE_SCHEMA = """
CREATE TABLE model_usage (
    day TEXT NOT NULL, organisation TEXT NOT NULL, project TEXT NOT NULL, deployment TEXT NOT NULL,
    version TEXT NOT NULL, requests INTEGER NOT NULL, failed INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL, request_bytes INTEGER NOT NULL, reply_bytes INTEGER NOT NULL,
    pos INTEGER NOT NULL,
    PRIMARY KEY (day, organisation, project, deployment, version)) STRICT, WITHOUT ROWID;
CREATE INDEX model_usage_pos ON model_usage (pos);
"""
# What schema 5 adds: what replicas have served, as the leaf at `place` of a book states it. Never deleted, as leaves.
STATEMENTS_SCHEMA = """
CREATE TABLE statements (book INTEGER NOT NULL, place INTEGER NOT NULL, statement BLOB NOT NULL,
    PRIMARY KEY (book, place)) STRICT, WITHOUT ROWID;
"""

JOB_TABLES = (
    "tasks_added",
    "jobs_sealed",
    "tasks_leased",
    "tasks_ended",
    "attempts_failed",
    "leases_metered",
    "tasks_requeued",
    "jobs_ended",
)
"""Tables that keep the history of jobs, beside `jobs`."""
TASK_TABLES = (
    "tasks_added",
    "tasks_leased",
    "tasks_ended",
    "attempts_failed",
    "leases_metered",
    "tasks_requeued",
)
"""Those of them that grow with the number of tasks: what is forgotten."""
BOOK_TABLES = ("books", "leaves", "vouchers")
"""Tables that keep the books."""

# --- properties ---------------------------------------------------------------------------------------------
SET_PROPERTY = "INSERT OR REPLACE INTO properties (name, value) VALUES (?, ?)"
DELETE_PROPERTY = "DELETE FROM properties WHERE name = ?"
PROPERTIES = "SELECT name, value FROM properties"
_WITH_POS = (*JOB_TABLES, "nodes", "run_times", *BOOK_TABLES, "model_usage")
LAST_POS = "SELECT max(pos) FROM (SELECT max(pos) AS pos FROM jobs UNION ALL " + (
    " UNION ALL ".join(f"SELECT max(pos) FROM {table}" for table in _WITH_POS) + ")"
)

# --- appending ----------------------------------------------------------------------------------------------
ADD_JOB = "INSERT INTO jobs (job, publisher, key, at, spec, pos) VALUES (?, ?, ?, ?, ?, ?)"
OPEN_JOB = "INSERT OR IGNORE INTO open_jobs (job) VALUES (?)"
CLOSE_JOB = "DELETE FROM open_jobs WHERE job = ?"
ADD_TASKS_ADDED = (
    "INSERT INTO tasks_added (job, first, count, at, sizes, payloads, pos) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
ADD_JOB_SEALED = "INSERT INTO jobs_sealed (job, total, pos) VALUES (?, ?, ?)"
ADD_TASKS_LEASED = "INSERT INTO tasks_leased (job, node, copy, at, details, pos) VALUES (?, ?, ?, ?, ?, ?)"
ADD_TASKS_ENDED = (
    "INSERT INTO tasks_ended (job, seq, count, node, at, done, failed, stopped, spent, lease_ms, details, results,"
    " pos) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
ADD_ATTEMPTS_FAILED = (
    "INSERT INTO attempts_failed (job, count, node, at, spent, lease_ms, details, pos)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
ADD_LEASES_METERED = "INSERT INTO leases_metered (job, node, at, details, pos) VALUES (?, ?, ?, ?, ?)"
ADD_TASKS_REQUEUED = "INSERT INTO tasks_requeued (job, at, details, pos) VALUES (?, ?, ?, ?)"
ADD_JOB_ENDED = "INSERT INTO jobs_ended (job, state, at, reason, pos) VALUES (?, ?, ?, ?, ?)"
SET_NODE = "INSERT OR REPLACE INTO nodes (node, secret_sha256, at, spec, pos) VALUES (?, ?, ?, ?, ?)"
SET_RUN_TIME = "INSERT OR REPLACE INTO run_times (profile, mean_ms, count, pos) VALUES (?, ?, ?, ?)"

# --- books --------------------------------------------------------------------------------------------------
ADD_BOOK = (
    "INSERT INTO books (book, organisation, node, node_organisation, payer, provider, signer, salt, at, pos)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
ADD_LEAVES = (
    "INSERT INTO leaves (book, first, count, job, at, owed, frontier, leaves, pos)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
ADD_STATEMENT = "INSERT INTO statements (book, place, statement) VALUES (?, ?, ?)"
STATEMENTS = "SELECT place, statement FROM statements WHERE book = ? AND place BETWEEN ? AND ? ORDER BY place"
ADD_VOUCHER = (
    "INSERT INTO vouchers (book, tasks, cumulative, root, signature, head_signature, node_key, expires,"
    " delegation_signature, at, pos) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
ADD_USAGE = """
INSERT INTO usage (month, organisation, project, publisher, node, provider, tasks, lease_ms, spent)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    tasks = tasks + excluded.tasks, lease_ms = lease_ms + excluded.lease_ms, spent = spent + excluded.spent"""
_MODEL_USAGE = (
    "day, organisation, project, deployment, version, requests, failed, prompt_tokens, completion_tokens,"
    " request_bytes, reply_bytes"
)
ADD_MODEL_USAGE = (
    f"INSERT INTO model_usage ({_MODEL_USAGE}, pos) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT DO UPDATE SET requests = requests + excluded.requests, failed = failed + excluded.failed,"
    " prompt_tokens = prompt_tokens + excluded.prompt_tokens,"
    " completion_tokens = completion_tokens + excluded.completion_tokens,"
    " request_bytes = request_bytes + excluded.request_bytes, reply_bytes = reply_bytes + excluded.reply_bytes,"
    " pos = excluded.pos"
)
MODEL_USAGE = (
    f"SELECT {_MODEL_USAGE} FROM model_usage WHERE day BETWEEN ? AND ?"
    " ORDER BY day, organisation, project, deployment, version"
)
BOOKS = "SELECT book, organisation, node, node_organisation, payer, provider, signer, salt, at FROM books ORDER BY book"
LAST_LEAVES = "SELECT frontier, owed FROM leaves WHERE book = ? ORDER BY first DESC LIMIT 1"
_VOUCHER = (
    "SELECT book, tasks, cumulative, root, signature, head_signature, node_key, expires, delegation_signature, at"
    " FROM vouchers "
)
LAST_VOUCHER = _VOUCHER + "WHERE book = ? ORDER BY tasks DESC LIMIT 1"
VOUCHERS = _VOUCHER + "WHERE book = ? AND tasks > ? ORDER BY tasks LIMIT ?"
LEAVES = """
SELECT first, leaves FROM leaves WHERE book = :book AND first < :end AND first >= coalesce(
    (SELECT max(first) FROM leaves WHERE book = :book AND first <= :first), 0) ORDER BY first"""
LEAVES_OF_JOB = "SELECT book, first, leaves FROM leaves WHERE job = ? ORDER BY pos"
USAGE = """
SELECT month, organisation, project, publisher, node, provider, tasks, lease_ms, spent FROM usage
    WHERE month BETWEEN ? AND ? ORDER BY month, organisation, project, publisher, node, provider"""

# --- summaries ----------------------------------------------------------------------------------------------
COUNT_ADDED = "SELECT coalesce(sum(count), 0) FROM tasks_added WHERE job = ?"
COUNT_ENDED = """
SELECT coalesce(sum(done), 0), coalesce(sum(failed), 0), coalesce(sum(stopped), 0), coalesce(sum(spent), 0),
    coalesce(sum(lease_ms), 0) FROM tasks_ended WHERE job = ?"""
COUNT_FAILED = """
SELECT coalesce(sum(spent), 0), coalesce(sum(lease_ms), 0), coalesce(sum(count), 0) FROM attempts_failed
    WHERE job = ?"""
FIRST_LEASE_AT = "SELECT coalesce(min(at), 0.0) FROM tasks_leased WHERE job = ?"
WAS_REQUEUED = "SELECT EXISTS (SELECT 1 FROM tasks_requeued WHERE job = ?)"
ENDINGS = """
SELECT pos, details, 1 FROM tasks_ended WHERE job = :job
UNION ALL SELECT pos, details, 0 FROM tasks_requeued WHERE job = :job ORDER BY 1"""
SET_SUMMARY = """
INSERT OR REPLACE INTO summaries
    (job, pos, publisher, state, first_lease_at, ended_at, total, done, failed, stopped, spent, lease_ms, retries,
    reason, kept)
SELECT job, ?, publisher, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1 FROM jobs WHERE job = ?"""
DROP_SUMMARY = "DELETE FROM summaries WHERE job = ?"
_SUMMARY = """
SELECT s.job, j.key, j.spec, s.state, j.at, s.first_lease_at, s.ended_at, s.total, s.done, s.failed, s.stopped,
    s.spent, s.lease_ms, s.retries, s.reason FROM summaries AS s JOIN jobs AS j USING (job) """
SUMMARY_OF_JOB = _SUMMARY + "WHERE s.job = ?"
NEWEST_SUMMARIES = _SUMMARY + "ORDER BY s.pos DESC LIMIT ?"
NEWEST_SUMMARIES_OF = _SUMMARY + "WHERE s.publisher = ? ORDER BY s.pos DESC LIMIT ?"

# --- replaying ----------------------------------------------------------------------------------------------
NODES = "SELECT spec, secret_sha256, at FROM nodes ORDER BY pos"
RUN_TIMES = "SELECT profile, mean_ms, count FROM run_times ORDER BY pos"
# The columns of each kind, read without its large blob.
HISTORY_COLUMNS = {
    "jobs": "pos, job, key, at, spec",
    "tasks_added": "pos, job, first, count, at, sizes",
    "jobs_sealed": "pos, job, total",
    "tasks_leased": "pos, job, node, copy, at, details",
    "tasks_ended": "pos, job, seq, node, at, details",
    "attempts_failed": "pos, job, node, at, details",
    "leases_metered": "pos, job, node, at, details",
    "tasks_requeued": "pos, job, at, details",
    "jobs_ended": "pos, job, state, at, reason",
}
# IN (...) on the primary key walks it in order: no sort, and only rows of open jobs are touched.
HISTORY_OF_OPEN_JOBS = {
    table: f"SELECT {columns} FROM {table} WHERE pos IN"
    f" (SELECT r.pos FROM open_jobs AS o CROSS JOIN {table} AS r ON r.job = o.job) ORDER BY pos"
    for table, columns in HISTORY_COLUMNS.items()
    if table != "jobs"
}
HISTORY_OF_OPEN_JOBS["jobs"] = (
    f"SELECT {HISTORY_COLUMNS['jobs']} FROM open_jobs CROSS JOIN jobs USING (job) ORDER BY pos"
)
HISTORY_OF_JOB = {
    table: f"SELECT {columns} FROM {table} WHERE job = ? ORDER BY pos"
    for table, columns in HISTORY_COLUMNS.items()
}
HISTORY_OF_ALL_JOBS = {
    table: f"SELECT {columns} FROM {table} ORDER BY pos"
    for table, columns in HISTORY_COLUMNS.items()
    if table != "leases_metered"  # stores of old versions do not have it
}
FORGOTTEN_JOBS = "SELECT count(*) FROM summaries WHERE NOT kept"

# --- reading ------------------------------------------------------------------------------------------------
LAST_JOB = "SELECT coalesce(max(job), 0) FROM jobs"
JOB_BY_KEY = "SELECT job FROM jobs WHERE publisher = ? AND key = ?"
JOB_SPEC = "SELECT spec FROM jobs WHERE job = ?"
PAYLOADS = """
SELECT first, payloads FROM tasks_added WHERE job = :job AND first < :end AND first >= coalesce(
    (SELECT max(first) FROM tasks_added WHERE job = :job AND first <= :first), 0) ORDER BY first"""
RESULTS = """
SELECT seq, count, node, at, details, results FROM tasks_ended WHERE job = :job AND seq + count > :after
    AND seq >= coalesce((SELECT max(seq) FROM tasks_ended WHERE job = :job AND seq <= :after), 0) ORDER BY seq"""

# --- forgetting ---------------------------------------------------------------------------------------------
NEXT_TO_FORGET = "SELECT job FROM summaries WHERE kept AND ended_at < ? LIMIT 1"
MARK_FORGOTTEN = "UPDATE summaries SET kept = 0 WHERE job = ?"
DELETE_SOME = {
    table: f"DELETE FROM {table} WHERE pos IN (SELECT pos FROM {table} WHERE job = ? LIMIT ?)"
    for table in TASK_TABLES
}

# --- upkeep -------------------------------------------------------------------------------------------------
BEGIN = "BEGIN IMMEDIATE"
COMMIT = "COMMIT"
ROLLBACK = "ROLLBACK"
BEGIN_READ = "BEGIN"
CHECKPOINT = "PRAGMA wal_checkpoint(PASSIVE)"
TRUNCATE_JOURNAL = "PRAGMA wal_checkpoint(TRUNCATE)"
PROBE_SPACE = "INSERT OR REPLACE INTO properties (name, value) VALUES ('probe', zeroblob(?))"
END_PROBE = "DELETE FROM properties WHERE name = 'probe'"
CHECK_INTEGRITY = "PRAGMA integrity_check(5)"
PAGE_BYTES = "PRAGMA page_size"
MAKE_ROLLBACK_JOURNAL = "PRAGMA journal_mode = DELETE"
WRITER_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA wal_autocheckpoint = 0",  # the storage thread checkpoints after it has told its callers
    "PRAGMA journal_size_limit = 16777216",
    "PRAGMA cache_size = -16000",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA secure_delete = OFF",  # some builds default to ON: forgetting would rewrite every page with zeros
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    "PRAGMA busy_timeout = 5000",
)
READER_PRAGMAS = (
    "PRAGMA query_only = ON",
    "PRAGMA cache_size = -4000",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    "PRAGMA busy_timeout = 5000",
)
