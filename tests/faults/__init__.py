"""A fault campaign: runs of a tiny virtual session that are killed, starved of disk, locked out and lied to about the time.

python -m tests.faults --minutes 15      (make test-faults) prints the table of docs/reliability.md
"""
