\set customer random(1, :customers)
INSERT INTO TABLE (customer_id, event_type, event_data) VALUES (:customer, 'api_call', '{"endpoint": "/v1/items", "status_code": 200, "ms": 20}');
