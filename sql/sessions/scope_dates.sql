-- reads:      scope (sql/sessions/scope.sql)
-- returns:    grain: one row
--               context_from  the earliest of all keys, null for an empty scope
-- parameters: none
select min(context_from) as context_from from scope
