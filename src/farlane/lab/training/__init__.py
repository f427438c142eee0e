"""Training of scheduling policies: copying the best rule, policy gradients, then the true measure itself."""
