"""The status page and the metrics endpoint: they read the ledger and the spool, write nothing, and name no patient."""
