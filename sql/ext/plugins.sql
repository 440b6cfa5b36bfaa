-- Plug-in factors: users' functions that supply values of metrics, and who vouches
-- for them.
--
-- A metric with the aggregate 'function' names a function (customer_id bigint,
-- as_of timestamptz) returns double precision.  It runs as the role that
-- registered it here.  A published scorecard only names the function: those who may
-- edit or publish scorecards cannot choose whose rights it gets.

CREATE TABLE chs.plugins (
    function      text PRIMARY KEY,
    registered_by text NOT NULL DEFAULT current_user,
    role          oid NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE chs.plugins IS 'functions that may supply values of metrics, and the role that each runs as; deleting a row withdraws a function at once, and removes it from the draft';
COMMENT ON COLUMN chs.plugins.registered_at IS 'since when';
COMMENT ON COLUMN chs.plugins.function IS 'with its schema and the types of its arguments';
COMMENT ON COLUMN chs.plugins.registered_by IS 'the role that the function runs as: the one that inserted the row';
COMMENT ON COLUMN chs.plugins.role IS 'the OID of the same role: another role that gets the name later has registered nothing';

-- A draft can name only registered functions.  Withdrawing a registration is
-- never refused.
ALTER TABLE chs.metrics ADD CONSTRAINT metrics_function_fkey
    FOREIGN KEY (function) REFERENCES chs.plugins ON UPDATE CASCADE ON DELETE CASCADE;

CREATE FUNCTION chs.plugin_name(function text) RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'chs_plugin_name_sql';
COMMENT ON FUNCTION chs.plugin_name(text)
    IS 'the name under which a function is registered; an error if it cannot be a plug-in of the current role';

CREATE FUNCTION chs.plugins_guard() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND (NEW.function, NEW.registered_by, NEW.role) IS NOT DISTINCT FROM (OLD.function, OLD.registered_by, OLD.role) THEN
        RETURN NEW;
    END IF;
    -- What a superuser restores stays as it was, if there is such a role here.
    -- Others can restore registrations only for themselves.
    IF TG_OP = 'INSERT' AND current_setting('check_function_bodies') = 'off' THEN
        NEW.role := COALESCE((SELECT r.oid FROM pg_roles r WHERE r.rolname = NEW.registered_by
                              AND (r.rolname = current_user OR (SELECT c.rolsuper FROM pg_roles c WHERE c.rolname = current_user))), 0);
        RETURN NEW;
    END IF;
    IF NEW.registered_by IS DISTINCT FROM current_user THEN
        RAISE EXCEPTION 'function % cannot be registered for role "%"', NEW.function, NEW.registered_by
            USING ERRCODE = 'insufficient_privilege',
                  DETAIL = format('The current role is "%s".', current_user),
                  HINT = 'A role can register functions only for itself; they run with its privileges.';
    END IF;
    NEW.role := (SELECT r.oid FROM pg_roles r WHERE r.rolname = current_user);
    NEW.function := chs.plugin_name(NEW.function);
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION chs.plugins_guard() IS 'trigger: lets a role register functions only for itself';
CREATE TRIGGER plugins_guard BEFORE INSERT OR UPDATE ON chs.plugins
    FOR EACH ROW EXECUTE FUNCTION chs.plugins_guard();
ALTER TABLE chs.plugins ENABLE ALWAYS TRIGGER plugins_guard;

CREATE FUNCTION chs.plugin_value(function text, customer_id bigint, as_of timestamptz DEFAULT NULL)
    RETURNS double precision
    LANGUAGE c STABLE PARALLEL RESTRICTED COST 200 AS 'MODULE_PATHNAME', 'chs_plugin_value_sql';
COMMENT ON FUNCTION chs.plugin_value(text, bigint, timestamptz)
    IS 'what a registered function returns for a customer and UTC day, run as in scoring';

CREATE FUNCTION chs.plugin_values(customer_id bigint, scorecard jsonb, segment text, as_of timestamptz)
    RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED COST 200
    SET search_path = pg_catalog, pg_temp SET extra_float_digits = 1 AS $$
DECLARE
    card      CONSTANT jsonb := scorecard -> 'scorecards' -> COALESCE(scorecard #>> ARRAY['segments', segment, 'scorecard'], scorecard ->> 'default');
    functions CONSTANT text[] := ARRAY(SELECT DISTINCT m.value ->> 'function'
                                       FROM jsonb_array_elements(card -> 'factors') f, jsonb_array_elements(f.value -> 'metrics') m
                                       WHERE m.value ->> 'aggregate' = 'function');
    last_day  date;
BEGIN
    IF customer_id IS NULL OR functions = '{}' THEN
        RETURN NULL;
    END IF;
    last_day := least((COALESCE(as_of, now()) AT TIME ZONE 'UTC')::date,
                      (SELECT (c.churned_at AT TIME ZONE 'UTC')::date FROM chs.customers c WHERE c.customer_id = $1));
    RETURN (SELECT jsonb_object_agg(f.name, (
                SELECT jsonb_object_agg(to_char(d.day, 'YYYY-MM-DD'), chs.plugin_value(f.name, customer_id, d.day::timestamp AT TIME ZONE 'UTC'))
                FROM (SELECT last_day - ago FROM unnest(ARRAY[0, 1, (card ->> 'trend_days')::integer + 1]) ago) d (day)))
            FROM unnest(functions) f (name));
END
$$;
COMMENT ON FUNCTION chs.plugin_values(bigint, jsonb, text, timestamptz)
    IS 'what the functions of a scorecard document return for a customer, for chs_activity_score(); NULL where it has none';

-- Makes the weights of a scorecard's factors, except one, sum to a total.
CREATE FUNCTION chs.scale_weights(scorecard text, except_factor text, total double precision) RETURNS void
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE chs.factors f SET weight = round((f.weight * $3 / s.weight)::numeric, 12)::double precision
    FROM (SELECT sum(g.weight) AS weight FROM chs.factors g WHERE g.scorecard = $1 AND g.factor <> $2) s
    WHERE f.scorecard = $1 AND f.factor <> $2 AND s.weight > 0;
END;
COMMENT ON FUNCTION chs.scale_weights(text, text, double precision) IS 'scales the weights of the other factors of a scorecard to a total';

CREATE FUNCTION chs.draft_scorecard(scorecard text) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_name text;
BEGIN
    SELECT s.scorecard INTO found_name FROM chs.scorecards s
    WHERE CASE WHEN $1 IS NULL THEN s.is_default ELSE s.scorecard = $1 END;
    IF found_name IS NULL THEN
        RAISE EXCEPTION '%', COALESCE(format('scorecard "%s" does not exist', $1), 'no scorecard is the default')
            USING ERRCODE = 'undefined_object', HINT = 'See chs.scorecards.';
    END IF;
    RETURN found_name;
END
$$;
COMMENT ON FUNCTION chs.draft_scorecard(text) IS 'the scorecard of that name in the draft, or, for NULL, the default one; an error if there is none';

CREATE FUNCTION chs.add_metrics(scorecard text, factor text, metrics jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    m       record;
    unknown text;
BEGIN
    IF jsonb_typeof(metrics) <> 'array' THEN
        RAISE EXCEPTION 'invalid metrics of factor "%": not an array of objects', factor
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOR m IN SELECT e.value AS object, e.ordinality AS position FROM jsonb_array_elements(metrics) WITH ORDINALITY e LOOP
        SELECT k INTO unknown FROM jsonb_object_keys(m.object) k
        WHERE k NOT IN ('target', 'targets', 'metric', 'position', 'description', 'event_type', 'aggregate', 'measure', 'field',
                        'filter', 'base_filter', 'window_days', 'curve', 'weight', 'missing', 'missing_score', 'penalty', 'function');
        IF unknown IS NOT NULL THEN
            RAISE EXCEPTION 'invalid metrics of factor "%": unknown key "%"', factor, unknown
                USING ERRCODE = 'invalid_parameter_value', HINT = 'The keys are the columns of chs.metrics, target and targets.';
        END IF;
        INSERT INTO chs.metrics (scorecard, factor, metric, position, description, event_type, aggregate, measure, field, filter,
                                 base_filter, window_days, curve, weight, missing, missing_score, penalty, function)
        SELECT $1, $2, r.metric, COALESCE(r.position, m.position), r.description, r.event_type, r.aggregate,
               COALESCE(r.measure, 'count'), r.field, r.filter, r.base_filter, r.window_days, r.curve,
               COALESCE(r.weight, CASE WHEN r.penalty IS NULL THEN 1 END),
               COALESCE(r.missing, CASE WHEN r.penalty IS NULL THEN 'missing' END), r.missing_score, r.penalty, r.function
        FROM jsonb_populate_record(NULL::chs.metrics, m.object) r;
        INSERT INTO chs.targets (scorecard, factor, metric, segment, target)
        SELECT $1, $2, m.object ->> 'metric', t.segment, t.target::double precision
        FROM (SELECT NULL AS segment, m.object ->> 'target' AS target
              UNION ALL
              SELECT * FROM jsonb_each_text(m.object -> 'targets')) t
        WHERE t.target IS NOT NULL;
    END LOOP;
END
$$;
COMMENT ON FUNCTION chs.add_metrics(text, text, jsonb) IS 'adds metrics, given as an array of objects with the columns of chs.metrics, to a factor of the draft';

CREATE FUNCTION chs.register_plugin(function text) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    registrar text;
    customer  bigint;
BEGIN
    SELECT p.registered_by INTO registrar FROM chs.plugins p WHERE p.function = $1;
    IF registrar IS NULL THEN
        INSERT INTO chs.plugins (function) VALUES ($1);
    ELSIF registrar <> current_user THEN
        RAISE EXCEPTION 'function % is registered by role "%"', $1, registrar
            USING ERRCODE = 'object_in_use',
                  HINT = 'It runs with the privileges of that role. To have it run with yours, delete its row of chs.plugins first.';
    END IF;
    -- Called once, so that problems are found now.
    IF has_table_privilege('chs.customers', 'SELECT') THEN
        SELECT min(c.customer_id) INTO customer FROM chs.customers c;
        PERFORM chs.plugin_value($1, customer, NULL::timestamptz) WHERE customer IS NOT NULL;
    END IF;
END
$$;
COMMENT ON FUNCTION chs.register_plugin(text) IS 'registers a function as a plug-in of the current role, and tries it out';

CREATE FUNCTION chs.add_factor(factor text, weight double precision, function text, metrics jsonb, scorecard text, scale boolean,
                               curve text, missing text, missing_score double precision, description text) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    card   text := chs.draft_scorecard(scorecard);
    others double precision;
    absent text;
BEGIN
    SELECT a.name INTO absent
    FROM (VALUES (1, 'factor', factor IS NULL), (2, 'weight', weight IS NULL), (3, 'scale', scale IS NULL), (4, 'curve', curve IS NULL),
                 (5, 'missing', missing IS NULL)) a (n, name, is_null)
    WHERE a.is_null ORDER BY a.n LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '"%" of a factor must not be null', absent USING ERRCODE = 'null_value_not_allowed';
    END IF;
    IF function IS NOT NULL AND metrics IS NOT NULL THEN
        RAISE EXCEPTION 'factor "%" cannot be made of both a function and metrics', factor
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Add it with the function, and insert the metrics into chs.metrics.';
    END IF;
    PERFORM FROM chs.factors f WHERE f.scorecard = card AND f.factor = $1;
    IF FOUND THEN
        RAISE EXCEPTION 'factor "%" of scorecard "%" already exists', factor, card
            USING ERRCODE = 'duplicate_object', HINT = 'Remove it with chs_drop_factor(), or update chs.factors and chs.metrics.';
    END IF;
    SELECT sum(f.weight) INTO others FROM chs.factors f WHERE f.scorecard = card;
    IF scale AND others > 0 AND NOT (weight >= 0 AND weight < 1) THEN
        RAISE EXCEPTION 'invalid weight of factor "%": %', factor, weight
            USING ERRCODE = 'invalid_parameter_value',
                  DETAIL = 'It is a share of the whole, from 0 to less than 1: the other weights are scaled to the rest.',
                  HINT = 'With scale => false, the weight is used as given, and the others stay as they are.';
    END IF;
    INSERT INTO chs.factors (scorecard, factor, position, description, weight)
    SELECT card, $1, COALESCE(max(f.position), 0) + 1, $10, $2 FROM chs.factors f WHERE f.scorecard = card;
    IF scale THEN
        PERFORM chs.scale_weights(card, factor, 1 - weight);
    END IF;
    IF function IS NOT NULL THEN
        PERFORM chs.register_plugin(function);
        INSERT INTO chs.metrics (scorecard, factor, metric, position, description, aggregate, function, curve, weight, missing, missing_score)
        SELECT card, $1, p.proname, 1, obj_description(p.oid, 'pg_proc'), 'function', $3, $7, 1, $8, $9
        FROM pg_proc p WHERE p.oid = $3::regprocedure;
    ELSIF metrics IS NOT NULL THEN
        PERFORM chs.add_metrics(card, factor, metrics);
    END IF;
END
$$;
COMMENT ON FUNCTION chs.add_factor(text, double precision, text, jsonb, text, boolean, text, text, double precision, text)
    IS 'does what chs_add_factor() does once it has found the function';

CREATE FUNCTION @extschema@.chs_add_factor(
        factor text, weight double precision, function text DEFAULT NULL, metrics jsonb DEFAULT NULL,
        scorecard text DEFAULT NULL, scale boolean DEFAULT true, curve text DEFAULT '0:0 100:100',
        missing text DEFAULT 'missing', missing_score double precision DEFAULT NULL, description text DEFAULT NULL)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chs_add_factor';
COMMENT ON FUNCTION @extschema@.chs_add_factor(text, double precision, text, jsonb, text, boolean, text, text, double precision, text)
    IS 'adds a factor to the draft: a function (customer_id bigint, as_of timestamptz) returns double precision that the current role vouches for, or metrics; the other weights are scaled, unless scale is false';

CREATE FUNCTION @extschema@.chs_drop_factor(factor text, scorecard text DEFAULT NULL, scale boolean DEFAULT true) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    card  text := chs.draft_scorecard(scorecard);
    total double precision;
BEGIN
    SELECT sum(f.weight) INTO total FROM chs.factors f WHERE f.scorecard = card;
    DELETE FROM chs.factors f WHERE f.scorecard = card AND f.factor = $1;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'factor "%" of scorecard "%" does not exist', factor, card
            USING ERRCODE = 'undefined_object', HINT = 'See chs.factors.';
    END IF;
    IF scale THEN
        PERFORM chs.scale_weights(card, factor, total);
    END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.chs_drop_factor(text, text, boolean)
    IS 'removes a factor from the draft, with its metrics and targets; the other weights are scaled to the previous total, unless scale is false';

CREATE FUNCTION @extschema@.chs_refresh(customer_id bigint) RETURNS boolean
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chs_refresh';
COMMENT ON FUNCTION @extschema@.chs_refresh(bigint)
    IS 'queues a customer for scoring because something that a plug-in reads has changed; false if there is no such customer';

REVOKE EXECUTE ON FUNCTION @extschema@.chs_refresh(bigint) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION @extschema@.chs_add_factor(text, double precision, text, jsonb, text, boolean, text, text, double precision, text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION @extschema@.chs_drop_factor(text, text, boolean) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION chs.add_factor(text, double precision, text, jsonb, text, boolean, text, text, double precision, text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION chs.add_metrics(text, text, jsonb) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION chs.register_plugin(text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION chs.scale_weights(text, text, double precision) FROM PUBLIC;
