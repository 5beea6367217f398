"""What the cases of the conformance suite share."""
