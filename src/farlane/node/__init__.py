"""The agent on one machine: probes it, runs leased work in workers, meters and reports it."""
