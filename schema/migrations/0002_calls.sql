-- The audit trail beside the log holds accepted calls too, when no event tells of them: logging in, asking for what is so already.
ALTER TABLE strata.audit_refusals RENAME TO audit_calls;
ALTER INDEX strata.audit_refusals_at RENAME TO audit_calls_at;
CREATE INDEX audit_calls_request ON strata.audit_calls (request_id);
COMMENT ON TABLE strata.audit_calls IS 'Mutating calls of which no event tells: refused ones, and accepted ones that changed nothing.';
