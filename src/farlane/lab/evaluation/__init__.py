"""How policies are judged: what they may train on and what not, rivals, intervals, optima, ablations, the report."""
