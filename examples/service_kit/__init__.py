"""What the examples' services share: a durable ledger, idempotent HTTP operations, faults on demand."""
