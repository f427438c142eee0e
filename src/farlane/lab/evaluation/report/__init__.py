"""The report of an assessment: one HTML page with its plots inside, and the same as JSON."""
