"""The ledger: what arrived, what is to be done, what was done; one truth over SQLite or PostgreSQL."""
