"""The command line: words for people, `--json` for programs, nothing decided here."""
