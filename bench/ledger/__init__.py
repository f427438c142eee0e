"""Gas and rates of the ledger beside naive contracts, on one chain in one run."""
