"""All SQL of the catalog's file."""

from __future__ import annotations

PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA busy_timeout = 30000",
)

SCHEMA = (
    """CREATE TABLE models (
        name TEXT PRIMARY KEY,
        organisation TEXT NOT NULL,
        publisher TEXT,
        created REAL NOT NULL,
        numbers INTEGER NOT NULL DEFAULT 0
    ) STRICT""",
    """CREATE TABLE versions (
        name TEXT NOT NULL REFERENCES models (name) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        manifest BLOB NOT NULL,
        signer TEXT,
        signature BLOB,
        added REAL NOT NULL,
        PRIMARY KEY (name, number),
        UNIQUE (name, manifest)
    ) STRICT""",
    """CREATE TABLE moves (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL REFERENCES models (name) ON DELETE CASCADE,
        alias TEXT NOT NULL,
        target BLOB,
        before BLOB,
        organisation TEXT NOT NULL,
        author TEXT NOT NULL,
        at REAL NOT NULL,
        back INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX moves_by_name ON moves (name, sequence)",
    """CREATE TABLE aliases (
        name TEXT NOT NULL REFERENCES models (name) ON DELETE CASCADE,
        alias TEXT NOT NULL,
        target BLOB NOT NULL,
        PRIMARY KEY (name, alias)
    ) STRICT""",
    """CREATE TABLE acceptances (
        who TEXT NOT NULL,
        manifest BLOB NOT NULL,
        expression TEXT NOT NULL,
        at REAL NOT NULL,
        PRIMARY KEY (who, manifest)
    ) STRICT""",
)
DELTAS_SCHEMA = (
    "CREATE INDEX versions_by_manifest ON versions (manifest)",
    """CREATE TABLE deltas (
        target BLOB NOT NULL,
        base BLOB NOT NULL,
        root BLOB NOT NULL,
        size_bytes INTEGER NOT NULL,
        PRIMARY KEY (target, base)
    ) STRICT""",
)
"""What schema 2 has and schema 1 had not."""
PRIVATE_SCHEMA = (
    """CREATE TABLE private_files (
        organisation TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        cid BLOB NOT NULL,
        ipfs_cid BLOB NOT NULL,
        PRIMARY KEY (organisation, sha256, cid, ipfs_cid)
    ) STRICT""",
)
"""What schema 3 has and schema 2 had not."""

BEGIN_READING = "BEGIN"
BEGIN_CHANGING = "BEGIN IMMEDIATE"
COMMIT = "COMMIT"
ROLLBACK = "ROLLBACK"

MODELS = "SELECT name, organisation, publisher, created FROM models ORDER BY name"
MODEL = "SELECT name, organisation, publisher, created FROM models WHERE name = ?"
PUT_MODEL = """INSERT INTO models (name, organisation, publisher, created) VALUES (?, ?, ?, ?)
    ON CONFLICT (name) DO UPDATE SET organisation = excluded.organisation, publisher = excluded.publisher"""
REMOVE_MODEL = "DELETE FROM models WHERE name = ?"

_VERSION = "SELECT name, number, manifest, signer, signature, added FROM versions WHERE name = ?"
VERSIONS = f"{_VERSION} ORDER BY number"
VERSION = f"{_VERSION} AND number = ?"
NEWEST = f"{_VERSION} ORDER BY number DESC LIMIT 1"
VERSION_OF = f"{_VERSION} AND manifest = ?"
NUMBERS = "SELECT numbers FROM models WHERE name = ?"
ADD_VERSION = (
    "INSERT INTO versions (name, number, manifest, signer, signature, added) VALUES (?, ?, ?, ?, ?, ?)"
)
NOTE_NUMBER = "UPDATE models SET numbers = max(numbers, ?) WHERE name = ?"
REMOVE_VERSION = "DELETE FROM versions WHERE name = ? AND number = ?"
ALL_MANIFESTS = "SELECT manifest FROM versions"
HAS_MANIFEST = "SELECT 1 FROM versions WHERE manifest = ? LIMIT 1"

PUT_DELTA = """INSERT INTO deltas (target, base, root, size_bytes) VALUES (?, ?, ?, ?)
    ON CONFLICT (target, base) DO UPDATE SET root = excluded.root, size_bytes = excluded.size_bytes"""
DELTAS = "SELECT target, base, root, size_bytes FROM deltas WHERE target = ? ORDER BY size_bytes, base"
REMOVE_DELTA = "DELETE FROM deltas WHERE target = ? AND base = ?"
REMOVE_LOOSE_DELTAS = """DELETE FROM deltas WHERE target NOT IN (SELECT manifest FROM versions)
    OR base NOT IN (SELECT manifest FROM versions)"""
ALL_DELTAS = "SELECT DISTINCT root FROM deltas"

PUT_PRIVATE = "INSERT OR IGNORE INTO private_files (organisation, sha256, cid, ipfs_cid) VALUES (?, ?, ?, ?)"
PRIVATE = "SELECT organisation, sha256, cid, ipfs_cid FROM private_files"
REMOVE_PRIVATE = """DELETE FROM private_files
    WHERE organisation = ? AND sha256 = ? AND cid = ? AND ipfs_cid = ?"""

ALIAS = "SELECT target FROM aliases WHERE name = ? AND alias = ?"
ALIASES = "SELECT alias, target FROM aliases WHERE name = ? ORDER BY alias"
PUT_ALIAS = """INSERT INTO aliases (name, alias, target) VALUES (?, ?, ?)
    ON CONFLICT (name, alias) DO UPDATE SET target = excluded.target"""
REMOVE_ALIAS = "DELETE FROM aliases WHERE name = ? AND alias = ?"

SEQUENCE = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'moves'), 0)"
ADD_MOVE = """INSERT INTO moves (sequence, name, alias, target, before, organisation, author, at, back)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_MOVE = "SELECT sequence, name, alias, target, before, organisation, author, at, back FROM moves"
MOVES = f"{_MOVE} WHERE name = ? ORDER BY sequence"
MOVES_AFTER = f"{_MOVE} WHERE sequence > ? ORDER BY sequence LIMIT ?"

ACCEPT = """INSERT INTO acceptances (who, manifest, expression, at) VALUES (?, ?, ?, ?)
    ON CONFLICT (who, manifest) DO UPDATE SET expression = excluded.expression, at = excluded.at"""
ACCEPTED = "SELECT expression FROM acceptances WHERE who = ? AND manifest = ?"
