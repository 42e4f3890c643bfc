SELECT hash FROM strata.events WHERE position = $1
