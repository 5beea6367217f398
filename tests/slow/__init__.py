"""Slow proofs: stores under kills, races, full disks and lost connections.

They use real files, processes and servers. Each harness takes the store as a parameter and is also
run on a store that breaks the promise, to show that the proof can fail.
"""
