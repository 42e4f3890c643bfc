SELECT position, hash FROM strata.log_head FOR UPDATE
