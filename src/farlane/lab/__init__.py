"""Where schedulers are measured and trained: traces of real clusters, published protocols, comparisons."""
