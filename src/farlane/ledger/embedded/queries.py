"""Every SQL statement of the chain file."""

from __future__ import annotations

SCHEMA = """
CREATE TABLE properties (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE TABLE accounts (
    address BLOB PRIMARY KEY, nonce INTEGER NOT NULL, balance BLOB NOT NULL, code_hash BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE codes (hash BLOB PRIMARY KEY, code BLOB NOT NULL);
CREATE TABLE slots (
    address BLOB NOT NULL, number BLOB NOT NULL, value BLOB NOT NULL, PRIMARY KEY (address, number)
) WITHOUT ROWID;
CREATE TABLE blocks (
    number INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, time INTEGER NOT NULL, header BLOB NOT NULL,
    credited BLOB, gwei INTEGER, credit INTEGER
);
CREATE TABLE transactions (
    block INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, raw BLOB NOT NULL, succeeded INTEGER NOT NULL,
    created BLOB
);
CREATE TABLE logs (
    block INTEGER NOT NULL, position INTEGER NOT NULL, address BLOB NOT NULL,
    topic0 BLOB, topic1 BLOB, topic2 BLOB, topic3 BLOB, data BLOB NOT NULL, PRIMARY KEY (block, position)
) WITHOUT ROWID;
CREATE INDEX logs_by_address ON logs (address, block);
CREATE INDEX logs_by_topic0 ON logs (topic0, block) WHERE topic0 IS NOT NULL;
CREATE INDEX logs_by_topic1 ON logs (topic1, block) WHERE topic1 IS NOT NULL;
CREATE INDEX logs_by_topic2 ON logs (topic2, block) WHERE topic2 IS NOT NULL
"""
"""Balances, slot numbers and values are big-endian without leading zeros; headers are compressed."""

ALONE = "PRAGMA locking_mode = EXCLUSIVE"
"""No other connection exists, so SQLite needs no shared memory beside the file. It writes nothing."""
PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA cell_size_check = ON",
    "PRAGMA trusted_schema = OFF",
)
PAGE_BYTES = "PRAGMA page_size"
BEGIN, COMMIT, ROLLBACK = "BEGIN IMMEDIATE", "COMMIT", "ROLLBACK"

SET_PROPERTY = "INSERT INTO properties (name, value) VALUES (?, ?)"
PROPERTY = "SELECT value FROM properties WHERE name = ?"

ACCOUNT = "SELECT nonce, balance, code_hash FROM accounts WHERE address = ?"
SET_ACCOUNT = """
INSERT INTO accounts (address, nonce, balance, code_hash) VALUES (?, ?, ?, ?)
ON CONFLICT (address) DO UPDATE SET nonce = excluded.nonce, balance = excluded.balance, code_hash = excluded.code_hash
"""
DROP_ACCOUNT = "DELETE FROM accounts WHERE address = ?"
ALL_ACCOUNTS = "SELECT address, nonce, balance, code_hash FROM accounts"
CODE = "SELECT code FROM codes WHERE hash = ?"
ALL_CODES = "SELECT hash, code FROM codes"
SET_CODE = "INSERT OR IGNORE INTO codes (hash, code) VALUES (?, ?)"
SLOT = "SELECT value FROM slots WHERE address = ? AND number = ?"
SET_SLOT = """
INSERT INTO slots (address, number, value) VALUES (?, ?, ?)
ON CONFLICT (address, number) DO UPDATE SET value = excluded.value
"""
DROP_SLOT = "DELETE FROM slots WHERE address = ? AND number = ?"
SLOTS_OF = "SELECT address, number, value FROM slots WHERE address = ?"
ALL_SLOTS = "SELECT address, number, value FROM slots"
DROP_SLOTS = "DELETE FROM slots WHERE address = ?"

_BLOCK = "SELECT number, hash, header, credited, gwei, credit FROM blocks"
HEAD = f"{_BLOCK} ORDER BY number DESC LIMIT 1"
BLOCK = f"{_BLOCK} WHERE number = ?"
BLOCK_NUMBER = "SELECT number FROM blocks WHERE hash = ?"
BLOCK_HASH = "SELECT hash FROM blocks WHERE number = ?"
BLOCKS = f"{_BLOCK} WHERE number BETWEEN ? AND ? ORDER BY number"
ADD_BLOCK = (
    "INSERT INTO blocks (number, hash, time, header, credited, gwei, credit) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
CREDITS = "SELECT ifnull(max(credit) + 1, 0) FROM blocks"

_TRANSACTION = "SELECT block, raw, succeeded, created FROM transactions"
TRANSACTION = f"{_TRANSACTION} WHERE hash = ?"
TRANSACTION_IN = f"{_TRANSACTION} WHERE block = ?"
ADD_TRANSACTION = "INSERT INTO transactions (block, hash, raw, succeeded, created) VALUES (?, ?, ?, ?, ?)"

ADD_LOG = """
INSERT INTO logs (block, position, address, topic0, topic1, topic2, topic3, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
LOGS_IN = """
SELECT address, topic0, topic1, topic2, topic3, data FROM logs WHERE block = ? ORDER BY position
"""
LOGS = """
SELECT block, position, address, topic0, topic1, topic2, topic3, data FROM logs
WHERE block BETWEEN ? AND ?{filters} ORDER BY block, position LIMIT ?
"""
