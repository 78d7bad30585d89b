"""Schedules and people: the command line, Prefect flows and review."""
