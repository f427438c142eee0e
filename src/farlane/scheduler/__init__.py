"""Placing tasks on nodes: views, policies, decisions and their reasons; pure."""
