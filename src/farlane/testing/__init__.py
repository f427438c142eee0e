"""Shipped fakes, builders and conformance suites for those who build on farlane."""
