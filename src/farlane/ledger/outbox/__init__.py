"""The outbox: transactions written down before they are sent, so that each ends on the chain exactly once."""
