-- The fit on real data, Online Retail: what it gains on origins that it has not seen, and that chs itself then scores so.
\ir ../property/tap.sql
\ir retail_card.sql

CREATE FUNCTION public.propose(what text, document jsonb DEFAULT NULL, sample double precision DEFAULT NULL) RETURNS jsonb LANGUAGE sql AS
    $$ SELECT chs_fit('no:purchase', 90, since => '2011-03-01', until => '2011-08-30', every => '14 days', test_from => '2011-08-16',
                      what => $1, document => $2, sample => $3) $$;
-- The AUC of what a document, NULL: what is live, scores on the two origins of the test.
CREATE FUNCTION public.auc(document jsonb) RETURNS double precision LANGUAGE sql AS $$
    SELECT (chs.auc(array_agg(r.origin), array_agg(r.customer_id), array_agg(r.leaves), array_agg(r.score))).auc
    FROM chs.outcome_rows('no:purchase', 90, 0, '{2011-08-16,2011-08-30}', document, ARRAY(SELECT customer_id FROM chs.customers), false) r
    WHERE r.leaves IS NOT NULL $$;
CREATE TABLE public.proposal (what text, document jsonb);
INSERT INTO proposal SELECT w, propose(w) FROM unnest('{weights,curves}'::text[]) w;
INSERT INTO proposal SELECT 'bounds', propose('bounds', document) FROM proposal WHERE what = 'curves';

SELECT tap.ok(count(*) = 2 AND bool_and(gain >= CASE what WHEN 'weights' THEN 0.03 ELSE 0.04 END AND low > 0 AND verdict = 'proven'),
                     'fitted weights gain at least 0.03 of AUC, curves 0.04, both proven', string_agg(to_jsonb(f)::text, E'\n'))
FROM chs.fit_figures f WHERE figure = 'auc' AND what <> 'bounds';
SELECT * FROM tap.none('SELECT what, auc(document), f.proposed FROM proposal JOIN chs.fit_figures f USING (what) WHERE f.figure = ''auc'' AND abs(auc(document) - f.proposed) > 1e-12',
                       'what is promised is what the document scores');
SELECT * FROM tap.none($$SELECT what, sum((f ->> 'weight')::numeric), bool_and((f ->> 'weight')::numeric >= 0) FROM proposal, jsonb_array_elements(document #> '{scorecards,default,factors}') f
    GROUP BY what HAVING sum((f ->> 'weight')::numeric) <> 1 OR NOT bool_and((f ->> 'weight')::numeric >= 0 AND (f ->> 'weight')::numeric * 100 % 1 = 0)$$,
                       'weights are hundredths, not negative, and sum to 1');
SELECT * FROM tap.none($$SELECT m -> 'curve', p FROM proposal, jsonb_path_query(document, '$.scorecards.default.factors[*].metrics[*]') m,
        LATERAL (SELECT array_agg(split_part(t, ':', 2)::numeric ORDER BY n) AS p FROM regexp_split_to_table(m ->> 'curve', ' ') WITH ORDINALITY x(t, n)) y
    WHERE what = 'curves' AND (EXISTS (SELECT FROM unnest(p) u WHERE u % 1 <> 0) OR p NOT IN (ARRAY(SELECT u FROM unnest(p) u ORDER BY u), ARRAY(SELECT u FROM unnest(p) u ORDER BY u DESC))
        OR (p[1] > p[cardinality(p)]) <> (m ->> 'metric' = 'recency'))$$, 'curves have whole points and keep their direction');
SELECT tap.ok(b.proposed < f.proposed AND s.proposed BETWEEN 0.05 AND 0.25 AND w.proposed > f.proposed,
                     'bounds: fewer leave above, about the share that can be called is below, and of these more leave', format('%s %s %s', to_jsonb(b), to_jsonb(s), to_jsonb(w)))
FROM (SELECT avg(r.leaves::integer) AS proposed FROM chs.outcome_rows('no:purchase', 90, 0, '{2011-08-16,2011-08-30}', NULL, ARRAY(SELECT customer_id FROM chs.customers), false) r) f,
     chs.fit_figures b, chs.fit_figures s, chs.fit_figures w
WHERE b.what = 'bounds' AND b.figure = 'healthy_rate' AND s.what = 'bounds' AND s.figure = 'critical_share' AND w.what = 'bounds' AND w.figure = 'critical_rate';

-- By few customers never worse: they are refused, or today's card is kept, or it is better.
CREATE TABLE public.few (customers integer, what text, auc double precision, message text);
DO $$
DECLARE
    n integer;
    w text;
BEGIN
    FOREACH n IN ARRAY '{50,100,200,500,2000,5000}'::integer[] LOOP
        FOREACH w IN ARRAY '{weights,curves}'::text[] LOOP
            BEGIN
                INSERT INTO few VALUES (n, w, auc(propose(w, NULL, n)));
            EXCEPTION WHEN object_not_in_prerequisite_state THEN
                INSERT INTO few VALUES (n, w, NULL, SQLERRM);
            END;
        END LOOP;
    END LOOP;
END
$$;
SELECT * FROM tap.none('SELECT few.*, auc(NULL) AS today FROM few WHERE few.auc < auc(NULL) - 0.002', 'of 50 to 5,000 customers: never more than 0.002 below today''s card');
SELECT tap.ok(count(*) FILTER (WHERE message LIKE 'only % customers left%') >= 1 AND count(*) FILTER (WHERE customers < 500 AND what = 'curves' AND message IS NULL) = 0
                     AND count(*) FILTER (WHERE customers >= 2000 AND auc > auc(NULL) + 0.02) >= 4, 'too few are refused, and many are worth it', string_agg(few::text, E'\n'))
FROM few;

-- Into the rules, and what chs then scores by itself.
SELECT chs_scorecard_import(document) FROM proposal WHERE what = 'curves' \g /dev/null
SELECT tap.ok(count(*) FILTER (WHERE what LIKE '%curve') = 5 AND count(*) FILTER (WHERE what LIKE '%weight') > 3, 'the proposal becomes the draft', string_agg(what, ' ')) FROM chs.draft_changes;
SELECT tap.ok(count(*) > 1000 AND avg(abs(score_change)) > 1, 'simulated as of then, many scores change') FROM chs_simulate(as_of => '2011-08-30') WHERE draft_score IS NOT NULL;
SELECT chs_publish('fitted to no:purchase') \g /dev/null
CALL chs_recalculate_all();
SELECT tap.ok(abs((chs.auc(array_agg(r.origin), array_agg(r.customer_id), array_agg(r.leaves), array_agg(chs.health_score))).auc
                         - (SELECT proposed FROM chs.fit_figures WHERE what = 'curves' AND figure = 'auc' ORDER BY fit LIMIT 1)) < 0.001, 'chs_score itself keeps what the fit promised')
FROM chs.outcome_rows('no:purchase', 90, 0, '{2011-08-16,2011-08-30}', (SELECT document FROM proposal WHERE what = 'bounds'), ARRAY(SELECT customer_id FROM chs.customers), false) r
CROSS JOIN LATERAL (SELECT h.score AS health_score FROM chs.health_now(r.customer_id, r.origin::timestamp AT TIME ZONE 'UTC', 3) h) chs
WHERE r.leaves IS NOT NULL;
SELECT tap.plan();
