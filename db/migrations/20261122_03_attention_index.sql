-- An index for those that require attention
-- depends: 20261122_02_row_types

-- migrate: apply

-- They are listed by identifier, page by page, also by the reconciler all the time. Without an index of their own the
-- planner may walk over everything that ever ended to find them. Hardly any withdrawal ever enters it.
create index withdrawals_attention on withdrawals (id) where status = 'requires_attention';

-- migrate: rollback

drop index withdrawals_attention;
