\set customer random(1, :customers)
INSERT INTO TABLE (account_id, account, endpoint, method, status_code, milliseconds, bytes, agent, at) VALUES (:customer, 'C' || :customer, '/v1/items', 'GET', 200, 20, 1000, 'agent', now());
