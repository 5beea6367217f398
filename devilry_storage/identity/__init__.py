"""Store identity: the mark by which a store is recognised."""
