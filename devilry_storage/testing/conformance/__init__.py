"""The cases of the conformance suite, arranged by promise."""
