module idempotency-key

go 1.24
