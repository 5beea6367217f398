"""Slow proofs: real files and real processes, killed, raced, starved and cut off.

Each harness takes the store as a parameter, and each is also run on a store that breaks the
promise in question: a proof that cannot fail proves nothing.
"""
