"""Every SQL statement of the outbox, by name."""

from __future__ import annotations

# Amounts of wei are texts of digits: they outgrow 64 bits. An ended intent keeps its key, its digest and its outcome,
# so that its key stays used; calldata and signed transactions are dropped with its end.
SCHEMA = (
    "CREATE TABLE properties (name TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID",
    """CREATE TABLE intents (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, sender TEXT NOT NULL, recipient TEXT NOT NULL,
    value TEXT NOT NULL, digest BLOB NOT NULL, policy TEXT NOT NULL, created_at REAL NOT NULL, state TEXT NOT NULL,
    nonce INTEGER, gas INTEGER NOT NULL DEFAULT 0, first_block INTEGER NOT NULL DEFAULT 0,
    hash BLOB NOT NULL DEFAULT x'', block INTEGER NOT NULL DEFAULT 0, block_hash BLOB NOT NULL DEFAULT x'',
    gas_used INTEGER NOT NULL DEFAULT 0, refusal TEXT NOT NULL DEFAULT '', ended_at REAL NOT NULL DEFAULT 0,
    data BLOB NOT NULL) STRICT""",
    "CREATE INDEX intents_open ON intents (number) WHERE ended_at = 0",
    """CREATE TABLE attempts (
    position INTEGER PRIMARY KEY, intent INTEGER NOT NULL REFERENCES intents, hash BLOB NOT NULL UNIQUE,
    nonce INTEGER NOT NULL, max_tip TEXT NOT NULL, max_fee TEXT NOT NULL, signed_at REAL NOT NULL, raw BLOB NOT NULL)
    STRICT""",
    "CREATE INDEX attempts_of_intent ON attempts (intent)",
)
PRAGMAS = ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "PRAGMA foreign_keys = ON")
BEGIN = "BEGIN IMMEDIATE"
COMMIT = "COMMIT"
ROLLBACK = "ROLLBACK"

GET_PROPERTY = "SELECT value FROM properties WHERE name = ?"
SET_PROPERTY = "INSERT OR REPLACE INTO properties (name, value) VALUES (?, ?)"

FIND = "SELECT number, digest, policy, state FROM intents WHERE key = ?"
ADD = """INSERT INTO intents (key, sender, recipient, value, digest, policy, created_at, state, data)
VALUES (?, ?, ?, ?, ?, ?, ?, 'planned', ?)"""
SET_POLICY = "UPDATE intents SET policy = ? WHERE number = ?"
WITHDRAW = """DELETE FROM intents WHERE key = ? AND state = 'planned'
AND NOT EXISTS (SELECT 1 FROM attempts WHERE intent = number)"""
OPEN_INTENTS = """SELECT number, key, sender, recipient, value, digest, policy, created_at, state, nonce, gas,
first_block, block_hash, data FROM intents WHERE ended_at = 0 ORDER BY number"""
OPEN_ATTEMPTS = """SELECT intent, attempts.hash, raw, attempts.nonce, max_tip, max_fee, signed_at FROM attempts
JOIN intents ON intents.number = intent WHERE ended_at = 0 ORDER BY position"""
COUNT_OPEN = "SELECT count(*) FROM intents WHERE ended_at = 0"
ADD_ATTEMPT = """INSERT INTO attempts (intent, hash, nonce, max_tip, max_fee, signed_at, raw)
VALUES (?, ?, ?, ?, ?, ?, ?)"""
SIGNED = """UPDATE intents SET state = 'signed', nonce = ?, gas = ?, first_block = ? WHERE number = ?
AND ended_at = 0"""
SENT = """UPDATE intents SET state = 'sent', hash = x'', block = 0, block_hash = x'', gas_used = 0
WHERE number = ? AND ended_at = 0"""
MINED = """UPDATE intents SET state = 'mined', hash = ?, block = ?, block_hash = ?, gas_used = ?
WHERE number = ? AND ended_at = 0"""
DISPLACED = "UPDATE intents SET state = 'planned', nonce = NULL WHERE number = ? AND ended_at = 0"
CONFIRMED = (
    "UPDATE intents SET state = 'confirmed', ended_at = ?, data = x'' WHERE number = ? AND ended_at = 0"
)
REFUSED = """UPDATE intents SET state = 'refused', refusal = ?, ended_at = ?, data = x'' WHERE number = ?
AND ended_at = 0"""
DROP_ATTEMPTS = "DELETE FROM attempts WHERE intent = ?"
OUTCOME = "SELECT state, hash, block, gas_used, refusal FROM intents WHERE key = ?"
