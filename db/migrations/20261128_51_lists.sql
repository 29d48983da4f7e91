-- Lists of withdrawals: of a wallet, and of all by their status
-- depends: 20261128_50_rate_reports

-- migrate: apply

-- One entry for each withdrawal, and none when its status changes, which an index on withdrawals would get.
create index transfers_reserves on transfers (user_id, currency, id) where kind = 'reserve';

-- Most withdrawals complete, and are in no such index then.
create index withdrawals_not_completed on withdrawals (status, id) where status <> 'completed';

-- migrate: rollback

drop index withdrawals_not_completed, transfers_reserves;
