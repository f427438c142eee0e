"""Executors: what runs a stranger's function or command on this machine, meters it and stops it in time."""
