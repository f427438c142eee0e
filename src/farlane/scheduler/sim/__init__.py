"""The scheduler's simulator: worlds of nodes and tasks, exact events, and rules that run in compiled loops."""
