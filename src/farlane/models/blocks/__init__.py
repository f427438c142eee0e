"""Blocks of models: kept once as files or flatfs blocks, found by CID, collected, verified and repaired."""
