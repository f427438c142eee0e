"""The embedded chain: an Ethereum chain for one machine, in process, kept in one SQLite file."""
